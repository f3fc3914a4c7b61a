//! `teebench probe sample`: records each GPU to a file in `nvidia-smi`'s CSV format, a row with every sample.

use std::fs::File;
use std::io::{LineWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::cli::{GpuArgs, bad_input};
use crate::gpu::{self, GpuSource, SourceKind};
use crate::power_csv;
use crate::sampler::{Pace, Stop, each_sample};

/// Exit code of a recording that was interrupted before its time.
const INTERRUPTED: u8 = 130;

/// Records power, clocks and temperature to a file in nvidia-smi's CSV format.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example:\n  teebench probe sample --interval-ms 100 --out power.csv --seconds 60")]
pub struct SampleArgs {
    #[command(flatten)]
    gpu: GpuArgs,
    /// Time between two rows, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    interval_ms: u64,
    /// File to write; with several GPUs one for each, `-UUID` before the extension. Without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long to record, in seconds. Without it, until SIGINT or SIGTERM.
    #[arg(long)]
    seconds: Option<u64>,
}

/// What one recording came to.
#[derive(Default)]
struct Tally {
    rows: u64,
    dropped: u64,
}

/// Records until the time is over or a signal comes.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn run(args: &SampleArgs) -> anyhow::Result<ExitCode> {
    let source = match gpu::open(&args.gpu.choice, args.gpu.library.as_deref(), args.gpu.visible.as_deref()) {
        Ok(source) => source,
        Err(error) => return Ok(bad_input(error)),
    };
    let uuids = source.uuids();
    let outputs = match outputs(args.out.as_deref(), &uuids) {
        _ if uuids.is_empty() => return Ok(bad_input(anyhow!("there is no gpu to sample: {}", why_none(&*source)))),
        Ok(outputs) => outputs,
        Err(error) => return Ok(bad_input(error)),
    };
    let pace = Pace::rows(Duration::from_millis(args.interval_ms));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, ended) = (Stop::default(), Notify::new());
    let interrupted = std::thread::scope(|scope| {
        let recordings: Vec<_> = outputs
            .into_iter()
            .zip(&uuids)
            .map(|(output, uuid)| {
                let (source, stop, ended) = (source.as_ref(), &stop, &ended);
                scope.spawn(move || {
                    let tally = record(source, uuid, pace, stop, output);
                    ended.notify_one();
                    tally.with_context(|| format!("gpu {uuid}: the recording cannot be written"))
                })
            })
            .collect();
        let interrupted = runtime.block_on(until_over(args.seconds.map(Duration::from_secs), &ended));
        stop.now();
        for (recording, uuid) in recordings.into_iter().zip(&uuids) {
            let Tally { rows, dropped } =
                recording.join().map_err(|_| anyhow!("gpu {uuid}: the recording failed"))??;
            tracing::info!(gpu = %uuid, rows, dropped, "recorded");
        }
        anyhow::Ok(interrupted?)
    })?;
    // Without an end set, a signal is the way to end.
    Ok(if interrupted && args.seconds.is_some() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

fn why_none(source: &dyn GpuSource) -> String {
    match source.kind() {
        SourceKind::Absent { reason } => reason,
        SourceKind::Nvml | SourceKind::Simulated => {
            source.inventory().unreadable.remove("gpu").unwrap_or_else(|| "the source lists none".to_owned())
        }
    }
}

/// Waits for the time's end, a recording's end or a signal; tells whether it was a signal.
async fn until_over(time: Option<Duration>, ended: &Notify) -> std::io::Result<bool> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let time_is_over = async {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => Ok(false),
        () = ended.notified() => Ok(false),
        _ = interrupt.recv() => Ok(true),
        _ = terminate.recv() => Ok(true),
    }
}

fn record(
    source: &dyn GpuSource,
    uuid: &str,
    pace: Pace,
    stop: &Stop,
    mut output: Box<dyn Write + Send>,
) -> std::io::Result<Tally> {
    let mut tally = Tally::default();
    let mut result = writeln!(output, "{}", power_csv::HEADER);
    if result.is_ok() {
        each_sample(source, uuid, pace, stop, |sample| {
            match power_csv::row(&sample) {
                Some(row) => {
                    tally.rows += 1;
                    result = writeln!(output, "{row}");
                }
                None => tally.dropped += 1,
            }
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    result.and_then(|()| output.flush()).map(|()| tally)
}

fn outputs(out: Option<&Path>, uuids: &[String]) -> anyhow::Result<Vec<Box<dyn Write + Send>>> {
    let Some(out) = out else {
        anyhow::ensure!(uuids.len() <= 1, "out: give a file: {} gpus cannot share standard output", uuids.len());
        return Ok(vec![Box::new(LineWriter::new(std::io::stdout()))]);
    };
    let paths = uuids.iter().map(|uuid| path_for(out, uuid, uuids.len()));
    paths
        .map(|path| {
            let file = File::create(&path).with_context(|| format!("out: {} cannot be written", path.display()))?;
            Ok(Box::new(LineWriter::new(file)) as Box<dyn Write + Send>)
        })
        .collect()
}

fn path_for(out: &Path, uuid: &str, gpus: usize) -> PathBuf {
    if gpus == 1 {
        return out.to_owned();
    }
    let mut name = out.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{uuid}"));
    let named = out.with_file_name(name);
    match out.extension() {
        // Appended, not set: nothing of the UUID is to be taken for an extension.
        Some(extension) => PathBuf::from(format!("{}.{}", named.display(), extension.display())),
        None => named,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::gpu::fixture;

    #[rstest]
    #[case("power.csv", 1, "power.csv")]
    #[case("out/power.csv", 2, "out/power-GPU-a.csv")]
    #[case("power", 2, "power-GPU-a")]
    fn several_gpus_have_a_file_each(#[case] out: &str, #[case] gpus: usize, #[case] expected: &str) {
        assert_eq!(path_for(Path::new(out), "GPU-a", gpus), Path::new(expected));
    }

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SampleArgs,
    }

    fn parse(words: &[&str]) -> SampleArgs {
        Cli::try_parse_from([&["sample"], words].concat()).unwrap().args
    }

    #[test]
    fn a_recording_of_no_time_has_a_header_and_numeric_rows() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = format!("simulated:{}", fixture::write(folder.path(), &fixture::gpu_file()).display());
        let out = folder.path().join("power.csv");
        run(&parse(&["--gpu", &gpu, "--out", out.to_str().unwrap(), "--seconds", "0"])).unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(power_csv::HEADER));
        assert!(lines.all(|line| line.ends_with(", 299.50 W, 97 %, 61 %, 1785 MHz, 2619 MHz, 55")), "{text}");
    }

    #[rstest]
    #[case::no_gpu(&["--gpu", "absent", "--seconds", "0"])]
    #[case::no_such_folder(&["--gpu", "absent", "--out", "/nonexistent/power.csv", "--seconds", "0"])]
    #[case::no_nvml(&["--gpu", "nvml", "--nvml-library", "/nonexistent/nvml.so", "--seconds", "0"])]
    fn what_cannot_be_recorded_is_bad_input(#[case] words: &[&str]) {
        assert_eq!(run(&parse(words)).unwrap(), ExitCode::from(2));
    }
}
