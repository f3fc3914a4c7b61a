//! What one epoch counts, as Prometheus metrics. They begin anew with every epoch.

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Counters of one worker, resolved once so that a request does not look them up by label.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    /// Answers that the worker began.
    pub requests: IntCounter,
    /// Prompts of which the worker held enough before.
    pub hits: IntCounter,
    /// Requests that failed on the worker's side.
    pub errors: IntCounter,
    /// Requests that had to be tried elsewhere after this worker failed them.
    pub retries: IntCounter,
    /// Requests of this router in flight; set when metrics are read.
    pub in_flight: IntGauge,
    /// Requests in flight that other routers told of; set when metrics are read.
    pub in_flight_of_others: IntGauge,
}

/// All metrics of one epoch.
#[derive(Clone, Debug)]
pub struct EpochMetrics {
    registry: Registry,
    /// One entry for each worker, in the epoch's order.
    pub workers: Vec<WorkerMetrics>,
    /// Time to find a worker: scan, hash and decision.
    pub decision_seconds: Histogram,
    /// Time that requests waited for a slot; only those that waited.
    pub queue_wait_seconds: Histogram,
    /// Leading chunks that the worker held when it accepted a prompt.
    pub hit_depth_chunks: Histogram,
    /// Chunks of all accepted prompts.
    pub prompt_chunks: IntCounter,
    /// Chunks of accepted prompts that the worker held before.
    pub held_chunks: IntCounter,
    /// Tokens that workers are believed not to have computed again.
    pub saved_tokens: IntCounter,
    /// Requests refused because the queue was full.
    pub queue_full: IntCounter,
    /// Requests that waited too long for a slot.
    pub queue_timeouts: IntCounter,
    /// Requests whose client went away before their end.
    pub cancelled: IntCounter,
    /// Requests that wait now; set when metrics are read.
    pub waiting: IntGauge,
    /// Nodes of the tree; set when metrics are read.
    pub tree_nodes: IntGauge,
    /// Bytes of the tree; set when metrics are read.
    pub tree_bytes: IntGauge,
    /// Evicted nodes; set when metrics are read.
    pub tree_evictions: IntGauge,
    /// Bytes of frames sent to other routers.
    pub sync_sent_bytes: IntCounter,
    /// Bytes of frames that other routers sent and that were accepted.
    pub sync_received_bytes: IntCounter,
    /// Gaps in the frames of other routers.
    pub sync_gaps: IntCounter,
    /// Frames refused: of another epoch, malformed or too large.
    pub sync_refused_frames: IntCounter,
    /// Frames that each peer, by its address, is behind.
    pub sync_lag_frames: IntGaugeVec,
}

impl EpochMetrics {
    /// Metrics for workers of these names, all at zero.
    pub fn new<'a>(workers: impl IntoIterator<Item = &'a str>) -> Self {
        let registry = Registry::new();
        let metrics = Metrics { registry: &registry };
        let by_worker = |name, help| metrics.counters(name, help, "worker");
        let requests = by_worker("teebench_router_requests_total", "Answers that the worker began.");
        let hits = by_worker("teebench_router_hits_total", "Prompts of which the worker held enough before.");
        let errors = by_worker("teebench_router_errors_total", "Requests that failed on the worker's side.");
        let retries = by_worker("teebench_router_retries_total", "Requests tried elsewhere after this worker.");
        let in_flight = metrics.gauges("teebench_router_in_flight", "Requests of this router in flight.", "worker");
        let in_flight_of_others =
            metrics.gauges("teebench_router_in_flight_of_others", "Requests in flight of other routers.", "worker");
        let sync_lag_frames =
            metrics.gauges("teebench_router_sync_lag_frames", "Frames that a peer is behind.", "peer");
        let worker_metrics = |worker: &str| WorkerMetrics {
            requests: requests.with_label_values(&[worker]),
            hits: hits.with_label_values(&[worker]),
            errors: errors.with_label_values(&[worker]),
            retries: retries.with_label_values(&[worker]),
            in_flight: in_flight.with_label_values(&[worker]),
            in_flight_of_others: in_flight_of_others.with_label_values(&[worker]),
        };
        Self {
            workers: workers.into_iter().map(worker_metrics).collect(),
            // From a short prompt on an idle machine (2 us) to a megabyte under contention.
            decision_seconds: metrics.histogram(
                "teebench_router_decision_seconds",
                "Time to find a worker: scan, hash and decision.",
                vec![2e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2],
            ),
            // A slot frees after milliseconds on a simulator and after minutes behind an overloaded server.
            queue_wait_seconds: metrics.histogram(
                "teebench_router_queue_wait_seconds",
                "Time that requests waited for a slot.",
                vec![0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0],
            ),
            // With chunks of 256 bytes: from a short system prompt to a long document.
            hit_depth_chunks: metrics.histogram(
                "teebench_router_hit_depth_chunks",
                "Leading chunks that the worker held when it accepted a prompt.",
                vec![0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0],
            ),
            prompt_chunks: metrics.counter("teebench_router_prompt_chunks_total", "Chunks of all accepted prompts."),
            held_chunks: metrics.counter("teebench_router_held_chunks_total", "Chunks that the worker held before."),
            saved_tokens: metrics.counter(
                "teebench_router_saved_tokens_total",
                "Estimated tokens of prompts that workers held and need not compute again.",
            ),
            queue_full: metrics.counter("teebench_router_queue_full_total", "Requests refused by a full queue."),
            queue_timeouts: metrics.counter("teebench_router_queue_timeouts_total", "Requests that waited too long."),
            cancelled: metrics.counter("teebench_router_cancelled_total", "Requests whose client went away."),
            waiting: metrics.gauge("teebench_router_waiting", "Requests that wait for a slot."),
            tree_nodes: metrics.gauge("teebench_router_tree_nodes", "Nodes of the tree."),
            tree_bytes: metrics.gauge("teebench_router_tree_bytes", "Bytes of the tree."),
            tree_evictions: metrics.gauge("teebench_router_tree_evictions", "Nodes evicted in this epoch."),
            sync_sent_bytes: metrics.counter("teebench_router_sync_sent_bytes_total", "Bytes sent to other routers."),
            sync_received_bytes: metrics
                .counter("teebench_router_sync_received_bytes_total", "Bytes accepted from other routers."),
            sync_gaps: metrics.counter("teebench_router_sync_gaps_total", "Gaps in the frames of other routers."),
            sync_refused_frames: metrics
                .counter("teebench_router_sync_refused_frames_total", "Frames refused from other routers."),
            sync_lag_frames,
            registry,
        }
    }

    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

const WELL_FORMED: &str = "names and labels are constants in Prometheus' alphabet, each used once";

struct Metrics<'a> {
    registry: &'a Registry,
}

impl Metrics<'_> {
    fn register(&self, collector: &(impl Collector + Clone + 'static)) {
        self.registry.register(Box::new(collector.clone())).expect(WELL_FORMED);
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect(WELL_FORMED);
        self.register(&counters);
        counters
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &[label]).expect(WELL_FORMED);
        self.register(&gauges);
        gauges
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::new(name, help).expect(WELL_FORMED);
        self.register(&counter);
        counter
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect(WELL_FORMED);
        self.register(&gauge);
        gauge
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect(WELL_FORMED);
        self.register(&histogram);
        histogram
    }
}
