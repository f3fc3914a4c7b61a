//! What a cell costs: decimals throughout, and the measured windows only.

use rust_decimal::{Decimal, prelude::FromPrimitive as _};
use teebench_api::{
    campaign::{Arm, Price},
    files::boots::{self, occupied_milliseconds, starting_milliseconds},
};

use super::{CellMoney, Cost, CostChange, Figures, MetricSummary, Occupied, cells::count, counted::CountedRun};
use crate::{
    metrics::Measure,
    read::{Attempt, Campaign},
};

/// Significant digits of an amount that was divided by a measured rate.
const DIGITS: u32 = 4;

/// Decimal places of a sum of money.
const PLACES: u32 = 4;

/// Machines that are paid for an arm.
fn machines(price: &Price, servers: u32) -> u32 {
    price.machines.unwrap_or(servers)
}

/// Price of all of an arm's machines for one hour; `None` when the text is no number, which validation refuses.
fn per_hour(price: &Price, servers: u32) -> Option<Decimal> {
    Some(price.per_machine_hour.parse::<Decimal>().ok()? * Decimal::from(machines(price, servers)))
}

/// The cost of a cell's windows and of its tokens and requests.
pub fn cost_of_cell(
    price: &Price,
    servers: u32,
    runs: &[CountedRun<'_>],
    metrics: &[MetricSummary],
) -> Option<CellMoney> {
    let per_hour = per_hour(price, servers)?;
    let seconds: f64 = runs.iter().map(|run| run.metrics.duration_s).sum();
    let windows = (per_hour * Decimal::from_f64(seconds)? / Decimal::from(3600)).round_dp(PLACES);
    let each = |measure: Measure, many: u32| {
        let metric = metrics.iter().find(|metric| metric.metric == measure)?;
        let cost = |rate: f64| cost_at(per_hour, rate, many);
        Some(Cost {
            median: cost(metric.median?)?,
            low: metric.interval.and_then(|interval| cost(interval.high)),
            high: metric.interval.and_then(|interval| cost(interval.low)),
        })
    };
    Some(CellMoney {
        currency: price.currency.clone(),
        per_hour,
        machines: machines(price, servers),
        source: format!("{}, {}", price.source, price.as_of),
        windows,
        per_million_output_tokens: each(Measure::OutputThroughput, 1_000_000),
        per_million_total_tokens: each(Measure::TotalTokenThroughput, 1_000_000),
        per_thousand_requests: each(Measure::RequestThroughput, 1000),
    })
}

/// The time that an arm's machines were occupied in all sources, and what it cost; `None` where no source wrote it down.
pub fn occupied(arm: &Arm, servers: u32, sources: &[&Campaign], runs: &[CountedRun<'_>]) -> Option<Occupied> {
    let (mut occupied, mut starting, mut starts) = (0, 0, 0);
    for source in sources {
        // What is still up is counted to the last sign of life.
        let finished = source.runs.iter().filter_map(|run| match &run.content {
            Attempt::Read(read) => Some(read.file.finished_at),
            Attempt::Uncommitted | Attempt::Unusable { .. } => None,
        });
        let Some(now) = source.boots.iter().map(|entry| entry.at).chain(finished).max() else { continue };
        occupied += occupied_milliseconds(&source.boots, &arm.name, now);
        starting += starting_milliseconds(&source.boots, &arm.name, now);
        starts += boots::starts(&source.boots, &arm.name);
    }
    if starts == 0 {
        return None;
    }
    let per_hour = arm.price.as_ref().and_then(|price| per_hour(price, servers));
    let hours = Decimal::from(occupied) / Decimal::from(3_600_000);
    Some(Occupied {
        seconds: occupied as f64 / 1e3,
        starting_seconds: starting as f64 / 1e3,
        starts: count(starts),
        measured_seconds: runs.iter().filter(|run| run.id.arm == arm.name).map(|run| run.metrics.duration_s).sum(),
        cost: per_hour.map(|per_hour| (per_hour * hours).round_dp(PLACES)),
        per_hour,
        currency: arm.price.as_ref().map(|price| price.currency.clone()),
    })
}

/// The cost of energy for each million of `joules` apiece, at a price for a kilowatt-hour.
pub fn energy_cost(per_kwh: Decimal, joules: f64) -> Option<Decimal> {
    let kilowatt_hours = Decimal::from_f64(joules)?.checked_mul(Decimal::from(1_000_000))? / Decimal::from(3_600_000);
    per_kwh.checked_mul(kilowatt_hours)?.round_sf(DIGITS)
}

/// The cost of a million at a rate per second.
pub fn per_million(price: &Price, servers: u32, rate: f64) -> Option<Decimal> {
    cost_at(per_hour(price, servers)?, rate, 1_000_000)
}

/// The cost of `many` at a rate per second.
fn cost_at(per_hour: Decimal, rate: f64, many: u32) -> Option<Decimal> {
    let per_hour_made = Decimal::from_f64(rate).filter(|rate| !rate.is_zero())?.checked_mul(Decimal::from(3600))?;
    per_hour.checked_mul(Decimal::from(many))?.checked_div(per_hour_made)?.round_sf(DIGITS)
}

/// How the cost for each output token changes from the denominator to the numerator, given the change of output
/// throughput: (p/p') / (throughput/throughput') - 1. `None` without two prices in one currency.
pub fn cost_change(numerator: &Arm, denominator: &Arm, servers: u32, throughput: &Figures) -> Option<CostChange> {
    let (price, other) = (numerator.price.as_ref()?, denominator.price.as_ref()?);
    if price.currency != other.currency {
        return None;
    }
    let other_hour = per_hour(other, servers).filter(|hour| !hour.is_zero())?;
    let prices: f64 = (per_hour(price, servers)? / other_hour).try_into().ok()?;
    let percent = |ratio: f64| 100.0 * (prices / ratio - 1.0);
    Some(CostChange {
        percent: percent(throughput.ratio),
        low: throughput.interval.map(|interval| percent(interval.high)),
        high: throughput.interval.map(|interval| percent(interval.low)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_tokens_at_a_thousand_a_second_take_the_price_of_1000_seconds() {
        let cost = cost_at("7.20".parse().unwrap(), 1000.0, 1_000_000).unwrap();
        assert_eq!(cost, "2".parse().unwrap());
    }

    #[test]
    fn a_joule_a_token_is_a_million_joules_for_a_million_tokens() {
        assert_eq!(energy_cost("0.36".parse().unwrap(), 1.0), Some("0.1".parse().unwrap()));
    }

    #[test]
    fn nothing_made_has_no_price() {
        assert_eq!(cost_at(Decimal::ONE, 0.0, 1000), None);
    }
}
