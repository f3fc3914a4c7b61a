//! `/metrics`: vLLM's names and types, and the simulator's own under `teebench_mock:`.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Encoder, Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use super::buckets;
use super::registrar::Registrar;
use crate::engine::{Counters, Emission, FinishReason, Snapshot, StepOutcome};

/// Reasons under which vLLM counts finished requests.
const FINISHED_REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];

/// Where prompt tokens come from.
const COMPUTED: &str = "local_compute";
const CACHED: &str = "local_cache_hit";

/// Counters of what this server does not have; vLLM shows them all the same.
const UNUSED_COUNTERS: [(&str, &str); 4] = [
    (
        "vllm:external_prefix_cache_queries_total",
        "External prefix cache queries, in terms of number of queried tokens.",
    ),
    ("vllm:external_prefix_cache_hits_total", "External prefix cache hits, in terms of number of cached tokens."),
    ("vllm:mm_cache_queries_total", "Multi-modal cache queries, in terms of number of queried items."),
    ("vllm:mm_cache_hits_total", "Multi-modal cache hits, in terms of number of cached items."),
];

/// How late tokens left a server.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lateness {
    /// Number of tokens.
    pub tokens: u64,
    /// Mean, in milliseconds.
    pub mean_ms: f64,
    /// Upper bound of the histogram's bucket that holds the 99th percentile, in milliseconds.
    pub p99_at_most_ms: f64,
}

/// What the labels of a server's metrics say.
#[derive(Clone, Debug)]
pub struct MetricLabels {
    /// Served model name.
    pub model: String,
    /// Profile's name.
    pub profile: &'static str,
    /// Whether confidential computing is simulated.
    pub confidential: bool,
    /// KV blocks of the pool.
    pub num_gpu_blocks: u32,
    /// Whether prefixes are reused.
    pub enable_prefix_caching: bool,
}

/// Metrics of one server.
pub struct Metrics {
    registry: Registry,
    running: IntGauge,
    waiting: IntGauge,
    waiting_for_capacity: IntGauge,
    kv_cache_usage: Gauge,
    prefix_cache_queries: IntCounter,
    prefix_cache_hits: IntCounter,
    preemptions: IntCounter,
    prompt_tokens: IntCounter,
    prompt_tokens_cached: IntCounter,
    prompt_tokens_by_source: IntCounterVec,
    generation_tokens: IntCounter,
    request_success: IntCounterVec,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    request_prefill_kv_computed_tokens: Histogram,
    request_max_num_generation_tokens: Histogram,
    request_params_n: Histogram,
    request_params_max_tokens: Histogram,
    iteration_tokens: Histogram,
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    time_per_output_token: Histogram,
    e2e_latency: Histogram,
    queue_time: Histogram,
    prefill_time: Histogram,
    decode_time: Histogram,
    inference_time: Histogram,
    emission_lateness: Histogram,
}

