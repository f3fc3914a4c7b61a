//! The servers of one process: bound together, served together, ended together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api;
use super::door::{Door, hold};
use super::driver::drive;
use super::handle::EngineHandle;
use super::machine::Machine;
use super::metrics::{Lateness, MetricLabels, Metrics};
use super::state::{ServerSettings, ServerState};
use crate::engine::{ConfigError, Engine, EngineConfig, StepCost};
use crate::faults::{ActiveFaults, Fault};
use crate::gpu::{GpuFileError, gpu_uuid};
use crate::profile::{ModelSize, Profile, ProfileFigures};

/// Time for connections to end by themselves after a shutdown; one that stands in the middle of a request is cut then.
const GRACE: Duration = Duration::from_secs(1);

/// What a process serves.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Address or host name to listen on.
    pub host: String,
    /// Port of the first server, the others count up; 0 gives each a free one.
    pub port: u16,
    /// Number of servers.
    pub servers: u32,
    /// Served model name.
    pub model: String,
    /// Settings of each engine.
    pub engine: EngineConfig,
    /// Model and GPU.
    pub profile: Profile,
    /// Size of the model.
    pub model_size: ModelSize,
    /// Cost of a step in place of the profile's, for measuring the simulator itself.
    pub step_cost: Option<StepCost>,
    /// Whether confidential computing is on.
    pub confidential: bool,
    /// Seed of answers, identities and random faults.
    pub seed: u64,
    /// Name that keeps the GPUs of one arm apart from those of another.
    pub arm: String,
    /// Number of the first server among those of its arm.
    pub ordinal: u32,
    /// Where the machine's GPUs are shown.
    pub gpu_file: Option<PathBuf>,
    /// Faults.
    pub faults: Vec<Fault>,
    /// Whether `/admin/faults` is served.
    pub admin: bool,
    /// Version given by `/version`, which also decides the shape of some answers.
    pub version: String,
    /// Added to the profile's time of loading.
    pub start_delay: Duration,
}

impl FleetConfig {
    /// Figures of the model on the GPU.
    #[must_use]
    pub fn figures(&self) -> ProfileFigures {
        self.profile.figures().of_model(self.model_size)
    }
}

