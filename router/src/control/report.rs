//! The counters of one epoch as one JSON object: what a run keeps as `router-metrics.json`.

use serde::{Deserialize, Serialize};

/// Counters of one router over one epoch.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouterMetrics {
    /// Number of the epoch; 0 before the first.
    pub epoch: u64,
    /// Run of the epoch; empty before the first.
    pub run: String,
    /// Answers that workers began.
    pub requests: u64,
    /// Prompts whose worker held enough of them before (at least the gate, or all of a shorter prompt).
    pub hits: u64,
    /// Requests that failed on a worker's side.
    pub errors: u64,
    /// Requests that had to be tried on another worker.
    pub retries: u64,
    /// Requests whose client went away before their end.
    pub cancelled: u64,
    /// Chunks of all accepted prompts.
    pub prompt_chunks: u64,
    /// Chunks of accepted prompts that the worker held before.
    pub held_chunks: u64,
    /// Tokens of prompts that workers are believed not to have computed again, at four bytes a token.
    #[serde(default)]
    pub saved_tokens: u64,
    /// Requests refused because the queue was full.
    pub queue_full: u64,
    /// Requests that waited longer than the policy allows.
    pub queue_timeouts: u64,
    /// Requests that had to wait for a slot.
    pub queue_waits: u64,
    /// Time that those requests waited, in seconds, all together.
    pub queue_wait_seconds: f64,
    /// Decisions made.
    pub decisions: u64,
    /// Time that the decisions took, in seconds, all together.
    pub decision_seconds: f64,
    /// Nodes of the tree.
    pub tree_nodes: u64,
    /// Bytes of the tree.
    pub tree_bytes: u64,
    /// Nodes evicted.
    pub tree_evictions: u64,
    /// Bytes sent to other routers.
    pub sync_sent_bytes: u64,
    /// Bytes accepted from other routers.
    pub sync_received_bytes: u64,
    /// Gaps in what other routers sent.
    pub sync_gaps: u64,
    /// Frames of other routers that were refused.
    pub sync_refused_frames: u64,
    /// The workers, in the epoch's order.
    pub workers: Vec<WorkerReport>,
}

/// Counters of one worker as one router sees it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReport {
    /// Name of the worker.
    pub id: String,
    /// Answers that it began.
    pub requests: u64,
    /// Prompts of which it held enough before.
    pub hits: u64,
    /// Requests that it failed.
    pub errors: u64,
    /// Requests tried elsewhere after it failed them.
    pub retries: u64,
    /// Requests of this router in flight.
    pub in_flight: u64,
    /// Latency in milliseconds, an exponentially weighted mean; none before the first success.
    pub latency_ms: Option<f64>,
}

/// A prefix that recent traffic shares, as one router sees it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrefixReport {
    /// Hash of its last chunk in the light of those before, in hexadecimal digits.
    pub hash: String,
    /// Its chunks.
    pub chunks: usize,
    /// Requests of the last hundred or so that have it.
    pub recent_requests: u32,
    /// Names of the workers that hold it.
    pub holders: Vec<String>,
}
