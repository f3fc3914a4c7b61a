//! The figures of a result file, computed from the records as vLLM's client computes them.

use super::busiest::{BusiestSecond, busiest_second};
use crate::record::{ProbeLatencies, RequestRecord};
use crate::result_file::Format;
use crate::stats;

/// A latency that result files summarise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Inter-token latency: between chunks, of all requests together.
    Itl,
    /// End-to-end latency.
    E2el,
}

impl Metric {
    /// All of them, in the order of result files.
    pub const ALL: [Metric; 4] = [Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el];

    /// Its name inside keys, such as `mean_ttft_ms`.
    pub fn key(self) -> &'static str {
        match self {
            Metric::Ttft => "ttft",
            Metric::Tpot => "tpot",
            Metric::Itl => "itl",
            Metric::E2el => "e2el",
        }
    }

    /// Whether it is measured in output tokens, which vLLM's client counts only with a tokeniser.
    pub(super) fn needs_tokenizer(self) -> bool {
        match self {
            Metric::Ttft | Metric::Tpot | Metric::Itl => true,
            Metric::E2el => false,
        }
    }
}

/// Objectives that a request must meet to count as good; none set means goodput is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slo {
    /// Longest time to first token in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Longest time per output token in milliseconds.
    pub tpot_ms: Option<f64>,
    /// Longest end-to-end latency in milliseconds.
    pub e2el_ms: Option<f64>,
}

impl Slo {
    /// Whether there is no objective at all.
    pub fn is_empty(&self) -> bool {
        *self == Slo::default()
    }

    /// Whether a succeeded request met every objective; a request of one token has no TPOT and meets that one.
    fn is_met_by(&self, record: &RequestRecord) -> bool {
        let within = |limit_ms: Option<f64>, seconds: f64| limit_ms.is_none_or(|limit| limit / 1000.0 >= seconds);
        within(self.ttft_ms, record.ttft_s.unwrap_or(0.0))
            && within(self.tpot_ms, tpot_s(record).unwrap_or(0.0))
            && within(self.e2el_ms, record.latency_s)
    }
}

/// One latency over all successes, in milliseconds; all 0 when there were none, as numpy gives them to vLLM.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencySummary {
    /// Which latency.
    pub metric: Metric,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Median.
    pub median_ms: f64,
    /// Standard deviation of the population.
    pub std_ms: f64,
    /// Percentiles asked for, each with its value.
    pub percentiles_ms: Vec<(f64, f64)>,
}

/// The requests sent beside the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeSummary {
    /// Those that succeeded.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Median end-to-end latency in milliseconds.
    pub median_e2el_ms: f64,
    /// 99th percentile of the end-to-end latency in milliseconds.
    pub p99_e2el_ms: f64,
    /// Longest end-to-end latency in milliseconds.
    pub max_e2el_ms: f64,
}

/// The figures of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The window's length in seconds.
    pub duration_s: f64,
    /// Requests that succeeded.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Prompt tokens of the successes.
    pub total_input_tokens: u64,
    /// Tokens generated.
    pub total_output_tokens: u64,
    /// Successes per second.
    pub request_throughput: f64,
    /// Successes per second that met the objectives; `None` without objectives.
    pub request_goodput: Option<f64>,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Prompt and generated tokens per second.
    pub total_token_throughput: f64,
    /// The busiest whole second, by vLLM's count.
    pub busiest_second: BusiestSecond,
    /// The requests sent beside the load, if any of them succeeded.
    pub probe: Option<ProbeSummary>,
    /// The latencies asked for, in the order of result files.
    pub latencies: Vec<LatencySummary>,
}

/// Which figures to compute.
pub(super) struct Selection<'a> {
    pub(super) format: Format,
    pub(super) metrics: &'a [Metric],
    pub(super) percentiles: &'a [f64],
    pub(super) slo: &'a Slo,
    pub(super) has_tokenizer: bool,
}