impl Metrics {
    /// Registers all metrics of a server.
    ///
    /// # Errors
    /// When a label's name is invalid, which is the case for none of these.
    pub fn new(labels: &MetricLabels) -> prometheus::Result<Self> {
        let common =
            HashMap::from([("engine".to_owned(), "0".to_owned()), ("model_name".to_owned(), labels.model.clone())]);
        let r = Registrar::new(common);
        let request_success = IntCounterVec::new(
            r.opts("vllm:request_success_total", "Count of successfully processed requests."),
            &["finished_reason"],
        )?;
        for reason in FINISHED_REASONS {
            request_success.with_label_values(&[reason]);
        }
        r.register(request_success.clone())?;
        r.info(
            r.opts("vllm:cache_config_info", "Information of the LLMEngine CacheConfig")
                .const_label("block_size", crate::engine::BLOCK_TOKENS.to_string())
                .const_label("cache_dtype", "auto")
                .const_label("enable_prefix_caching", python_bool(labels.enable_prefix_caching))
                .const_label("num_gpu_blocks", labels.num_gpu_blocks.to_string()),
        )?;
        r.info(
            r.opts("teebench_mock:profile_info", "What is simulated; its presence says that nothing is measured.")
                .const_label("profile", labels.profile)
                .const_label("confidential", labels.confidential.to_string()),
        )?;
        let waiting_by_reason = r.gauges(
            "vllm:num_requests_waiting_by_reason",
            "Number of waiting requests by reason.",
            "reason",
            &["capacity", "deferred"],
        )?;
        let sleep_state = r.gauges(
            "vllm:engine_sleep_state",
            "Engine sleep state.",
            "sleep_state",
            &["awake", "weights_offloaded", "discard_all"],
        )?;
        sleep_state.with_label_values(&["awake"]).set(1);
        for (name, help) in UNUSED_COUNTERS {
            r.counter(name, help)?;
        }
        let prompt_tokens_by_source = IntCounterVec::new(
            r.opts("vllm:prompt_tokens_by_source_total", "Number of prompt tokens by source."),
            &["source"],
        )?;
        for source in [COMPUTED, CACHED, "external_kv_transfer"] {
            prompt_tokens_by_source.with_label_values(&[source]);
        }
        r.register(prompt_tokens_by_source.clone())?;
        Ok(Self {
            prompt_tokens_by_source,
            waiting_for_capacity: waiting_by_reason.with_label_values(&["capacity"]),
            running: r.gauge("vllm:num_requests_running", "Number of requests in model execution batches.")?,
            waiting: r.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.")?,
            kv_cache_usage: r.share("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")?,
            prefix_cache_queries: r.counter(
                "vllm:prefix_cache_queries_total",
                "Prefix cache queries, in terms of number of queried tokens.",
            )?,
            prefix_cache_hits: r
                .counter("vllm:prefix_cache_hits_total", "Prefix cache hits, in terms of number of cached tokens.")?,
            preemptions: r.counter("vllm:num_preemptions_total", "Cumulative number of preemption from the engine.")?,
            prompt_tokens: r.counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.")?,
            prompt_tokens_cached: r.counter("vllm:prompt_tokens_cached_total", "Number of cached prompt tokens.")?,
            generation_tokens: r.counter("vllm:generation_tokens_total", "Number of generation tokens processed.")?,
            request_success,
            request_prompt_tokens: r.histogram(
                "vllm:request_prompt_tokens",
                "Number of prefill tokens processed.",
                buckets::REQUEST_TOKENS,
            )?,
            request_generation_tokens: r.histogram(
                "vllm:request_generation_tokens",
                "Number of generation tokens processed.",
                buckets::REQUEST_TOKENS,
            )?,
            request_prefill_kv_computed_tokens: r.histogram(
                "vllm:request_prefill_kv_computed_tokens",
                "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
                buckets::REQUEST_TOKENS,
            )?,
            request_max_num_generation_tokens: r.histogram(
                "vllm:request_max_num_generation_tokens",
                "Histogram of maximum number of requested generation tokens.",
                buckets::REQUEST_TOKENS,
            )?,
            request_params_n: r.histogram(
                "vllm:request_params_n",
                "Histogram of the n request parameter.",
                buckets::CHOICES,
            )?,
            request_params_max_tokens: r.histogram(
                "vllm:request_params_max_tokens",
                "Histogram of the max_tokens request parameter.",
                buckets::REQUEST_TOKENS,
            )?,
            iteration_tokens: r.histogram(
                "vllm:iteration_tokens_total",
                "Histogram of number of tokens per engine_step.",
                buckets::ITERATION_TOKENS,
            )?,
            time_to_first_token: r.histogram(
                "vllm:time_to_first_token_seconds",
                "Histogram of time to first token in seconds.",
                buckets::FIRST_TOKEN,
            )?,
            inter_token_latency: r.histogram(
                "vllm:inter_token_latency_seconds",
                "Histogram of inter-token latency in seconds.",
                buckets::INTER_TOKEN,
            )?,
            time_per_output_token: r.histogram(
                "vllm:request_time_per_output_token_seconds",
                "Histogram of time_per_output_token_seconds per request.",
                buckets::INTER_TOKEN,
            )?,
            e2e_latency: r.histogram(
                "vllm:e2e_request_latency_seconds",
                "Histogram of e2e request latency in seconds.",
                buckets::REQUEST,
            )?,
            queue_time: r.histogram(
                "vllm:request_queue_time_seconds",
                "Histogram of time spent in WAITING phase for request.",
                buckets::REQUEST,
            )?,
            prefill_time: r.histogram(
                "vllm:request_prefill_time_seconds",
                "Histogram of time spent in PREFILL phase for request.",
                buckets::REQUEST,
            )?,
            decode_time: r.histogram(
                "vllm:request_decode_time_seconds",
                "Histogram of time spent in DECODE phase for request.",
                buckets::REQUEST,
            )?,
            inference_time: r.histogram(
                "vllm:request_inference_time_seconds",
                "Histogram of time spent in RUNNING phase for request.",
                buckets::REQUEST,
            )?,
            emission_lateness: r.histogram(
                "teebench_mock:emission_lateness_seconds",
                "Time between the moment when a streamed token is due and when it is handed to the connection.",
                buckets::LATENESS,
            )?,
            registry: r.into_registry(),
        })
    }

