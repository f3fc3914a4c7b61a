//! The subcommand: runtime, signals, exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::server::{Fleet, FleetConfig};

/// Exit code of bad input, a taken port among it.
const BAD_INPUT: u8 = 2;

/// Serves until SIGTERM or SIGINT.
///
/// Exits 0 after a signal and 2 when the settings or the ports will not do.
///
/// # Errors
/// When serving fails: a simulated crash, a GPU file that cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = build_runtime(args.threads).context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(args.into()));
    // Connections that are still open are cut, as by the end of a real server's process.
    runtime.shutdown_background();
    outcome
}

fn build_runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = if threads <= 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads.max(1)).enable_all().build()
}

async fn serve(config: FleetConfig) -> anyhow::Result<ExitCode> {
    let shutdown = CancellationToken::new();
    end_on_signals(&shutdown)?;
    let fleet = match Fleet::bind(config).await {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("teebench mock-vllm: {:#}", anyhow::Error::from(error));
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    announce(&fleet.addresses()).context("cannot tell the addresses on standard output")?;
    fleet.serve(shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

fn end_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signals.recv().await;
            shutdown.cancel();
        });
    }
    Ok(())
}

fn announce(addresses: &[SocketAddr]) -> std::io::Result<()> {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening {}", addresses.join(","))?;
    out.flush()
}
