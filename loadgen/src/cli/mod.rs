//! `teebench loadgen`.

mod args;
mod display;
mod plan;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use args::{Args, DatasetArgs, DatasetName, ResultArgs, TrafficArgs};

use crate::client::{LoadSpec, Progress, measure, served_models};
use crate::client_file::client_file;
use crate::record::Measured;
use crate::result_file::{ResultOptions, summary_table, write_bench_json};

/// Time for the server to name its models.
const MODELS_TIMEOUT: Duration = Duration::from_secs(30);

/// Exit codes beside 0 and 1.
const BAD_INPUT: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Runs the load that the flags describe and prints its summary.
///
/// # Errors
/// When the load cannot be run or its results cannot be written. Bad flags are reported here, with exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(run_load(args))
}

async fn run_load(args: Args) -> anyhow::Result<ExitCode> {
    let model = match &args.model {
        Some(model) => model.clone(),
        None => first_model(&args).await?,
    };
    let planned = plan::load(&args, &model).and_then(|spec| Ok((spec, plan::result_options(&args, &model)?)));
    let (spec, options) = match planned {
        Ok(planned) => planned,
        Err(error) => {
            tracing::error!("{error:#}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let measured = measure_visibly(&spec, args.result.disable_tqdm).await?;
    let summary = options.summarise(&measured);
    write!(io::stdout().lock(), "{}", summary_table(&summary, &options)).context("the summary cannot be printed")?;
    report_failures(&measured);
    write_files(&args, &measured, &options)?;
    Ok(match (measured.partial, summary.completed) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, 0) => ExitCode::FAILURE,
        (false, _) => ExitCode::SUCCESS,
    })
}

async fn first_model(args: &Args) -> anyhow::Result<String> {
    let base_url = plan::base_urls(args).into_iter().next().context("--base-url: give a URL")?;
    let models = served_models(&base_url, &plan::http(args)?, MODELS_TIMEOUT)
        .await
        .context("no --model, and the server names none")?;
    models.into_iter().next().with_context(|| format!("{base_url} serves no model; give --model"))
}

/// Measures with progress on standard error; SIGINT and SIGTERM end the run with what was measured.
async fn measure_visibly(spec: &LoadSpec, quiet: bool) -> anyhow::Result<Measured> {
    let cancel = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (progress, seen) = watch::channel(Progress::default());
    let display = (!quiet).then(|| tokio::spawn(display::show(seen)));
    let measuring = measure(spec, progress, cancel.clone());
    let mut measuring = std::pin::pin!(measuring);
    let measured = tokio::select! {
        measured = &mut measuring => measured?,
        _ = interrupt.recv() => {
            cancel.cancel();
            measuring.await?
        }
        _ = terminate.recv() => {
            cancel.cancel();
            measuring.await?
        }
    };
    if let Some(display) = display {
        display.await.context("the display of progress panicked")?;
    }
    Ok(measured)
}

/// Failures that are named; more of the same would drown the summary.
const FAILURES_NAMED: usize = 10;

fn report_failures(measured: &Measured) {
    let failures = measured.records.iter().filter_map(|record| Some((record.index, record.error.as_ref()?)));
    for (request, error) in failures.take(FAILURES_NAMED) {
        tracing::warn!(request, "request failed: {error}");
    }
}

fn write_files(args: &Args, measured: &Measured, options: &ResultOptions) -> anyhow::Result<()> {
    if args.result.save_result {
        let name = args.result.result_filename.clone();
        let name = name.unwrap_or_else(|| PathBuf::from(options.default_file_name(measured)));
        let directory = args.result.result_dir.as_deref().unwrap_or(Path::new(""));
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{}: cannot be made", parent.display()))?;
        }
        write_bench_json(measured, options, &path)?;
        tracing::info!(path = %path.display(), "result file written");
    }
    if let Some(path) = &args.result.client_file {
        let json = serde_json::to_vec_pretty(&client_file(measured)).context("the client file cannot be rendered")?;
        fs::write(path, json).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}
