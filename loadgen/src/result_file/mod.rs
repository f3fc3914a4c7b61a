//! `bench.json`: the file that `vllm bench serve --save-result` writes, key for key and type for type.

mod busiest;
mod keep;
mod py_json;
mod summary;
mod table;
mod writer;

use std::io;
use std::path::PathBuf;

pub use busiest::BusiestSecond;
pub use keep::{keep, refuges};
pub use summary::{LatencySummary, Metric, ProbeSummary, Slo, Summary};
pub use table::summary_table;
pub use writer::{write_bench_json, write_bench_json_to};

use crate::arrivals::{Arrivals, RampStrategy};
use crate::client::Backend;
use crate::record::Measured;

/// Whose file format to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// That of vLLM 0.11.
    #[value(name = "vllm-0.11")]
    Vllm011,
    /// That of vLLM 0.32: adds `failed`, `latencies`, `start_times`, `queue_times`, `rtfx`.
    #[default]
    #[value(name = "vllm-0.32")]
    Vllm032,
}

/// What a result file says beside the measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultOptions {
    /// Whose format.
    pub format: Format,
    /// Whether the arrays with one entry a request are written (`--save-detailed`).
    pub detailed: bool,
    /// `backend` and `endpoint_type`.
    pub backend: Backend,
    /// `label`; null when unset.
    pub label: Option<String>,
    /// `model_id`.
    pub model_id: String,
    /// `tokenizer_id`; `None` is vLLM's `--skip-tokenizer-init`: no TTFT, TPOT and ITL summaries.
    pub tokenizer_id: Option<String>,
    /// `num_prompts` as given, which may differ from the requests sent.
    pub num_prompts: u64,
    /// Pairs written as strings between `num_prompts` and `request_rate`.
    pub metadata: Vec<(String, String)>,
    /// The arrivals, for the keys that describe the traffic.
    pub arrivals: Arrivals,
    /// `max_concurrency`; null when unset.
    pub max_concurrency: Option<u32>,
    /// Latencies to summarise, in any order.
    pub metrics: Vec<Metric>,
    /// Percentiles of each, 0 to 100, in the order in which they are written.
    pub percentiles: Vec<f64>,
    /// Objectives of `request_goodput`.
    pub slo: Slo,
}

impl ResultOptions {
    /// The percentiles that runs of a campaign write.
    pub const CAMPAIGN_PERCENTILES: [f64; 5] = [25.0, 50.0, 75.0, 95.0, 99.0];

    /// The figures of a run; the file and the printed table show the same.
    pub fn summarise(&self, measured: &Measured) -> Summary {
        Summary::compute(
            &measured.records,
            measured.window.duration_s(),
            measured.probe.as_ref(),
            &summary::Selection {
                format: self.format,
                metrics: &self.metrics,
                percentiles: &self.percentiles,
                slo: &self.slo,
                has_tokenizer: self.tokenizer_id.is_some(),
            },
        )
    }

    /// The name that vLLM's client gives the file when none is asked for.
    pub fn default_file_name(&self, measured: &Measured) -> String {
        let label = self.label.as_deref().unwrap_or(self.backend.name());
        let concurrency = self.max_concurrency.map(|limit| format!("-concurrency{limit}")).unwrap_or_default();
        let model = self.model_id.rsplit('/').next().unwrap_or_default();
        let date = measured.ended_at.strftime(DATE_FORMAT);
        match &self.arrivals {
            Arrivals::Ramp { strategy, start_rps, end_rps, burstiness: _ } => {
                let strategy = strategy.name();
                format!("{label}-ramp-up-{strategy}-{start_rps}qps-{end_rps}qps{concurrency}-{model}-{date}.json")
            }
            Arrivals::AllAtOnce { burstiness: _ } | Arrivals::Recorded => {
                format!("{label}-infqps{concurrency}-{model}-{date}.json")
            }
            Arrivals::Rate { requests_per_s, burstiness: _ } => {
                format!("{label}-{requests_per_s:?}qps{concurrency}-{model}-{date}.json")
            }
        }
    }
}

/// `date` in result files and file names.
const DATE_FORMAT: &str = "%Y%m%d-%H%M%S";

impl RampStrategy {
    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            RampStrategy::Linear => "linear",
            RampStrategy::Exponential => "exponential",
        }
    }
}

/// Why a result file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ResultFileError {
    /// The file is not where it belongs, but it is not lost.
    #[error(
        "result file {path}: cannot be written there and is kept at {kept_at}; make room and move it",
        path = path.display(), kept_at = kept_at.display()
    )]
    KeptElsewhere {
        /// Where it belongs.
        path: PathBuf,
        /// Where it is.
        kept_at: PathBuf,
        /// Why it is not where it belongs.
        #[source]
        source: io::Error,
    },
    /// The file could not be written, neither where it belongs nor elsewhere.
    #[error("result file {path}: cannot be written, and nowhere else either; look at the free space", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