    /// Counts a finished step, after which the engine's totals are `counters`. Only one task may call it.
    pub fn observe_step(&self, outcome: &StepOutcome, counters: &Counters) {
        for (counter, total) in [
            (&self.prefix_cache_queries, counters.prefix_cache_queries),
            (&self.prefix_cache_hits, counters.prefix_cache_hits),
            (&self.preemptions, counters.preemptions),
            (&self.prompt_tokens, counters.prompt_tokens),
            (&self.prompt_tokens_cached, counters.prompt_tokens_cached),
            (&self.generation_tokens, counters.generation_tokens),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        let cached = counters.prompt_tokens_cached;
        for (source, total) in [(COMPUTED, counters.prompt_tokens.saturating_sub(cached)), (CACHED, cached)] {
            let counter = self.prompt_tokens_by_source.with_label_values(&[source]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        // As in vLLM a prompt counts whole in the step that ends it, but for what the cache held.
        let prompts = outcome.emissions.iter().filter(|emission| emission.since_previous.is_none());
        let computed: u32 = prompts.map(|emission| emission.prompt_tokens - emission.cached_prompt_tokens).sum();
        self.iteration_tokens.observe(f64::from(computed) + outcome.emissions.len() as f64);
        for emission in &outcome.emissions {
            self.observe_token(emission, outcome.ended);
        }
    }

    fn observe_token(&self, emission: &Emission, ended: Duration) {
        let times = &emission.times;
        match emission.since_previous {
            Some(gap) => self.inter_token_latency.observe(gap.as_secs_f64()),
            None => self.time_to_first_token.observe(ended.saturating_sub(times.arrival).as_secs_f64()),
        }
        if let Some(reason) = emission.finish {
            self.count_finished(reason.as_str());
            self.observe_request(emission, ended);
        }
    }

    fn observe_request(&self, emission: &Emission, ended: Duration) {
        let scheduled = emission.times.scheduled.unwrap_or(ended);
        let first_token = emission.times.first_token.unwrap_or(ended);
        let between = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
        let decode_s = between(first_token, ended);
        self.request_prompt_tokens.observe(f64::from(emission.prompt_tokens));
        self.request_generation_tokens.observe(f64::from(emission.output_tokens));
        self.request_params_max_tokens.observe(f64::from(emission.max_tokens));
        self.request_prefill_kv_computed_tokens
            .observe(f64::from(emission.prompt_tokens - emission.cached_prompt_tokens));
        self.e2e_latency.observe(between(emission.times.arrival, ended));
        self.queue_time.observe(between(emission.times.arrival, scheduled));
        self.prefill_time.observe(between(scheduled, first_token));
        self.decode_time.observe(decode_s);
        self.inference_time.observe(between(scheduled, ended));
        if emission.output_tokens > 1 {
            self.time_per_output_token.observe(decode_s / f64::from(emission.output_tokens - 1));
        }
    }

    /// Counts a prompt all of whose `n` answers have ended, the longest with so many tokens.
    pub fn observe_prompt(&self, n: u32, most_output_tokens: u32) {
        self.request_params_n.observe(f64::from(n));
        self.request_max_num_generation_tokens.observe(f64::from(most_output_tokens));
    }

    /// Counts a request that a stop string ended.
    pub fn count_stopped(&self) {
        self.count_finished(FinishReason::Stop.as_str());
    }

    /// Counts a request whose client went away.
    pub fn count_aborted(&self) {
        self.count_finished("abort");
    }

    fn count_finished(&self, reason: &str) {
        self.request_success.with_label_values(&[reason]).inc();
    }

    /// Counts the lateness of a token that is handed to its connection.
    pub fn observe_lateness(&self, lateness: Duration) {
        self.emission_lateness.observe(lateness.as_secs_f64());
    }

    /// How late tokens were handed to their connections; `None` when none was.
    #[must_use]
    pub fn lateness(&self) -> Option<Lateness> {
        let families = self.emission_lateness.collect();
        let histogram = families.first()?.get_metric().first()?.get_histogram();
        let tokens = histogram.get_sample_count();
        let rank = (tokens as f64 * 0.99).ceil() as u64;
        let bucket = histogram.get_bucket().iter().find(|bucket| bucket.cumulative_count() >= rank);
        (tokens > 0).then(|| Lateness {
            tokens,
            mean_ms: histogram.get_sample_sum() / tokens as f64 * 1e3,
            p99_at_most_ms: bucket.map_or(f64::INFINITY, |bucket| bucket.upper_bound() * 1e3),
        })
    }

    /// The text of `/metrics`, with the engine's state as of `snapshot`.
    ///
    /// # Errors
    /// When two metrics have the same name and labels, which is the case for none of these.
    pub fn render(&self, snapshot: &Snapshot) -> prometheus::Result<Vec<u8>> {
        self.running.set(snapshot.running as i64);
        self.waiting.set(snapshot.waiting as i64);
        self.waiting_for_capacity.set(snapshot.waiting as i64);
        self.kv_cache_usage.set(snapshot.kv_cache_usage);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
