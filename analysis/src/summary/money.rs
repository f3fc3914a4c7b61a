//! What a cell costs: decimals throughout, and the measured windows only.

use rust_decimal::{Decimal, prelude::FromPrimitive as _};
use teebench_api::campaign::{Arm, Price};

use super::{CellMoney, Cost, CostChange, Figures, MetricSummary, counted::CountedRun};
use crate::metrics::Measure;

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
    fn nothing_made_has_no_price() {
        assert_eq!(cost_at(Decimal::ONE, 0.0, 1000), None);
    }
}
