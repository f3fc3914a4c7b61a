//! What was measured: one record a request, the window, and how the client itself fared.

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// Tokens of one request as the server counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
}

/// One request, succeeded or failed. Instants are seconds on the machine's monotonic clock, as Python's `perf_counter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Its place in the order of the run.
    pub index: usize,
    /// The target it went to.
    pub target: usize,
    /// Tokens that the data set expects the prompt to have.
    pub expected_prompt_tokens: u32,
    /// The server's count, when it sent one.
    pub usage: Option<Usage>,
    /// When the arrivals had planned it.
    pub intended_s: f64,
    /// When it was begun: past the concurrency limit, before connecting and before waiting for its target's cap.
    pub start_s: f64,
    /// Time between its arrival at the client and its start, mostly waiting for the concurrency limit, in seconds.
    pub queue_s: f64,
    /// Time between the moment it could have begun (planned, and let through by the limit) and its start, in seconds.
    pub lateness_s: f64,
    /// Time from the start to the first chunk of any kind, in seconds.
    pub ttft_first_chunk_s: Option<f64>,
    /// Time from the start to the first chunk that carries output, in seconds.
    pub ttft_s: Option<f64>,
    /// Times between chunks that carry output, in seconds.
    pub itls_s: Vec<f64>,
    /// Time from the start to the last chunk that carries output, in seconds; 0 for a failure, as in vLLM's files.
    pub latency_s: f64,
    /// When its stream ended or failed.
    pub end_s: f64,
    /// The generated text; empty unless texts are kept.
    pub text: String,
    /// Why it failed; `None` of a success.
    pub error: Option<String>,
}

impl RequestRecord {
    /// Whether it was answered with HTTP 200, at least one chunk of output and no error.
    pub fn succeeded(&self) -> bool {
        self.error.is_none()
    }

    /// Chunks that carried output.
    pub fn output_chunks(&self) -> usize {
        self.ttft_s.map_or(0, |_| 1 + self.itls_s.len())
    }

    /// Tokens generated: the server's count, else one a chunk; 0 for a failure.
    pub fn output_tokens(&self) -> u64 {
        if !self.succeeded() {
            return 0;
        }
        match self.usage {
            Some(usage) if usage.completion_tokens > 0 => u64::from(usage.completion_tokens),
            _ => self.output_chunks() as u64,
        }
    }
}

/// From the first dispatch to the last completion, failed requests too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its start in seconds on the monotonic clock.
    pub start_s: f64,
    /// Its end in seconds on the monotonic clock.
    pub end_s: f64,
    /// Its start in nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// Its end in nanoseconds since the Unix epoch.
    pub end_unix_ns: u64,
}

impl Window {
    /// Its length in seconds.
    pub fn duration_s(&self) -> f64 {
        self.end_s - self.start_s
    }
}

/// The moment at which a ramp reached a whole request rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateChange {
    /// Requests per second.
    pub rps: u32,
    /// Local time.
    pub at: DateTime,
}

/// Latencies of the single-token requests sent beside the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeLatencies {
    /// Latencies of those that succeeded, in seconds.
    pub latencies_s: Vec<f64>,
    /// Those that failed.
    pub failed: u64,
}

/// What the load generator used of its machine over the window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientUsage {
    /// Share of its core that the busiest worker used (1 = all of it).
    pub cpu_share: f64,
    /// Sockets opened, those of warm-up included.
    pub sockets_opened: u64,
}

/// How the load was offered, as far as the files that describe it need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Requests that were to be sent.
    pub planned_requests: usize,
    /// Whether requests came at planned times (open loop).
    pub timed: bool,
    /// Most requests in flight at once.
    pub max_concurrency: Option<u32>,
}

/// All that a run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// One record for each request that was begun, in the order of the run.
    pub records: Vec<RequestRecord>,
    /// The measured window.
    pub window: Window,
    /// Local time at the end of the run.
    pub ended_at: DateTime,
    /// How the load was offered.
    pub offered: Offered,
    /// When a ramp reached each whole rate; empty without a ramp.
    pub rate_changes: Vec<RateChange>,
    /// The requests sent beside the load, when there were to be any.
    pub probe: Option<ProbeLatencies>,
    /// What the client itself used.
    pub client: ClientUsage,
    /// Whether the run was ended early.
    pub partial: bool,
}
