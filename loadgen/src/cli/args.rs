//! The flags of `teebench loadgen`: those of `vllm bench serve` where it has them, under its names and defaults.

use std::path::PathBuf;

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
    pub result: ResultArgs,
}

/// When to send it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Traffic")]
pub struct TrafficArgs {
    /// Requests per second; inf sends all at the start.
    #[arg(long, default_value_t = f64::INFINITY)]
    pub request_rate: f64,
    /// Shape of the gamma distribution of gaps: 1 is Poisson, less is burstier, inf is constant.
    #[arg(long, default_value_t = 1.0)]
    pub burstiness: f64,
    /// Most requests in flight.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrency: Option<u32>,
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

/// What to say about it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Results")]
pub struct ResultArgs {
    /// Objectives of goodput in milliseconds; of ttft, tpot, e2el.
    #[arg(long, value_name = "METRIC:MS", num_args = 1..)]
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
