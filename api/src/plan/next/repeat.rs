//! Repetitions until an interval is narrow enough.

use super::{Decision, state::State};
use crate::{
    campaign::Metric,
    plan::{Block, Condition, repetitions},
};

/// Quantiles of Student's t at 0.975 for 1 to 11 degrees of freedom: no look is at more than 12 pairs.
const T_975: [f64; 11] = [
    12.706_204_736_174_694,
    4.302_652_729_749_462,
    3.182_446_305_283_707_8,
    2.776_445_105_197_793_4,
    2.570_581_835_636_314_6,
    2.446_911_851_144_978_6,
    2.364_624_251_592_784,
    2.306_004_135_204_166,
    2.262_157_162_798_205,
    2.228_138_851_986_274,
    2.200_985_160_091_639,
];

/// The look that is due: at a condition whose planned blocks are all settled, after 6, 8, 10 or 12 of them.
pub(super) fn due_look(state: &State<'_>) -> Option<Decision> {
    state.plan.conditions.iter().enumerate().find_map(|(index, condition)| look_at(state, index, condition))
}

/// Whether a condition's repetitions may still grow.
pub(super) fn is_undecided(state: &State<'_>, condition: usize) -> bool {
    let planned = super::effective::planned_repetitions(&state.plan, condition);
    state.plan.repetitions_of(condition).is_some_and(|repetitions| {
        repetitions.until.is_some()
            && planned < repetitions::maximum(repetitions)
            && !was_looked_at(state, &state.plan.conditions[condition], planned)
    })
}

fn was_looked_at(state: &State<'_>, at: &Condition, after: u32) -> bool {
    state.decisions().iter().any(|decision| match decision {
        Decision::Look { condition, blocks, .. } => {
            *blocks == after && condition.experiment == at.experiment && condition.condition == at.slug
        }
        _ => false,
    })
}

fn look_at(state: &State<'_>, index: usize, condition: &Condition) -> Option<Decision> {
    let repetitions = state.plan.repetitions_of(index)?;
    let until = repetitions.until?;
    let blocks = super::effective::planned_repetitions(&state.plan, index);
    let is_due = repetitions::LOOKS.contains(&blocks)
        && is_undecided(state, index)
        && condition.arms.iter().any(|arm| state.arm_in_scope(arm))
        && state.blocks_of(index).all(|block| state.is_settled(block));
    if !is_due {
        return None;
    }
    let contrasts = contrasts(state, condition);
    let widths = contrasts.iter().map(|contrast| half_width_permille(state, index, contrast, until.metric));
    let widest = widths.reduce(|a, b| Some(a?.max(b?))).flatten();
    let enough =
        contrasts.is_empty() || widest.is_some_and(|width| width <= f64::from(until.ratio_half_width_permille));
    Some(Decision::Look {
        condition: condition.id(),
        blocks,
        half_width_permille: widest,
        repetitions: if enough { blocks } else { repetitions::after_look(repetitions, blocks) },
    })
}

/// Two cells (arm, router) whose ratio is of interest.
struct Contrast {
    numerator: (String, String),
    denominator: (String, String),
}

/// Every arm against the first by each router; where one arm is alone, every router against the first.
fn contrasts(state: &State<'_>, condition: &Condition) -> Vec<Contrast> {
    let arms: Vec<&String> = condition.arms.iter().filter(|arm| state.arm_in_scope(arm)).collect();
    let cell = |arm: &str, router: &str| (arm.to_owned(), router.to_owned());
    match arms.as_slice() {
        [] => Vec::new(),
        [alone] => {
            let mut routers = condition.routers.iter();
            let Some(first) = routers.next() else { return Vec::new() };
            routers.map(|router| Contrast { numerator: cell(alone, router), denominator: cell(alone, first) }).collect()
        }
        [first, others @ ..] => condition
            .routers
            .iter()
            .flat_map(|router| others.iter().map(move |arm| (arm, router)))
            .map(|(arm, router)| Contrast { numerator: cell(arm, router), denominator: cell(first, router) })
            .collect(),
    }
}

fn half_width_permille(state: &State<'_>, condition: usize, contrast: &Contrast, metric: Metric) -> Option<f64> {
    let log_ratios: Vec<f64> = state
        .blocks_of(condition)
        .filter_map(|block| {
            let numerator = value(state, block, &contrast.numerator, metric)?;
            let denominator = value(state, block, &contrast.denominator, metric)?;
            Some((numerator / denominator).ln())
        })
        .filter(|ratio| ratio.is_finite())
        .collect();
    ratio_half_width(&log_ratios).map(|width| width * 1000.0)
}

fn value(state: &State<'_>, block: &Block, cell: &(String, String), metric: Metric) -> Option<f64> {
    let run = block.runs.iter().find(|run| run.arm == cell.0 && run.router == cell.1)?;
    state.valid_attempt(block, run)?.metrics.get(&metric).copied()
}

/// Half the width of the ratio's 95 % interval by t on the log ratios of pairs: with mean m and half-width h on the
/// log scale, (exp(m + h) - exp(m - h)) / 2. `None` for fewer than two pairs, or more than a look can see.
fn ratio_half_width(log_ratios: &[f64]) -> Option<f64> {
    let quantile = T_975.get(log_ratios.len().checked_sub(2)?)?;
    #[expect(clippy::cast_precision_loss, reason = "at most 12 pairs")]
    let n = log_ratios.len() as f64;
    let mean = log_ratios.iter().sum::<f64>() / n;
    let variance = log_ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = quantile * (variance / n).sqrt();
    Some(mean.exp() * half.sinh())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Half-widths by scipy 1.17.1: `t.ppf(0.975, n - 1)` times the standard error of the logs.
    #[rstest]
    #[case::too_few(&[0.9], None)]
    #[case::equal(&[0.9, 0.9, 0.9], Some(0.0))]
    #[case::two(&[0.5, 1.5], Some(465.265_053_070_238_9))]
    #[case::six(&[0.93, 0.95, 0.91, 0.94, 0.92, 0.935], Some(0.015_015_716_184_040_24))]
    #[case::eight(&[1.02, 0.99, 1.0, 1.01, 0.98, 1.03, 1.0, 0.97], Some(0.016_722_905_802_304_9))]
    #[case::more_than_a_look_sees(&[1.0; 13], None)]
    fn half_widths_are_those_of_scipy(#[case] ratios: &[f64], #[case] expected: Option<f64>) {
        let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        match (ratio_half_width(&logs), expected) {
            (Some(width), Some(expected)) => {
                assert!((width - expected).abs() <= 1e-9 * expected.max(1.0), "{width} for {expected}");
            }
            (width, expected) => assert_eq!(width, expected),
        }
    }
}
