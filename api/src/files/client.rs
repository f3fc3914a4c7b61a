//! `client.json`: how well the load generator itself did, and what the result file's format has no room for.

use serde::{Deserialize, Serialize};

/// The load generator's account of itself for one run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct ClientFile {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Whether the client kept up.
    pub verdict: ClientVerdict,
    /// Reasons for any verdict but `ok`.
    pub reasons: Vec<String>,
    /// First send, in nanoseconds since the Unix epoch on the client's clock.
    pub window_start_unix_ns: u64,
    /// Last completion, in nanoseconds since the Unix epoch on the client's clock.
    pub window_end_unix_ns: u64,
    /// Time between a request's planned and actual send, in milliseconds (open loop only).
    pub send_lateness_ms: Option<Distribution>,
    /// Latency from the intended arrival to the last chunk, in milliseconds (open loop only).
    pub e2el_from_intended_ms: Option<Distribution>,
    /// TTFT from the intended arrival, in milliseconds (open loop only).
    pub ttft_from_intended_ms: Option<Distribution>,
    /// Time to the first chunk of any kind, role-only chunks too, in milliseconds: what clients up to 0.32 call TTFT.
    pub ttft_first_chunk_ms: Option<Distribution>,
    /// Time to the first chunk that carries output, in milliseconds.
    pub ttft_first_output_ms: Option<Distribution>,
    /// Largest number of requests truly in flight at once.
    pub peak_concurrency: u32,
    /// Mean number of requests in flight over the window.
    pub mean_concurrency: f64,
    /// Largest output token rate over any whole second, in tokens per second.
    pub peak_output_tokens_per_s: f64,
    /// Share of its core that the client's busiest worker thread used over the window (1 = all of it).
    pub cpu_share: f64,
    /// Sockets opened.
    pub sockets_opened: u64,
    /// The part of the window at target concurrency, when there is one.
    pub steady_state: Option<SteadyState>,
    /// Whether the run was ended early and the figures cover only a part.
    pub partial: bool,
    /// When each request was to be sent, in seconds after the first planned one (open loop only).
    pub intended_start_s: Vec<f64>,
}

/// The part of a window between reaching the target concurrency and the last dispatch.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct SteadyState {
    /// Its start in seconds after the window's start.
    pub start_s: f64,
    /// Its end in seconds after the window's start.
    pub end_s: f64,
    /// Requests completed in it, per second.
    pub request_throughput: f64,
    /// Output tokens received in it, per second.
    pub output_throughput: f64,
}

/// Whether the load generator's own limits shaped the run.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ClientVerdict {
    /// It kept up.
    Ok,
    /// It was late or short of CPU: the run measures the client.
    ClientBottleneck,
}

/// A distribution in brief; percentiles are numpy's linear ones.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct Distribution {
    /// Values counted.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// 50th percentile.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
}
