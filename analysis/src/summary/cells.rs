//! One arm with one router: its metrics over runs, its cost, and signs of overload and drift.

use teebench_api::campaign::Arm;

use super::{
    Bounds, Cell, CellName, Drift, EnergyCost, MetricSummary,
    counted::CountedRun,
    money,
    rules::{Electricity, Rules},
};
use crate::{metrics::Measure, stats};

/// Runs of one cell, by source and repetition.
pub struct CellRuns<'a> {
    /// Which cell.
    pub name: CellName,
    /// The runs.
    pub runs: Vec<CountedRun<'a>>,
}

/// Runs of a condition by arm and router, in the plan's order; cells without a run are there, too.
pub fn cell_runs<'a>(
    runs: &[CountedRun<'a>],
    experiment: &str,
    slug: &str,
    arms: &[String],
    routers: &[String],
) -> Vec<CellRuns<'a>> {
    arms.iter()
        .flat_map(|arm| routers.iter().map(move |router| CellName { arm: arm.clone(), router: router.clone() }))
        .map(|name| {
            let mut of_cell: Vec<CountedRun<'a>> = runs
                .iter()
                .filter(|run| {
                    run.id.experiment == experiment
                        && run.id.condition == slug
                        && run.id.arm == name.arm
                        && run.id.router == name.router
                })
                .copied()
                .collect();
            of_cell.sort_by_key(|run| (run.source, run.id.repetition));
            CellRuns { name, runs: of_cell }
        })
        .collect()
}

/// Sums a cell up.
pub fn summarise_cell(cell: &CellRuns<'_>, arm: Option<&Arm>, servers: u32, rules: &Rules) -> Cell {
    let metrics: Vec<MetricSummary> =
        Measure::ALL.into_iter().filter_map(|measure| summarise_metric(&cell.runs, measure)).collect();
    let growth: Vec<f64> =
        cell.runs.iter().filter_map(|run| run.metrics.growth.map(|growth| growth.latency_ratio)).collect();
    let overloaded = cell.runs.iter().filter(|run| run.metrics.growth.is_some_and(|growth| growth.overloaded)).count();
    Cell {
        name: cell.name.clone(),
        runs: count(cell.runs.len()),
        money: arm
            .and_then(|arm| arm.price.as_ref())
            .and_then(|price| money::cost_of_cell(price, servers, &cell.runs, &metrics)),
        energy_cost: rules.electricity.as_ref().and_then(|price| energy_cost(price, &metrics)),
        metrics,
        overloaded_runs: count(overloaded),
        latency_growth: stats::median(&growth),
        lock_step_runs: count(cell.runs.iter().filter(|run| run.metrics.lock_step == Some(true)).count()),
        drift: drift(&cell.runs),
    }
}

fn energy_cost(price: &Electricity, metrics: &[MetricSummary]) -> Option<EnergyCost> {
    let of = |measure: Measure| metrics.iter().find(|metric| metric.metric == measure)?.median;
    Some(EnergyCost {
        per_million_output_tokens: money::energy_cost(price.per_kwh, of(Measure::JoulesPerOutputToken)?)?,
        currency: price.currency.clone(),
    })
}

/// A metric over runs; `None` when there is no run at all.
fn summarise_metric(runs: &[CountedRun<'_>], measure: Measure) -> Option<MetricSummary> {
    let values: Vec<f64> = runs.iter().filter_map(|run| run.metrics.values.get(&measure).copied()).collect();
    let absent = runs.iter().find_map(|run| run.metrics.absent.get(&measure)).cloned();
    if values.is_empty() && absent.is_none() {
        return None;
    }
    Some(MetricSummary {
        metric: measure,
        unit: measure.unit().to_owned(),
        n: count(values.len()),
        median: stats::median(&values),
        interval: stats::median_interval(&values).map(|found| Bounds {
            low: found.interval.low,
            high: found.interval.high,
            confidence: found.coverage,
        }),
        values,
        absent,
    })
}

/// The trend of the logarithm of output throughput over repetitions. Of four repetitions or more: with three, one
/// degree of freedom would be left.
fn drift(runs: &[CountedRun<'_>]) -> Option<Drift> {
    let points: Vec<(f64, f64)> = runs
        .iter()
        .filter_map(|run| {
            let throughput = run.metrics.values.get(&Measure::OutputThroughput).filter(|value| **value > 0.0)?;
            Some((f64::from(run.id.repetition), throughput.ln()))
        })
        .collect();
    if points.len() < 4 {
        return None;
    }
    let slope = stats::linear_trend(&points)?.slope;
    let percent = |logarithm: f64| 100.0 * logarithm.exp_m1();
    Some(Drift {
        percent_per_repetition: percent(slope.value),
        low: percent(slope.interval.low),
        high: percent(slope.interval.high),
        p: slope.p,
    })
}

/// Counts fit; a tree with more runs than that cannot be.
pub fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
