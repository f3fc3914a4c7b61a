//! The few metrics that a campaign's planner decides by, straight from a result file.

use std::{collections::BTreeMap, path::Path};

use teebench_api::campaign::Metric;

use super::{Measure, RunMetrics, run::bench_metrics};
use crate::read::{ReadError, read_bench};

/// Reads a `bench.json` and gives those of the planner's metrics that it has: throughputs per second, latencies in
/// milliseconds.
///
/// # Errors
/// When the file cannot be read or is no result file; the message has path, line and reason.
pub fn quick_metrics(bench_json: &Path) -> Result<BTreeMap<Metric, f64>, ReadError> {
    Ok(planner_metrics(&bench_metrics(&read_bench(bench_json)?, None)))
}

/// Those of the planner's metrics that a run has.
#[must_use]
pub fn planner_metrics(measured: &RunMetrics) -> BTreeMap<Metric, f64> {
    [
        (Metric::OutputThroughput, Measure::OutputThroughput),
        (Metric::RequestThroughput, Measure::RequestThroughput),
        (Metric::MedianTtft, Measure::TtftP50),
        (Metric::MedianItl, Measure::ItlP50),
        (Metric::MedianE2el, Measure::E2elP50),
    ]
    .into_iter()
    .filter_map(|(metric, measure)| Some((metric, *measured.values.get(&measure)?)))
    .collect()
}
