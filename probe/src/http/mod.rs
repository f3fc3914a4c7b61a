//! The probe's HTTP server.
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /healthz` | 200 while the engine runs, then 503 with how it ended |
//! | `GET /readyz` | 200 once the engine has served a token of its model, and while it runs; else 503 with the reason |
//! | `GET /engine` | what the engine says of itself: version, KV blocks, how long it took to be ready |
//! | `GET /clock` | the probe's wall clock |
//! | `GET /gpus` | the GPUs and where their readings come from |
//! | `GET /samples?gpu&from&to` | samples of one GPU as lines of JSON |
//! | `GET /power.csv?gpu&from&to` | the same as `nvidia-smi` would write them |
//! | `GET /energy?from&to` | energy of a window on the probe's own clock |
//! | `GET /cpu` | the CPU packages whose energy counters are read, or why there is none |
//! | `GET /cpu/samples?package&from&to` | samples of one package as lines of JSON |
//! | `GET /environment` | what the machine is |
//! | `POST /evidence` | evidence bound to the nonce document in the body |
//! | `GET /logs` | the logs in the log folder and how long they are |
//! | `GET /logs/NAME?from` | at most 1 MiB of one from a byte on |
//! | `GET /metrics` | gauges and counters for Prometheus |
//!
//! Times are nanoseconds since the Unix epoch; a range holds `from` and not `to`. No handler waits for the sampler, and none
//! long for the driver: one that does not answer is 504.

mod cpu;
mod driver;
mod error;
mod health;
mod logs;
mod machine;
mod metrics;
mod samples;
mod service;
pub mod wire;

use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use driver::DriverTurn;
pub use service::Service;

use crate::environment::Machine;
use crate::evidence::NodeHints;
use crate::exec::{EngineState, Readiness};
use crate::logs::LogFolder;
use crate::rapl::PackageSampler;
use crate::sampler::Sampler;

/// A nonce document has under a kilobyte.
const MAXIMUM_BODY_BYTES: usize = 64 << 10;

/// What the handlers answer from.
pub struct Probe {
    /// The machine, asked anew for each answer.
    pub machine: Machine,
    /// The turn to ask its driver.
    pub driver: DriverTurn,
    /// The samples.
    pub sampler: Sampler,
    /// The samples of the CPU's packages.
    pub packages: PackageSampler,
    /// What the engine is doing.
    pub engine: watch::Receiver<EngineState>,
    /// Whether it has served a token.
    pub readiness: watch::Receiver<Readiness>,
    /// When it was started, in nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// How the engine is asked.
    pub service: Service,
    /// What the engine and its neighbours wrote.
    pub logs: LogFolder,
    /// What the scheduler knew of the node.
    pub node: NodeHints,
}

/// All routes.
pub fn router(probe: Arc<Probe>) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/engine", get(health::engine))
        .route("/clock", get(health::clock))
        .route("/gpus", get(machine::gpus))
        .route("/samples", get(samples::samples))
        .route("/power.csv", get(samples::power_csv))
        .route("/energy", get(samples::energy))
        .route("/cpu", get(cpu::packages))
        .route("/cpu/samples", get(cpu::samples))
        .route("/environment", get(machine::environment))
        .route("/evidence", post(machine::evidence))
        .route("/logs", get(logs::list))
        .route("/logs/{name}", get(logs::part))
        .route("/metrics", get(metrics::metrics))
        .layer(DefaultBodyLimit::max(MAXIMUM_BODY_BYTES))
        .with_state(probe)
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the probe's server ended");
    }
}

/// Writes the line `listening ADDRESS` to standard output, which whoever started the probe waits for.
pub(crate) fn announce(listener: &TcpListener) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening {}", listener.local_addr()?)?;
    out.flush()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
