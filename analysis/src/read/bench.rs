//! `bench.json`: a result file of `vllm bench serve --save-result --save-detailed`, of which only what the analysis
//! needs is kept.
//!
//! The file is parsed in one pass into flat arrays: the gaps between tokens of all requests stand in one vector, and
//! generated texts are skipped without a copy. No tree of values is built.

mod raw;

use std::{fs, path::Path};

use self::raw::RawBench;
use super::ReadError;

/// A result file. Times are seconds, rates per second.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchFile {
    /// Requests that were to be sent.
    pub num_prompts: u64,
    /// Mean arrival rate; `None` is as fast as concurrency allows (`"inf"` in the file).
    pub request_rate: Option<f64>,
    /// Most requests in flight.
    pub max_concurrency: Option<u64>,
    /// First dispatch to last completion, failed requests too.
    pub duration: f64,
    /// Requests that completed.
    pub completed: u64,
    /// Requests that did not; older versions do not say.
    pub failed: Option<u64>,
    /// Prompt tokens of completed requests.
    pub total_input_tokens: u64,
    /// Output tokens of completed requests.
    pub total_output_tokens: u64,
    /// Completed requests per second.
    pub request_throughput: f64,
    /// Completed requests within the objectives per second.
    pub request_goodput: Option<f64>,
    /// Output tokens per second.
    pub output_throughput: f64,
    /// Prompt and output tokens per second.
    pub total_token_throughput: f64,
    /// What the client says of itself and sums up.
    pub account: Account,
    /// Figures per request, of a detailed file.
    pub details: Option<Details>,
}

/// What a client says of itself and its own sums, as far as its version writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The model, as the server calls it.
    pub model_id: Option<String>,
    /// Local end of the run, as `YYYYMMDD-HHMMSS`.
    pub date: Option<String>,
    /// Shape of the gamma distributed gaps between arrivals.
    pub burstiness: Option<f64>,
    /// Most requests in flight within one second.
    pub max_concurrent_requests: Option<u64>,
    /// Mean time per output token after the first, in milliseconds.
    pub mean_tpot_ms: Option<f64>,
    /// Median time to the first token, in milliseconds.
    pub median_ttft_ms: Option<f64>,
    /// Median gap between tokens, in milliseconds.
    pub median_itl_ms: Option<f64>,
    /// What `--metadata tee_mode=...` says.
    pub tee_mode: Option<String>,
    /// What `--metadata repetition=...` says.
    pub repetition: Option<u32>,
    /// Whether the server was the simulator, as `--metadata simulated=true` says.
    pub simulated: bool,
    /// Prompt tokens of each request, of a detailed file.
    pub input_tokens: Option<Vec<u64>>,
}

/// Figures per request, failed ones too; all arrays but the gaps have one entry a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Output tokens.
    pub output_tokens: Vec<u64>,
    /// Time to the first token.
    pub ttfts_s: Vec<f64>,
    /// Gaps between tokens of all requests, one request after the other.
    pub gaps_s: Vec<f64>,
    /// Where each request's gaps end in `gaps_s`.
    pub gap_ends: Vec<usize>,
    /// End-to-end latencies; older versions leave them out.
    pub latencies_s: Option<Vec<f64>>,
    /// When each request was sent, on some clock; older versions leave them out.
    pub starts_s: Option<Vec<f64>>,
    /// Whether each request failed.
    pub failed: Vec<bool>,
}

/// One request's figures, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request<'a> {
    /// Output tokens.
    pub output_tokens: u64,
    /// Time to the first token.
    pub ttft_s: f64,
    /// Gaps between tokens.
    pub gaps_s: &'a [f64],
    /// End-to-end latency; time to first token and all gaps where the file does not say.
    pub latency_s: f64,
    /// When it was sent.
    pub start_s: Option<f64>,
    /// Whether it failed.
    pub failed: bool,
}

impl Details {
    /// Number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ttfts_s.len()
    }

    /// Whether there is no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ttfts_s.is_empty()
    }

    /// The requests in the file's order.
    pub fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        (0..self.len()).map(|index| {
            let begin = index.checked_sub(1).map_or(0, |previous| self.gap_ends[previous]);
            let gaps_s = &self.gaps_s[begin..self.gap_ends[index]];
            let ttft_s = self.ttfts_s[index];
            let latency_s = self
                .latencies_s
                .as_ref()
                .map_or_else(|| ttft_s + gaps_s.iter().sum::<f64>(), |latencies| latencies[index]);
            Request {
                output_tokens: self.output_tokens[index],
                ttft_s,
                gaps_s,
                latency_s,
                start_s: self.starts_s.as_ref().map(|starts| starts[index]),
                failed: self.failed[index],
            }
        })
    }
}

/// Reads a file with one result.
///
/// # Errors
/// When it cannot be read, is no result file, holds several results, or contradicts itself.
pub fn read_bench(path: &Path) -> Result<BenchFile, ReadError> {
    let mut results = read_benches(path)?;
    match (results.pop(), results.len()) {
        (Some(result), 0) => Ok(result),
        (found, before) => {
            let reason = match before + usize::from(found.is_some()) {
                0 => "is empty, and so not a valid result file".to_owned(),
                count => format!("holds {count} results (--append-result) where one is wanted"),
            };
            Err(ReadError::Contradiction { path: path.to_owned(), reason })
        }
    }
}

/// Reads all results of a file, to which `--append-result` adds one after the other.
///
/// # Errors
/// When it cannot be read, or one of its results is cut off, is none, or contradicts itself.
pub fn read_benches(path: &Path) -> Result<Vec<BenchFile>, ReadError> {
    let bytes = fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    serde_json::Deserializer::from_slice(&bytes)
        .into_iter::<RawBench>()
        .map(|raw| {
            let raw =
                raw.map_err(|source| ReadError::Malformed { path: path.to_owned(), what: "result file", source })?;
            raw.checked().map_err(|reason| ReadError::Contradiction { path: path.to_owned(), reason })
        })
        .collect()
}
