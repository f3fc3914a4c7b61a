//! What `next` needs to know of an attempt that ended: its `run.json`, and the metrics that decisions rest on.

use std::{collections::BTreeMap, path::Path};

use teebench_analysis::quick_metrics;
use teebench_api::{
    campaign::Metric,
    files::run::{RunFile, Verdict},
    plan::next::{AttemptOutcome, AttemptRef},
};

/// The metrics of an attempt on which decisions rest, from its `bench.json`. One that does not count has none.
pub fn deciding_metrics(run: &RunFile, bench_json: &Path) -> BTreeMap<Metric, f64> {
    if run.validity.validity != Verdict::Valid {
        return BTreeMap::new();
    }
    quick_metrics(bench_json).unwrap_or_else(|error| {
        tracing::warn!(run = %run.run, error = format!("{:#}", anyhow::Error::from(error)), "its metrics enter no decision");
        BTreeMap::new()
    })
}

/// An attempt as `next` sees it.
pub fn attempt_outcome(run: &RunFile, metrics: BTreeMap<Metric, f64>) -> AttemptOutcome {
    let milliseconds = run.finished_at.as_millisecond() - run.started_at.as_millisecond();
    AttemptOutcome {
        id: AttemptRef { run: run.run.clone(), attempt: run.attempt },
        epoch: run.epoch,
        boot: run.boot,
        boot_generation: run.boot_generation,
        verdict: run.validity.validity,
        reasons: run.validity.reasons.clone(),
        seconds: milliseconds as f64 / 1000.0,
        metrics,
    }
}
