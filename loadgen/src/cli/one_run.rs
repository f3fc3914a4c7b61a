//! One run: measured with progress, printed, written.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::args::Args;
use super::display;
use super::plan::{self, Point};
use crate::client::{LoadSpec, Progress, measure};
use crate::client_file::client_file;
use crate::merge::merge;
use crate::record::Measured;
use crate::result_file::{
    ResultFileError, ResultOptions, Summary, keep, refuges, summary_table, write_bench_json, write_bench_json_to,
};

/// How a run, or all of several, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With successes.
    Done,
    /// Without one success.
    NoSuccess,
    /// By a signal, with what was measured before.
    Interrupted,
}

/// A run that is over.
pub(super) struct OneRun {
    pub(super) outcome: Outcome,
    pub(super) summary: Summary,
    /// Requests that were to be sent.
    pub(super) planned: usize,
}

/// Measures a run, prints its summary and writes its files; `number` tells those of several runs apart.
pub(super) async fn one_run(args: &Args, model: &str, point: Point, number: Option<usize>) -> anyhow::Result<OneRun> {
    let spec = plan::load(args, model, point)?;
    let options = plan::result_options(args, model, point)?;
    let measured = measure_visibly(&spec, args.result.disable_tqdm).await?;
    if let Some(path) = &args.share.part_file {
        let json = serde_json::to_vec(&measured).context("the part file cannot be rendered")?;
        keep(path, &refuges(), |out| out.write_all(&json))?;
    }
    finish(args, &options, &measured, number)
}

/// Merges the parts that several generators wrote of a run.
pub(super) fn merged_run(args: &Args, model: &str, point: Point) -> anyhow::Result<OneRun> {
    let options = plan::result_options(args, model, point)?;
    let mut parts = Vec::with_capacity(args.share.merge.len());
    for path in &args.share.merge {
        let json = fs::read(path).with_context(|| format!("part file {}: cannot be read", path.display()))?;
        let part: Measured = serde_json::from_slice(&json)
            .with_context(|| format!("part file {}: not written by --part-file", path.display()))?;
        parts.push(part);
    }
    finish(args, &options, &merge(parts)?, None)
}

fn finish(args: &Args, options: &ResultOptions, measured: &Measured, number: Option<usize>) -> anyhow::Result<OneRun> {
    let summary = options.summarise(measured);
    write!(io::stdout().lock(), "{}", summary_table(&summary, options)).context("the summary cannot be printed")?;
    report_failures(measured);
    write_files(args, measured, options, number)?;
    let outcome = match (measured.partial, summary.completed) {
        (true, _) => Outcome::Interrupted,
        (false, 0) => Outcome::NoSuccess,
        (false, _) => Outcome::Done,
    };
    Ok(OneRun { outcome, summary, planned: measured.offered.planned_requests })
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

fn write_files(args: &Args, measured: &Measured, options: &ResultOptions, number: Option<usize>) -> anyhow::Result<()> {
    // Of both files, so that a full disk under one does not keep the other from being written.
    let result = if args.result.save_result { write_result(args, measured, options, number) } else { Ok(()) };
    if let Some(path) = &args.result.client_file {
        let path = numbered(path, number);
        let json = serde_json::to_vec_pretty(&client_file(measured)).context("the client file cannot be rendered")?;
        keep(&path, &refuges(), |out| out.write_all(&json))?;
    }
    result
}

fn write_result(
    args: &Args,
    measured: &Measured,
    options: &ResultOptions,
    number: Option<usize>,
) -> anyhow::Result<()> {
    let name = args.result.result_filename.clone();
    let name = name.unwrap_or_else(|| PathBuf::from(options.default_file_name(measured)));
    let path = numbered(&args.result.result_dir.as_deref().unwrap_or(Path::new("")).join(name), number);
    if let Some(parent) = path.parent() {
        // Where it cannot be made, writing the file fails too, which says so and keeps it elsewhere.
        let _ = fs::create_dir_all(parent);
    }
    let written = write_bench_json(measured, options, &path);
    if let Err(ResultFileError::Write { .. }) = &written {
        tracing::error!("the result file has no place on this machine; it follows on standard output");
        let mut out = io::stdout().lock();
        write_bench_json_to(measured, options, &mut out).and_then(|()| writeln!(out))?;
    }
    written?;
    tracing::info!(path = %path.display(), "result file written");
    Ok(())
}

/// The path with the number of a run before its file's name.
fn numbered(path: &Path, number: Option<usize>) -> PathBuf {
    match (number, path.file_name()) {
        (Some(number), Some(name)) => path.with_file_name(format!("run{number:03}-{}", name.to_string_lossy())),
        _ => path.to_owned(),
    }
}
