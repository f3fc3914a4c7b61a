//! The operator's own metrics.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

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
}

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
        };
        let Self { registry, reconciles, reconcile_seconds, writes, runs, campaigns, store_bytes } = &metrics;
        let all: [Box<dyn prometheus::core::Collector>; 6] = [
            Box::new(reconciles.clone()),
            Box::new(reconcile_seconds.clone()),
            Box::new(writes.clone()),
            Box::new(runs.clone()),
            Box::new(campaigns.clone()),
            Box::new(store_bytes.clone()),
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
    fn a_campaign_that_is_gone_is_not_shown() {
        let metrics = Metrics::new();
        metrics.set_runs("bench", "quickstart", "valid", 3);

        metrics.forget_runs("bench", "quickstart");

        assert!(!metrics.text().contains("quickstart"));
    }
}
