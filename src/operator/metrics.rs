//! The operator's own metrics.

use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use teebench_api::run::RunMetrics;

/// Upper bounds of a reconcile's duration in seconds. A pass that finds nothing to do takes a millisecond; one that
/// writes takes as long as the API server, 5 to 50 ms; one that publishes reads all results, up to seconds.
const RECONCILE_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// The operator's own metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    writes: IntCounterVec,
    runs: IntGaugeVec,
    campaigns: IntGaugeVec,
    store_bytes: IntGauge,
    latest: Latest,
}

/// What the latest run that counts gave, by campaign, arm and router.
#[derive(Clone, Debug)]
struct Latest {
    output_tokens_per_second: GaugeVec,
    ttft_p50_seconds: GaugeVec,
    joules_per_token: GaugeVec,
}

/// Labels of what a run gave: namespace, campaign, arm and router.
pub type RunLabels<'a> = [&'a str; 4];

impl Metrics {
    /// Metrics that are all zero.
    #[must_use]
    pub fn new() -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are literals of the right form")
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels are literals of the right form")
        };
        let seconds = HistogramOpts::new("teebench_reconcile_seconds", "Duration of a reconcile.")
            .buckets(RECONCILE_SECONDS.to_vec());
        let metrics = Self {
            registry: Registry::new(),
            reconciles: counter(
                "teebench_reconciles_total",
                "Reconciles by controller, by the last step that was reached, and by outcome.",
                &["controller", "step", "outcome"],
            ),
            reconcile_seconds: HistogramVec::new(seconds, &["controller"])
                .expect("names and labels are literals of the right form"),
            writes: counter(
                "teebench_api_writes_total",
                "Writes to the API server by verb, kind and outcome.",
                &["verb", "kind", "outcome"],
            ),
            runs: gauge("teebench_runs", "Runs of active campaigns by state.", &["namespace", "campaign", "state"]),
            campaigns: gauge("teebench_campaigns", "Campaigns by the reason of their condition Succeeded.", &["state"]),
            store_bytes: IntGauge::new("teebench_store_bytes", "Bytes that all results take in the store.")
                .expect("the name is a literal of the right form"),
            latest: Latest::new(),
        };
        let Self { registry, reconciles, reconcile_seconds, writes, runs, campaigns, store_bytes, latest } = &metrics;
        let Latest { output_tokens_per_second, ttft_p50_seconds, joules_per_token } = latest;
        let all: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(reconciles.clone()),
            Box::new(reconcile_seconds.clone()),
            Box::new(writes.clone()),
            Box::new(runs.clone()),
            Box::new(campaigns.clone()),
            Box::new(store_bytes.clone()),
            Box::new(output_tokens_per_second.clone()),
            Box::new(ttft_p50_seconds.clone()),
            Box::new(joules_per_token.clone()),
        ];
        for collector in all {
            registry.register(collector).expect("every metric has its own name");
        }
        metrics
    }

    /// A reconcile ended.
    pub fn reconciled(&self, controller: &str, step: &str, outcome: &str, took: Duration) {
        self.reconciles.with_label_values(&[controller, step, outcome]).inc();
        self.reconcile_seconds.with_label_values(&[controller]).observe(took.as_secs_f64());
    }

    /// A write to the API server ended.
    pub fn wrote(&self, verb: &str, kind: &str, outcome: &str) {
        self.writes.with_label_values(&[verb, kind, outcome]).inc();
    }

    /// How many runs of a campaign are in a state.
    pub fn set_runs(&self, namespace: &str, campaign: &str, state: &str, count: usize) {
        self.runs.with_label_values(&[namespace, campaign, state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A campaign ended or is gone: its runs are no longer shown.
    pub fn forget_runs(&self, namespace: &str, campaign: &str) {
        for state in ["valid", "inconclusive", "failed", "open"] {
            // It may never have had runs.
            let _ = self.runs.remove_label_values(&[namespace, campaign, state]);
        }
    }

    /// How many campaigns are in each state.
    pub fn set_campaigns<'a>(&self, states: impl Iterator<Item = (&'a str, usize)>) {
        self.campaigns.reset();
        for (state, count) in states {
            self.campaigns.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// What the latest runs that count gave, in place of what was shown before.
    pub fn set_latest<'a>(&self, latest: impl Iterator<Item = (RunLabels<'a>, RunMetrics)>) {
        let Latest { output_tokens_per_second, ttft_p50_seconds, joules_per_token } = &self.latest;
        for gauge in [output_tokens_per_second, ttft_p50_seconds, joules_per_token] {
            gauge.reset();
        }
        for (labels, metrics) in latest {
            output_tokens_per_second.with_label_values(&labels).set(metrics.output_throughput_milli as f64 / 1e3);
            ttft_p50_seconds.with_label_values(&labels).set(metrics.ttft_p50_microseconds as f64 / 1e6);
            if let Some(energy) = metrics.gpu_energy_per_token_microjoules {
                joules_per_token.with_label_values(&labels).set(energy as f64 / 1e6);
            }
        }
    }

    /// How many bytes the store has.
    pub fn set_store_bytes(&self, bytes: u64) {
        self.store_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be shown");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Latest {
    fn new() -> Self {
        let gauge = |name: &str, help: &str| {
            GaugeVec::new(Opts::new(name, help), &["namespace", "campaign", "arm", "router"])
                .expect("names and labels are literals of the right form")
        };
        Self {
            output_tokens_per_second: gauge(
                "teebench_run_output_tokens_per_second",
                "Output tokens per second of the latest run that counts.",
            ),
            ttft_p50_seconds: gauge(
                "teebench_run_ttft_p50_seconds",
                "Median time to first token of the latest run that counts.",
            ),
            joules_per_token: gauge(
                "teebench_run_gpu_joules_per_token",
                "GPU energy of one output token of the latest run that counts.",
            ),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::new();

        metrics.wrote("apply", "Job", "succeeded");
        metrics.reconciled("campaign", "apply", "succeeded", Duration::from_millis(3));
        metrics.set_runs("bench", "quickstart", "valid", 3);

        let text = metrics.text();
        for line in [
            r#"teebench_api_writes_total{kind="Job",outcome="succeeded",verb="apply"} 1"#,
            r#"teebench_reconciles_total{controller="campaign",outcome="succeeded",step="apply"} 1"#,
            r#"teebench_runs{campaign="quickstart",namespace="bench",state="valid"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_runs_gave_is_that_of_the_latest_alone() {
        let metrics = Metrics::new();
        let given = RunMetrics {
            output_throughput_milli: 812_400,
            ttft_p50_microseconds: 84_000,
            gpu_energy_per_token_microjoules: Some(351_000),
            ..RunMetrics::default()
        };
        metrics.set_latest([(["bench", "gone", "cc-on", "direct"], given)].into_iter());

        metrics.set_latest([(["bench", "quickstart", "cc-on", "direct"], given)].into_iter());

        let text = metrics.text();
        for (name, value) in
            [("output_tokens_per_second", 812.4), ("ttft_p50_seconds", 0.084), ("gpu_joules_per_token", 0.351)]
        {
            let line = format!(
                "teebench_run_{name}{{arm=\"cc-on\",campaign=\"quickstart\",namespace=\"bench\",router=\"direct\"}} {value}"
            );
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }

    #[test]
    fn a_campaign_that_is_gone_is_not_shown() {
        let metrics = Metrics::new();
        metrics.set_runs("bench", "quickstart", "valid", 3);

        metrics.forget_runs("bench", "quickstart");

        assert!(!metrics.text().contains("quickstart"));
    }
}
