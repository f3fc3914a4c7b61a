//! How a campaign ends when its plan is done, and how far it is before.

use super::{
    Decision, Observed, Outcome,
    state::{RunState, State},
};
use crate::{
    files::run::Verdict,
    plan::{Block, Plan},
};

/// How the campaign ends once every run is settled.
pub(super) fn of_settled(state: &State<'_>) -> (Outcome, String) {
    let short = (0..state.plan.conditions.len()).find_map(|index| {
        let condition = &state.plan.conditions[index];
        let in_scope = condition.arms.iter().any(|arm| state.arm_in_scope(arm));
        let minimum = state.plan.repetitions_of(index).map_or(0, |repetitions| repetitions.minimum) as usize;
        let valid = state.blocks_of(index).filter(|block| is_valid(state, block)).count();
        (in_scope && valid < minimum).then(|| {
            format!(
                "condition {}/{}: {valid} of at least {minimum} repetitions have only valid runs",
                condition.experiment, condition.slug
            )
        })
    });
    match short {
        None => (Outcome::Completed, String::from("every condition has its valid repetitions")),
        Some(message) if super::limits::failed_runs(state) > 0 => (Outcome::RunFailed, message),
        Some(message) => (Outcome::Inconclusive, message),
    }
}

fn is_valid(state: &State<'_>, block: &Block) -> bool {
    state.runs_in_scope(block).all(|run| state.run(block, run) == RunState::Settled(Verdict::Valid))
}

/// Runs by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that count.
    pub valid: usize,
    /// Runs that ended and do not count.
    pub inconclusive: usize,
    /// Runs that failed after all their attempts.
    pub failed: usize,
    /// Runs that are planned so far.
    pub total: usize,
}

/// Counts the runs of the effective plan that are in scope.
#[must_use]
pub fn tally(plan: &Plan, decisions: &[Decision], observed: &Observed) -> Tally {
    let state = super::state_of(plan, decisions, observed);
    let mut tally = Tally::default();
    for block in &state.plan.blocks {
        for run in state.runs_in_scope(block) {
            tally.total += 1;
            match state.run(block, run) {
                RunState::Settled(Verdict::Valid) => tally.valid += 1,
                RunState::Settled(Verdict::Inconclusive) => tally.inconclusive += 1,
                RunState::Settled(Verdict::Failed) => tally.failed += 1,
                RunState::Settled(Verdict::Interrupted) | RunState::Open { .. } => {}
            }
        }
    }
    tally
}