impl Summary {
    pub(super) fn compute(
        records: &[RequestRecord],
        duration_s: f64,
        probe: Option<&ProbeLatencies>,
        selection: &Selection<'_>,
    ) -> Summary {
        let successes: Vec<&RequestRecord> = records.iter().filter(|record| record.succeeded()).collect();
        let total_input_tokens: u64 = successes.iter().map(|record| input_tokens(record, selection.format)).sum();
        let total_output_tokens: u64 = successes.iter().map(|record| record.output_tokens()).sum();
        let good = successes.iter().filter(|record| selection.slo.is_met_by(record)).count();
        // A run that was ended before its first completion has no length to divide by.
        let per_second = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        Summary {
            duration_s,
            completed: successes.len() as u64,
            failed: (records.len() - successes.len()) as u64,
            total_input_tokens,
            total_output_tokens,
            request_throughput: per_second(successes.len() as u64),
            request_goodput: (!selection.slo.is_empty()).then(|| per_second(good as u64)),
            output_throughput: per_second(total_output_tokens),
            total_token_throughput: per_second(total_input_tokens + total_output_tokens),
            busiest_second: busiest_second(&successes),
            probe: probe.and_then(summarise_probe),
            latencies: Metric::ALL
                .into_iter()
                .filter(|metric| selection.metrics.contains(metric))
                .filter(|metric| selection.has_tokenizer || !metric.needs_tokenizer())
                .map(|metric| summarise(metric, values_s(metric, &successes), selection.percentiles))
                .collect(),
        }
    }
}

/// Prompt tokens as the format counts them: 0.11 what the data set expects, 0.32 what the server says.
pub(super) fn input_tokens(record: &RequestRecord, format: Format) -> u64 {
    let expected = record.expected_prompt_tokens;
    u64::from(match format {
        Format::Vllm011 => expected,
        Format::Vllm032 => record.usage.map_or(expected, |usage| usage.prompt_tokens),
    })
}

/// `(latency - ttft) / (output tokens - 1)`; `None` of a single token.
fn tpot_s(record: &RequestRecord) -> Option<f64> {
    let tokens = record.output_tokens();
    (tokens > 1).then(|| (record.latency_s - record.ttft_s.unwrap_or(0.0)) / (tokens - 1) as f64)
}

fn values_s(metric: Metric, successes: &[&RequestRecord]) -> Vec<f64> {
    match metric {
        Metric::Ttft => successes.iter().map(|record| record.ttft_s.unwrap_or(0.0)).collect(),
        Metric::Tpot => successes.iter().filter_map(|record| tpot_s(record)).collect(),
        Metric::Itl => {
            let mut pooled = Vec::with_capacity(successes.iter().map(|record| record.itls_s.len()).sum());
            for record in successes {
                pooled.extend_from_slice(&record.itls_s);
            }
            pooled
        }
        Metric::E2el => successes.iter().map(|record| record.latency_s).collect(),
    }
}

fn summarise(metric: Metric, values_s: Vec<f64>, percentiles: &[f64]) -> LatencySummary {
    // Mean and deviation first: numpy adds the values in the order of the run, not sorted.
    let mean_ms = stats::mean(&values_s).unwrap_or(0.0) * 1000.0;
    let std_ms = stats::population_std(&values_s).unwrap_or(0.0) * 1000.0;
    let sorted = stats::sorted(values_s);
    LatencySummary {
        metric,
        mean_ms,
        median_ms: stats::median_of_sorted(&sorted).unwrap_or(0.0) * 1000.0,
        std_ms,
        percentiles_ms: percentiles
            .iter()
            .map(|&percent| (percent, stats::percentile_of_sorted(&sorted, percent).unwrap_or(0.0) * 1000.0))
            .collect(),
    }
}

fn summarise_probe(probe: &ProbeLatencies) -> Option<ProbeSummary> {
    let ProbeLatencies { latencies_s, failed } = probe;
    let sorted = stats::sorted(latencies_s.clone());
    Some(ProbeSummary {
        completed: sorted.len() as u64,
        failed: *failed,
        median_e2el_ms: stats::median_of_sorted(&sorted)? * 1000.0,
        p99_e2el_ms: stats::percentile_of_sorted(&sorted, 99.0)? * 1000.0,
        max_e2el_ms: sorted.last()? * 1000.0,
    })
}
