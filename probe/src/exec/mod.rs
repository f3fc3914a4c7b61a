//! `teebench probe exec`: runs the engine as a child, samples beside it, and serves both over HTTP.
//!
//! The engine lives in a process group of its own and never outlives the probe, however either ends:
//!
//! | what ends | what follows |
//! | --- | --- |
//! | the engine | the rest of its group is killed, the probe exits with the engine's code |
//! | the probe, by SIGTERM, SIGINT or SIGHUP | the signal goes to the group; after the grace, SIGKILL |
//! | the probe's parent, with `--exit-with-parent` | the same, as by SIGTERM |
//! | the probe, by SIGKILL | the kernel kills the engine, the guardian its whole group |

mod args;
mod engine;
mod guardian;
mod output;
mod parent;
mod readiness;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

pub use args::ExecArgs;
pub use engine::{Ending, EngineState};
pub use readiness::Readiness;
use readiness::Started;

use crate::attestation::Root;
use crate::cli::bad_input;
use crate::environment::Machine;
use crate::gpu;
use crate::http::{self, DriverTurn, Probe, Service};
use crate::logs::LogFolder;
use crate::rapl::{self, PackageSampler};
use crate::sampler::Sampler;

/// Runs the engine to its end; gives its exit code.
///
/// Call it on the process's main thread: the kernel ties the engine's life to the thread that starts it.
///
/// # Errors
/// When the operating system refuses what supervision needs; the engine was not started, or is ended.
pub fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let parent = args.exit_with_parent.map(parent::Parent::watch).transpose()?;
    let source = match gpu::open(&args.gpu.choice, args.gpu.library.as_deref(), args.gpu.visible.as_deref()) {
        Ok(source) => source,
        Err(error) => return Ok(bad_input(error)),
    };
    let root = match args.attestation.root() {
        Ok(root) => root,
        Err(error) => return Ok(bad_input(error)),
    };
    let guardian = guardian::Guardian::start().context("the guardian process cannot be started")?;
    nix::sys::prctl::set_child_subreaper(true).context("this process cannot adopt the engine's orphans")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(supervise(args, (source, root), guardian, parent));
    // A call into the driver may hang; nothing of value is left to wait for.
    shut_down(runtime);
    code
}

fn shut_down(runtime: Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(1));
}

async fn supervise(
    args: &ExecArgs,
    (source, root): (Arc<dyn gpu::GpuSource>, Root),
    mut guardian: guardian::Guardian,
    parent: Option<parent::Parent>,
) -> anyhow::Result<ExitCode> {
    let address = (args.host.as_str(), args.port);
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            let taken =
                format!("{}:{}: the probe cannot listen there; free the port or give --port", args.host, args.port);
            return Ok(bad_input(anyhow::Error::new(error).context(taken)));
        }
    };
    let parent = parent.map(parent::Parent::awaited).transpose()?;
    // Signals count from before the engine's start, so that none that follows is lost.
    let mut signals = Signals::listen()?;
    let started = Started::now();
    let started_engine = engine::Engine::start(args.command(), args.log_dir.as_deref(), args.log_echo, guardian.pid());
    let mut engine = match started_engine {
        Ok(engine) => engine,
        Err(error) => return Ok(bad_input(error)),
    };
    guardian.guard(engine.group()).context("the guardian process is gone")?;

    let (state, states) = watch::channel(EngineState::Running { pid: engine.group().as_raw() });
    let service = Service::new(&args.program(), args.engine_url.as_deref(), args.served_model.as_deref())?;
    let readiness = readiness::watch_for(service.clone(), started);
    let packages = sample_packages(args, &source.kind())?;
    let sampler = Sampler::start(Arc::clone(&source), args.pace())?;
    let probe = Arc::new(Probe {
        machine: Machine::new(source, root).with_boot_id_in(&args.boot_id),
        driver: DriverTurn::default(),
        sampler,
        packages,
        engine: states,
        readiness,
        started_unix_ns: started.unix_ns,
        service,
        logs: LogFolder::new(args.log_dir.clone()),
        node: args.node_hints(),
    });
    http::announce(&listener)?;
    let server = tokio::spawn(http::serve(listener, http::router(probe)));

    let ending = watch_over(&mut engine, &mut signals, parent, args.grace()).await?;
    tracing::info!(%ending, "engine ended");
    state.send_replace(EngineState::Ended(ending));
    engine.end_all(&mut signals.child).await;
    if !args.linger().is_zero() {
        let _ = tokio::time::timeout(args.linger(), signals.endings.next()).await;
    }
    server.abort();
    guardian.release();
    Ok(ExitCode::from(ending.code()))
}

/// Samples the CPU's packages; not beside a simulated GPU, whose engine does none of a real one's work.
fn sample_packages(args: &ExecArgs, gpu: &gpu::SourceKind) -> std::io::Result<PackageSampler> {
    if *gpu == gpu::SourceKind::Simulated {
        return Ok(PackageSampler::absent("the gpu is simulated: the cpu's energy would be the simulator's"));
    }
    match rapl::packages(&args.powercap) {
        Ok(packages) => PackageSampler::start(packages, args.pace().interval, args.retained()),
        Err(reason) => {
            tracing::info!(reason, "the cpu's energy is not measured");
            Ok(PackageSampler::absent(reason))
        }
    }
}

/// Waits for the engine's end, passing signals on.
async fn watch_over(
    engine: &mut engine::Engine,
    signals: &mut Signals,
    mut parent: Option<parent::Awaited>,
    grace: Duration,
) -> anyhow::Result<Ending> {
    let mut kill_at: Option<Instant> = None;
    loop {
        if let Some(ending) = engine.reap()? {
            return Ok(ending);
        }
        let asked_to_end = tokio::select! {
            _ = signals.child.recv() => continue,
            signal = signals.endings.next() => signal,
            () = parent::gone(parent.as_ref()) => {
                tracing::warn!("the parent process is gone: ending");
                parent = None;
                Signal::SIGTERM
            }
            () = at(kill_at) => {
                tracing::warn!("the engine did not end within the grace: killing it");
                kill_at = None;
                engine.signal(Signal::SIGKILL);
                continue;
            }
        };
        engine.signal(asked_to_end);
        kill_at = kill_at.or(Some(Instant::now() + grace));
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

struct Signals {
    child: tokio::signal::unix::Signal,
    endings: Endings,
}

/// The signals that ask the probe to end.
struct Endings {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            endings: Endings {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: signal(SignalKind::hangup())?,
            },
        })
    }
}

impl Endings {
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.hang_up.recv() => Signal::SIGHUP,
        }
    }
}
