//! Plan and decisions give the effective plan.

use super::Decision;
use crate::plan::{Plan, arrange, expand, repetitions};

/// The plan with everything that was decided since: further repetitions and points of saturation searches at their
/// places. Blocks and boots that were executed before a decision keep their indices, since what is decided always
/// comes later.
#[must_use]
pub fn effective(plan: &Plan, decisions: &[Decision]) -> Plan {
    let mut effective = plan.clone();
    for decision in decisions {
        apply(&mut effective, decision);
    }
    effective
}

/// Applies one decision; one that names no condition of the plan, which [`Log::read`](super::Log::read) refuses,
/// changes nothing.
pub(super) fn apply(plan: &mut Plan, decision: &Decision) {
    match decision {
        Decision::Look { condition, repetitions, .. } => {
            if let Some(condition) = plan.condition_index(condition) {
                let first = planned_repetitions(plan, condition) + 1;
                let blocks = (first..=*repetitions).map(|repetition| (condition, repetition)).collect();
                arrange::add_blocks(plan, blocks);
            }
        }
        Decision::SaturationPoint { condition, max_concurrency } => {
            let point = plan.condition_index(condition).and_then(|first| {
                expand::search_point(&plan.spec, &plan.conditions, &plan.conditions[first], *max_concurrency)
            });
            if let Some(point) = point {
                let index = plan.conditions.len();
                plan.conditions.push(point);
                let planned = plan.repetitions_of(index).map_or(0, repetitions::planned);
                arrange::add_blocks(plan, (1..=planned).map(|repetition| (index, repetition)).collect());
            }
        }
        Decision::BootFailed { .. }
        | Decision::BootAbandoned { .. }
        | Decision::RepeatBlock { .. }
        | Decision::Saturated { .. } => {}
    }
}

/// Repetitions of a condition that are planned so far.
pub(super) fn planned_repetitions(plan: &Plan, condition: usize) -> u32 {
    let repetitions = plan.blocks.iter().filter(|block| block.condition == condition).map(|block| block.repetition);
    repetitions.max().unwrap_or(0)
}
