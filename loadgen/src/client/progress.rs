//! How far a run has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

/// How far a run has come; warm-up requests are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Requests that succeeded.
    pub done: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests begun and not ended.
    pub in_flight: u64,
    /// Requests of the whole run.
    pub total: u64,
    /// Chunks of output received.
    pub output_tokens: u64,
    /// Requests whose first output has come.
    pub first_outputs: u64,
    /// Their times to first token together, in microseconds.
    pub ttft_total_us: u64,
}

/// Counts that all requests of a worker add to.
#[derive(Debug, Default)]
pub(super) struct Counters {
    begun: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    output_chunks: AtomicU64,
    first_outputs: AtomicU64,
    ttft_total_us: AtomicU64,
}

impl Counters {
    pub(super) fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, succeeded: bool) {
        let counter = if succeeded { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn output_chunk(&self) {
        self.output_chunks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn first_output(&self, ttft_ns: u64) {
        self.first_outputs.fetch_add(1, Ordering::Relaxed);
        self.ttft_total_us.fetch_add(ttft_ns / 1000, Ordering::Relaxed);
    }

    /// The progress of all workers together.
    pub(super) fn progress(workers: &[Arc<Counters>], total: usize) -> Progress {
        let mut progress = Progress { total: total as u64, ..Progress::default() };
        for counters in workers {
            // Ended is read before begun, so that the difference is never negative.
            let done = counters.succeeded.load(Ordering::Relaxed);
            let failed = counters.failed.load(Ordering::Relaxed);
            progress.done += done;
            progress.failed += failed;
            progress.in_flight += counters.begun.load(Ordering::Relaxed).saturating_sub(done + failed);
            progress.output_tokens += counters.output_chunks.load(Ordering::Relaxed);
            progress.first_outputs += counters.first_outputs.load(Ordering::Relaxed);
            progress.ttft_total_us += counters.ttft_total_us.load(Ordering::Relaxed);
        }
        progress
    }
}

/// Time between two reports: a bar looks smooth at it, and its cost cannot be measured.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Reports to `progress` until the handle is dropped.
pub(super) fn report(
    workers: Vec<Arc<Counters>>,
    total: usize,
    progress: watch::Sender<Progress>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut interval = tokio::time::interval(REPORT_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            progress.send_replace(Counters::progress(&workers, total));
        }
    }))
}
