//! One run of a tree: its result file, reduced to what the analyses need, and its power.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use jiff::civil::DateTime;
use teebench_api::campaign::Tee;

use super::tree::Fault;
use crate::{
    metrics::{RunMetrics, bench_metrics},
    read::{
        bench::{BenchFile, Details},
        power::{PowerFile, seconds},
        read_power,
    },
    stats::numpy,
};

/// Endings of power files, beside the stem of their result file. The first that is there is the run's GPU power.
const POWER_ENDINGS: [&str; 2] = ["_power_metrics.csv", "_power_metrics_GPU.csv"];

/// Ending of a CPU's power file.
const CPU_ENDING: &str = "_power_metrics_CPU.csv";

/// Seconds by which a power file may miss its run before it is said to be of another time: clocks of two machines differ
/// by less, time zones by more.
const CLOCK_PATIENCE_S: f64 = 1200.0;

/// Timestamps before this second of the Unix epoch, in the year 2001, count from a start of their own.
const LEAST_EPOCH_S: f64 = 1e9;

/// One repetition.
#[derive(Clone, Debug)]
pub struct Run {
    /// State of the TEE, by the directory.
    pub tee: Tee,
    /// Number of the repetition.
    pub repetition: u32,
    /// The result file.
    pub path: PathBuf,
    /// Its power files, GPU's first.
    pub power_paths: Vec<PathBuf>,
    /// The result file's totals; figures per request are reduced and dropped.
    pub bench: BenchFile,
    /// The metrics that reports show.
    pub metrics: RunMetrics,
    /// Figures per request, reduced; absent of a file without them.
    pub per_request: Option<PerRequest>,
    /// The GPUs' power.
    pub power: Option<PowerFile>,
    /// The CPU's power.
    pub cpu_power: Option<PowerFile>,
}

/// Figures per request of one run, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerRequest {
    /// Median time to the first token, as the notebook takes it: of all requests.
    pub ttft_median_s: f64,
    /// Its 95th percentile.
    pub ttft_p95_s: f64,
    /// Median of all gaps between tokens.
    pub itl_median_s: Option<f64>,
    /// Their 95th percentile.
    pub itl_p95_s: Option<f64>,
    /// Mean output tokens of a request.
    pub mean_output_tokens: f64,
    /// Median over completed requests of the sum of their gaps: time from the first token to the last.
    pub decode_s: Option<f64>,
    /// Least and most prompt tokens.
    pub input_range: Option<(u64, u64)>,
    /// Least and most output tokens.
    pub output_range: (u64, u64),
}

impl Run {
    /// Puts a run together from a result that was read from `path`, and reads the power files beside it.
    /// A power file that cannot be used leaves the run without energy, and is beside it with what is wrong.
    pub(super) fn new(tee: Tee, repetition: u32, path: &Path, mut bench: BenchFile) -> (Self, Vec<Fault>) {
        let metrics = bench_metrics(&bench, None);
        let inputs = bench.account.input_tokens.take();
        let per_request = bench.details.take().and_then(|details| PerRequest::of(&details, inputs.as_deref()));
        let power_path = POWER_ENDINGS.iter().map(|ending| beside(path, ending)).find(|path| path.is_file());
        let cpu_path = Some(beside(path, CPU_ENDING)).filter(|path| path.is_file());
        let mut faults = Vec::new();
        let mut read = |path: &Path| read_power(path).map_err(|error| faults.push(Fault::of(path, &error))).ok();
        let power = power_path.as_deref().and_then(&mut read);
        let cpu_power = cpu_path.as_deref().and_then(&mut read);
        let run = Self {
            tee,
            repetition,
            path: path.to_owned(),
            power_paths: power_path.into_iter().chain(cpu_path).collect(),
            bench,
            metrics,
            per_request,
            power,
            cpu_power,
        };
        (run, faults)
    }

