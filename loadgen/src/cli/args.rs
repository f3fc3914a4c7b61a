//! The flags of `teebench loadgen`: those of `vllm bench serve` where it has them, under its names and defaults.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::arrivals::RampStrategy;
use crate::client::Backend;
use crate::dataset::DatasetArgs;
use crate::result_file::{Format, Metric};

const EXAMPLE: &str = "\
Example:
  teebench loadgen --base-url http://127.0.0.1:8000 --model meta-llama/Llama-3.1-8B-Instruct \\
      --dataset-name toolbench --num-prompts 6000 --request-rate 72 --output-len 128 \\
      --save-result --save-detailed --result-dir results";

/// Sends a load to vLLM servers and measures it: a drop-in for `vllm bench serve`.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = EXAMPLE)]
pub struct Args {
    /// API of the servers.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Base URLs of the servers; request i goes to URL i mod their number. Default: http://HOST:PORT.
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub base_url: Vec<String>,
    /// Host of the server, without --base-url.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the server, without --base-url.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Path of the API. Default: the backend's.
    #[arg(long, value_name = "PATH")]
    pub endpoint: Option<String>,
    /// Headers of every request.
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..)]
    pub header: Vec<String>,
    /// Speak HTTP/2: by ALPN with https, at once with http.
    #[arg(long)]
    pub http2: bool,
    /// Trust any certificate of an https server.
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
    /// PEM file of the authorities to trust. Default: the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Threads that send, each on a core of its own. Default: one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: Option<u32>,
    /// Most requests in flight at each server; waiting for it counts as latency, as waiting in a router does.
    #[arg(long, value_name = "N")]
    pub max_in_flight_per_server: Option<u32>,
    /// Name of the model. Default: the first that the server serves.
    #[arg(long)]
    pub model: Option<String>,
    /// Name of the tokeniser, for the result file. A `tokenizer.json`, or a directory with one, also counts the tokens of
    /// texts. Default: the model's name.
    #[arg(long)]
    pub tokenizer: Option<String>,
    /// Record no tokeniser; TTFT, TPOT and ITL are not summarised then.
    #[arg(long)]
    pub skip_tokenizer_init: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take the sentence for the command's own")]
    pub dataset: DatasetArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take the sentence for the command's own")]
    pub traffic: TrafficArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take the sentence for the command's own")]
    pub saturation: SaturationArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take the sentence for the command's own")]
    pub share: ShareArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take the sentence for the command's own")]
    pub result: ResultArgs,
}

/// When to send it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Traffic")]
pub struct TrafficArgs {
    /// Requests per second; inf sends all at the start, or a trace at its own times. Several are run one after the other.
    #[arg(long, value_name = "RPS", value_delimiter = ',', default_value = "inf", allow_negative_numbers = true)]
    pub request_rate: Vec<f64>,
    /// Shape of the gamma distribution of gaps: 1 is Poisson, less is burstier, inf is constant.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub burstiness: f64,
    /// Most requests in flight. Several are run one after the other, each with each --request-rate.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrency: Vec<u32>,
    /// Let the rate grow with each request.
    #[arg(
        long,
        value_enum,
        requires = "ramp_up_start_rps",
        requires = "ramp_up_end_rps",
        conflicts_with = "request_rate"
    )]
    pub ramp_up_strategy: Option<RampStrategy>,
    /// Rate of the first request.
    #[arg(long, value_name = "RPS", requires = "ramp_up_strategy")]
    pub ramp_up_start_rps: Option<u32>,
    /// Rate of the last request.
    #[arg(long, value_name = "RPS", requires = "ramp_up_strategy")]
    pub ramp_up_end_rps: Option<u32>,
    /// Single-token requests to send beside the load, per second, past --max-concurrency.
    #[arg(long, value_name = "RPS", default_value_t = 0.0)]
    pub probe_request_rate: f64,
    /// Warm-up requests, sent before the measured window; never prompts of the run.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub num_warmups: usize,
    /// Seed of prompts and arrivals.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// How several load generators share one plan.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Several load generators")]
pub struct ShareArgs {
    /// Send only the requests whose number is K modulo N, of limits the N-th part: generator K (from 0) of N.
    #[arg(long, value_name = "K/N", requires = "part_file")]
    pub share: Option<String>,
    /// Moment at which the first request could come, the same for all generators, such as 2026-11-22T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub start_at: Option<Timestamp>,
    /// Write all that was measured, to be merged.
    #[arg(long, value_name = "FILE")]
    pub part_file: Option<PathBuf>,
    /// Send nothing: merge the part files of all generators, which had the same flags, and report on the whole.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["share", "start_at", "part_file", "saturation"])]
    pub merge: Vec<PathBuf>,
}

/// How to find the highest rate that meets the objectives.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Saturation search")]
pub struct SaturationArgs {
    /// Search for the highest request rate that meets the objectives of --goodput: from --request-rate (default 1) it
    /// is doubled until it fails, then bisected.
    #[arg(long, requires = "goodput", conflicts_with = "ramp_up_strategy", conflicts_with = "result_filename")]
    pub saturation: bool,
    /// Share of the requests that must meet the objectives.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub saturation_attainment: f64,
    /// End when the rate that fails is at most this share above the one that holds.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub saturation_resolution: f64,
    /// Measure a rate again until the 95 % interval of the share is at most this to both sides, or clear of it.
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    pub saturation_half_width: f64,
    /// Most times that a rate is measured.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..))]
    pub saturation_repetitions: u32,
    /// Highest rate to try.
    #[arg(long, value_name = "RPS", default_value_t = 10_000.0)]
    pub saturation_maximum_rate: f64,
}

/// What to say about it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Results")]
pub struct ResultArgs {
    /// Objectives of goodput, of ttft, tpot, e2el, each with its unit: ttft:200ms e2el:2s.
    #[arg(long, value_name = "METRIC:VALUE", num_args = 1..)]
    pub goodput: Vec<String>,
    /// Latencies to summarise.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ttft,tpot,itl")]
    pub percentile_metrics: Vec<Metric>,
    /// Percentiles of each.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "99")]
    pub metric_percentiles: Vec<f64>,
    /// Label of the result.
    #[arg(long)]
    pub label: Option<String>,
    /// Further strings for the result file.
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..)]
    pub metadata: Vec<String>,
    /// Write the result file.
    #[arg(long)]
    pub save_result: bool,
    /// Write into it what was measured of each request, generated texts too.
    #[arg(long)]
    pub save_detailed: bool,
    /// Directory of the result file; made when it is not there.
    #[arg(long, value_name = "DIR")]
    pub result_dir: Option<PathBuf>,
    /// Name of the result file. Default: as vLLM names it.
    #[arg(long, value_name = "NAME")]
    pub result_filename: Option<PathBuf>,
    /// Whose result file to write.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Write the client's account of itself: lateness, true concurrency, CPU, verdict.
    #[arg(long, value_name = "FILE")]
    pub client_file: Option<PathBuf>,
    /// Show no progress.
    #[arg(long)]
    pub disable_tqdm: bool,
}