/// Why a process cannot start.
#[derive(Debug, Error)]
pub enum BindError {
    /// There is nothing to serve.
    #[error("--servers is 0: give at least 1")]
    NoServers,
    /// The ports would exceed the greatest one.
    #[error("--port {port} with --servers {servers} passes port 65535: lower one of them")]
    PortRange {
        /// `--port`.
        port: u16,
        /// `--servers`.
        servers: u32,
    },
    /// A port is taken, or the host is not one of this machine's.
    #[error("cannot listen on {host}:{port}: choose another --host or --port")]
    Listen {
        /// `--host`.
        host: String,
        /// The port in question.
        port: u16,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The engine's settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics of model {model:?}")]
    Metrics {
        /// Served model name.
        model: String,
        /// The reason.
        #[source]
        source: prometheus::Error,
    },
    /// The GPU file cannot be written.
    #[error(transparent)]
    GpuFile(#[from] GpuFileError),
}

/// Why serving ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The fault of that name struck.
    #[error("simulated crash of the server on {address}")]
    Crashed {
        /// Where it listened.
        address: SocketAddr,
    },
    /// Connections can no longer be accepted.
    #[error("cannot accept connections on {address}")]
    Accept {
        /// Where the server listened.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no timer.
    #[error("cannot set a timer for the server on {address}: raise the limit of open files")]
    Timer {
        /// Where the server listened.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The GPU file cannot be written.
    #[error(transparent)]
    GpuFile(#[from] GpuFileError),
}

/// Servers that are bound but do not answer yet.
pub struct Fleet {
    config: FleetConfig,
    servers: Vec<BoundServer>,
    machine: Machine,
}

struct BoundServer {
    ordinal: u32,
    socket: TcpSocket,
    address: SocketAddr,
    engine: EngineHandle,
    faults: ActiveFaults,
}

impl Fleet {
    /// Builds the engines, binds all ports and shows the GPUs; connections are refused until a server has loaded.
    ///
    /// # Errors
    /// When the settings contradict each other, a port cannot be bound, or the GPU file cannot be written.
    pub async fn bind(config: FleetConfig) -> Result<Self, BindError> {
        let mut servers = Vec::with_capacity(config.servers as usize);
        for (ordinal, port) in (config.ordinal..).zip(ports(config.port, config.servers)?) {
            let engine = build_engine(&config)?;
            let listen = |source| BindError::Listen { host: config.host.clone(), port, source };
            let socket = resolve(&config.host, port).await.and_then(hold).map_err(listen)?;
            let address = socket.local_addr().map_err(listen)?;
            let faults = ActiveFaults::new(config.faults.clone());
            servers.push(BoundServer { ordinal, socket, address, engine, faults });
        }
        let gpus = servers
            .iter()
            .map(|server| {
                let uuid = gpu_uuid(config.seed, &config.arm, server.ordinal);
                (uuid, server.engine.clone(), server.faults.clone())
            })
            .collect();
        let mut machine = Machine::new(gpus, &config);
        machine.show().await?;
        Ok(Self { config, servers, machine })
    }

    /// Where each server listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Serves until `shutdown` is cancelled; then all connections are closed, whatever is under way on them.
    ///
    /// # Errors
    /// When a server crashes by its fault, or the system refuses a service.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self { config, servers, machine } = self;
        let started = Instant::now();
        let ready_at = started + config.figures().load_time(config.confidential) + config.start_delay;
        // Ends everything, also when one server fails.
        let halt = shutdown.child_token();
        let mut tasks: JoinSet<Result<(), ServeError>> = JoinSet::new();
        let machine_halt = halt.clone();
        tasks.spawn(async move { Ok(machine.run(machine_halt).await?) });
        for server in servers {
            let settings = ServerSettings {
                engine: server.engine.clone(),
                model: config.model.clone(),
                max_model_len: config.engine.max_model_len,
                version: config.version.clone(),
                seed: config.seed,
                ordinal: server.ordinal,
                faults: server.faults.clone(),
            };
            let times = StartTimes { started, ready_at };
            tasks.spawn(serve_one(server, settings, times, config.admin, halt.clone()));
        }
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            // A task is never aborted, so a failed join is a panic, which goes on.
            let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            halt.cancel();
            outcome = outcome.and(ended);
        }
        outcome
    }
}

fn build_engine(config: &FleetConfig) -> Result<EngineHandle, BindError> {
    let figures = config.figures();
    let cost = config.step_cost.unwrap_or_else(|| figures.step_cost(config.confidential));
    let engine = Engine::new(config.engine, cost)?;
    let labels = MetricLabels {
        model: config.model.clone(),
        profile: config.profile.name(),
        confidential: config.confidential,
        num_gpu_blocks: config.engine.num_gpu_blocks,
        enable_prefix_caching: config.engine.enable_prefix_caching,
    };
    let metrics = Metrics::new(&labels).map_err(|source| BindError::Metrics { model: config.model.clone(), source })?;
    Ok(EngineHandle::new(engine, metrics, figures.board))
}

fn ports(first: u16, servers: u32) -> Result<Vec<u16>, BindError> {
    if servers == 0 {
        return Err(BindError::NoServers);
    }
    (0..servers)
        .map(|ordinal| if first == 0 { Some(0) } else { u16::try_from(u32::from(first).checked_add(ordinal)?).ok() })
        .collect::<Option<Vec<u16>>>()
        .ok_or(BindError::PortRange { port: first, servers })
}

async fn resolve(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
    addresses.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::AddrNotAvailable))
}

/// When a server started, and when it will have loaded should no fault delay it.
#[derive(Clone, Copy)]
struct StartTimes {
    started: Instant,
    ready_at: Instant,
}

async fn serve_one(
    server: BoundServer,
    settings: ServerSettings,
    times: StartTimes,
    admin: bool,
    halt: CancellationToken,
) -> Result<(), ServeError> {
    let BoundServer { ordinal, socket, address, engine, faults } = server;
    if halt.run_until_cancelled(loaded(times.ready_at, &faults)).await.is_none() {
        return Ok(());
    }
    let accept = |source| ServeError::Accept { address, source };
    let door = Door::open(socket, faults, times.started).map_err(accept)?;
    tracing::info!(ordinal, %address, "serving");
    let state = Arc::new(ServerState::new(settings, halt.clone()));
    let crashed = state.crashed.clone();
    let driver = tokio::spawn(drive(engine.clone(), halt.clone()));
    let serving = axum::serve(door, api::routes(state, admin)).with_graceful_shutdown(halt.clone().cancelled_owned());
    let outcome = tokio::select! {
        served = serving.into_future() => served.map_err(accept),
        () = crashed.cancelled() => Err(ServeError::Crashed { address }),
        () = grace_over(&halt) => Ok(()),
    };
    halt.cancel();
    // The driver ends by itself now, and breaks off what is under way; a panic in it goes on.
    let driven = driver.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    if let Some(Lateness { tokens, mean_ms, p99_at_most_ms }) = engine.metrics().lateness() {
        tracing::info!(ordinal, tokens, mean_ms, p99_at_most_ms, "lateness of streamed tokens");
    }
    outcome.and(driven.map_err(|source| ServeError::Timer { address, source }))
}

/// Completes when the server has loaded, which a fault may put off for ever.
async fn loaded(ready_at: Instant, faults: &ActiveFaults) {
    let faults = faults.plan().server;
    tokio::time::sleep_until((ready_at + faults.slow_start).into()).await;
    if faults.never_ready {
        std::future::pending::<()>().await;
    }
}

async fn grace_over(halt: &CancellationToken) {
    halt.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
