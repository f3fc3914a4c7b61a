//! What ends or halts a campaign before its plan is done.

use jiff::SignedDuration;
use rust_decimal::Decimal;

use super::{
    Observed, Outcome,
    state::{RunState, State},
};
use crate::{
    files::run::Verdict,
    plan::{Block, Boot, PlannedRun, estimate},
};

/// Why nothing new is started.
pub(super) enum Halt {
    /// For good.
    End(Outcome, String),
    /// Until it is no longer suspended.
    Suspend,
}

impl Halt {
    /// Whether it holds even when nothing is left to execute.
    pub(super) const fn outlasts_the_plan(&self) -> bool {
        matches!(self, Self::End(Outcome::RunFailed, _))
    }
}

/// Whether something ends or halts the campaign now.
pub(super) fn halt(state: &State<'_>, observed: &Observed) -> Option<Halt> {
    let limits = &observed.limits;
    if limits.cancelled {
        return Some(Halt::End(Outcome::Cancelled, String::from("cancelled by spec.cancel")));
    }
    if let (Some(started), Some(seconds)) = (observed.started_at, limits.deadline_seconds)
        && observed.now.duration_since(started) >= SignedDuration::from_secs(seconds.into())
    {
        let message = format!("the deadline of {seconds} s passed; raise spec.deadlineSeconds to go on");
        return Some(Halt::End(Outcome::DeadlineExceeded, message));
    }
    let failed = failed_runs(state);
    let borne = limits.failure_policy.maximum_failed_runs as usize;
    if failed > borne {
        let message =
            format!("{failed} runs failed after all their attempts; failurePolicy.maximumFailedRuns is {borne}");
        return Some(Halt::End(Outcome::RunFailed, message));
    }
    if let (Some(maximum), Some(spent)) = (budget(observed), observed.spent)
        && spent >= maximum
    {
        let message = format!("{spent} of the budget of {maximum} are spent");
        return Some(Halt::End(Outcome::BudgetExhausted, message));
    }
    limits.suspended.then_some(Halt::Suspend)
}

/// Runs that failed for good.
pub(super) fn failed_runs(state: &State<'_>) -> usize {
    let failed = |block: &Block, run: &PlannedRun| state.run(block, run) == RunState::Settled(Verdict::Failed);
    let of_block = |block: &Block| state.runs_in_scope(block).filter(|run| failed(block, run)).count();
    state.plan.blocks.iter().map(of_block).sum()
}

fn budget(observed: &Observed) -> Option<Decimal> {
    observed.limits.budget.as_ref().and_then(|budget| budget.maximum.parse().ok())
}

/// Why a boot cannot be paid to its end, if it cannot. What it will cost is reckoned by the planner's least figures,
/// and by the time that runs of the same condition have taken so far.
pub(super) fn unpayable(state: &State<'_>, observed: &Observed, boot: usize) -> Option<String> {
    let maximum = budget(observed)?;
    let booted = Boot { arms: super::retry::needed_arms(state, boot), ..state.plan.boots[boot].clone() };
    let price = estimate::boot_price_per_hour(&state.plan, &booted).ok()?;
    let cost = price * estimate::hours(seconds_to_end(state, boot));
    let spent = observed.spent.unwrap_or_default();
    (spent + cost > maximum).then(|| {
        let cost = cost.round_dp(2);
        format!("the next boot costs at least {cost}, and {spent} of the budget of {maximum} are spent")
    })
}

fn seconds_to_end(state: &State<'_>, boot: usize) -> f64 {
    let figures = estimate::figures(&state.plan).minimum;
    let of_block = |block: &Block| -> f64 {
        let open = state.runs_in_scope(block).filter(|run| run.boot == boot && state.is_open(block, run)).count();
        if open == 0 {
            return 0.0;
        }
        let condition = &state.plan.conditions[block.condition];
        let seconds = measured_seconds(state, block.condition)
            .unwrap_or_else(|| estimate::run_seconds(&state.plan, condition, &figures));
        #[expect(clippy::cast_precision_loss, reason = "a plan has at most 20,000 runs")]
        let open = open as f64;
        open * seconds
    };
    let runs: f64 = state.plan.blocks.iter().map(of_block).sum();
    estimate::boot_overhead_seconds(&state.plan, &figures) + runs
}

/// Mean seconds of the attempts of a condition that were executed to their end.
fn measured_seconds(state: &State<'_>, condition: usize) -> Option<f64> {
    let runs = state.blocks_of(condition).flat_map(|block| block.runs.iter().map(move |run| (block, run)));
    let ended = runs.flat_map(|(block, run)| state.attempts_of(block, run));
    let (sum, count) = ended
        .filter(|attempt| matches!(attempt.verdict, Verdict::Valid | Verdict::Inconclusive))
        .fold((0.0, 0.0), |(sum, count), attempt| (sum + attempt.seconds, count + 1.0));
    (count > 0.0).then(|| sum / count)
}