    /// What a reader must know of the run beside its figures.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.bench.completed == 0 {
            notes.push("no request completed: rates are zero, and there are no latencies".to_owned());
        }
        match self.energy_joules() {
            Err(reason) => notes.push(format!("no energy: {reason}")),
            Ok(_) => notes.extend(self.other_clock()),
        }
        notes
    }

    /// Said of a power file that neither begins before the run's end nor ends after its beginning.
    fn other_clock(&self) -> Option<String> {
        let end = DateTime::strptime("%Y%m%d-%H%M%S", self.bench.account.date.as_deref()?).ok()?;
        let end_s = seconds(end)?;
        let (first_s, last_s) = self.power.as_ref()?.times_s().filter(|(first, _)| *first > LEAST_EPOCH_S)?;
        let apart = (first_s - end_s).max(end_s - self.bench.duration - last_s);
        (apart > CLOCK_PATIENCE_S).then(|| {
            format!(
                "the power file lies {apart:.0} s outside the run: another clock or time zone, or another run's file"
            )
        })
    }

    /// Energy of the GPUs over the whole power file, on its own timestamps, when it is as long as the run. It begins
    /// before and ends after the run: an upper bound of the run's energy.
    ///
    /// # Errors
    /// Why there is none.
    pub fn energy_joules(&self) -> Result<f64, String> {
        let power = self.power.as_ref().ok_or_else(|| {
            let gpu_file = POWER_ENDINGS.iter().any(|ending| self.power_paths.contains(&beside(&self.path, ending)));
            if gpu_file { "its power file cannot be used" } else { "no power file beside the result file" }
        })?;
        // At one row a second the first and last rows may lie a second inside the run.
        if power.span_s() + 2.0 < self.bench.duration {
            return Err(format!(
                "the power file covers {:.1} s of a run of {:.1} s",
                power.span_s(),
                self.bench.duration
            ));
        }
        power.energy_joules().ok_or_else(|| "the power file has no power values".to_owned())
    }
}

/// The power files that a result file may have beside it.
pub(super) fn power_files_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    POWER_ENDINGS.into_iter().chain([CPU_ENDING]).map(|ending| beside(path, ending))
}

/// The file beside a result file with another ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}{ending}"))
}

impl PerRequest {
    fn of(details: &Details, inputs: Option<&[u64]>) -> Option<Self> {
        let ttfts = numpy::sorted(&details.ttfts_s);
        let gaps = numpy::sorted(&details.gaps_s);
        let decodes: Vec<f64> =
            details.requests().filter(|request| !request.failed).map(|request| request.gaps_s.iter().sum()).collect();
        let outputs = &details.output_tokens;
        Some(Self {
            ttft_median_s: numpy::median(&ttfts)?,
            ttft_p95_s: numpy::percentile_of_sorted(&ttfts, 95.0)?,
            itl_median_s: numpy::median(&gaps),
            itl_p95_s: numpy::percentile_of_sorted(&gaps, 95.0),
            mean_output_tokens: outputs.iter().sum::<u64>() as f64 / outputs.len() as f64,
            decode_s: numpy::median(&decodes),
            input_range: inputs.and_then(range),
            output_range: range(outputs)?,
        })
    }
}

fn range(values: &[u64]) -> Option<(u64, u64)> {
    values.iter().min().copied().zip(values.iter().max().copied())
}

/// `model, prompts, input and output length (range), concurrency peak/max, rate, burstiness`.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bench = &self.bench;
        let per_request = |total: u64| total as f64 / bench.completed.max(1) as f64;
        let span = |range: Option<(u64, u64)>| range.map_or(String::new(), |(low, high)| format!(" ({low}-{high})"));
        let told = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        write!(
            f,
            "[{}] {}, {} prompts, input {:.0}{}, output {:.0}{}, concurrency {}/{}, rate {}, burstiness {}",
            self.repetition,
            bench.account.model_id.as_deref().unwrap_or("unnamed model"),
            bench.num_prompts,
            per_request(bench.total_input_tokens),
            span(self.per_request.and_then(|requests| requests.input_range)),
            per_request(bench.total_output_tokens),
            span(self.per_request.map(|requests| requests.output_range)),
            told(bench.account.max_concurrent_requests),
            bench.max_concurrency.map_or_else(|| "unbounded".to_owned(), |limit| limit.to_string()),
            bench.request_rate.map_or_else(|| "inf".to_owned(), |rate| rate.to_string()),
            bench.account.burstiness.map_or_else(|| "?".to_owned(), |shape| shape.to_string()),
        )
    }
}
