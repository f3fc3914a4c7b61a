//! Where each run stands: derived anew from plan, decisions and attempts at every call.

use std::collections::{BTreeSet, HashMap};

use super::{AttemptOutcome, AttemptRef, Decision, effective};
use crate::{
    campaign::FailurePolicy,
    files::run::{ReasonCode, Verdict},
    plan::{Block, Plan, PlannedRun, RunId},
};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// It is to be executed.
    Open {
        /// Attempts that failed; the run comes after those with fewer.
        failures: usize,
    },
    /// Nothing more happens to it.
    Settled(Verdict),
}

/// Experiment, condition, arm, router and repetition.
type RunKey<'a> = (&'a str, &'a str, &'a str, &'a str, u32);

/// Attempts of a block up to an ordinal do not count, perhaps for one arm only.
struct Repeat {
    arm: Option<String>,
    after_epoch: u64,
}

/// Everything known at one moment, indexed.
pub(super) struct State<'a> {
    /// The effective plan.
    pub(super) plan: Plan,
    decisions: Vec<Decision>,
    /// Blocks, by condition and repetition, that were repeated.
    repeats: HashMap<(usize, u32), Vec<Repeat>>,
    attempts: HashMap<RunKey<'a>, Vec<&'a AttemptOutcome>>,
    last_epoch: u64,
    scope: Option<&'a str>,
    attempts_per_run: u32,
}

impl<'a> State<'a> {
    /// Indexes what is known; `scope` names the only arm whose runs are executed.
    pub(super) fn new(
        plan: &Plan,
        decisions: &[Decision],
        attempts: &'a [AttemptOutcome],
        scope: Option<&'a str>,
        attempts_per_run: u32,
    ) -> Self {
        let mut by_run: HashMap<RunKey<'a>, Vec<_>> = HashMap::new();
        for attempt in attempts {
            let RunId { experiment, condition, arm, router, repetition } = &attempt.id.run;
            by_run.entry((experiment, condition, arm, router, *repetition)).or_default().push(attempt);
        }
        let mut state = Self {
            plan: plan.clone(),
            decisions: Vec::with_capacity(decisions.len()),
            repeats: HashMap::new(),
            attempts: by_run,
            last_epoch: attempts.iter().map(|attempt| attempt.epoch).max().unwrap_or(0),
            scope,
            attempts_per_run,
        };
        for decision in decisions {
            state.decide(decision.clone());
        }
        state
    }

    /// Takes a decision into account.
    pub(super) fn decide(&mut self, decision: Decision) {
        effective::apply(&mut self.plan, &decision);
        if let Decision::RepeatBlock { condition, repetition, after_epoch, arm } = &decision
            && let Some(condition) = self.plan.condition_index(condition)
        {
            let repeat = Repeat { arm: arm.clone(), after_epoch: *after_epoch };
            self.repeats.entry((condition, *repetition)).or_default().push(repeat);
        }
        self.decisions.push(decision);
    }

    /// All decisions so far.
    pub(super) fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Whether runs of this arm are executed at all.
    pub(super) fn arm_in_scope(&self, arm: &str) -> bool {
        self.scope.is_none_or(|scope| scope == arm)
    }

    /// Runs of a block that are executed at all.
    pub(super) fn runs_in_scope<'b>(&'b self, block: &'b Block) -> impl Iterator<Item = &'b PlannedRun> + use<'a, 'b> {
        block.runs.iter().filter(|run| self.arm_in_scope(&run.arm))
    }

    /// All attempts of a run.
    pub(super) fn attempts_of<'b>(&'b self, block: &'b Block, run: &'b PlannedRun) -> &'b [&'a AttemptOutcome] {
        let condition = &self.plan.conditions[block.condition];
        let key: RunKey<'_> = (&condition.experiment, &condition.slug, &run.arm, &run.router, block.repetition);
        self.attempts.get(&key).map_or(&[], Vec::as_slice)
    }

    /// All attempts of a run since its block was last repeated.
    pub(super) fn standing_attempts<'b>(
        &'b self,
        block: &'b Block,
        run: &'b PlannedRun,
    ) -> impl Iterator<Item = &'a AttemptOutcome> + use<'a, 'b> {
        let repeats = self.repeats.get(&(block.condition, block.repetition)).map_or(&[][..], Vec::as_slice);
        let of_arm = repeats.iter().filter(|repeat| repeat.arm.as_ref().is_none_or(|arm| *arm == run.arm));
        let since = of_arm.map(|repeat| repeat.after_epoch).max().unwrap_or(0);
        self.attempts_of(block, run).iter().copied().filter(move |attempt| attempt.epoch > since)
    }

    /// The attempt of a run that counts.
    pub(super) fn valid_attempt(&self, block: &Block, run: &PlannedRun) -> Option<&'a AttemptOutcome> {
        self.standing_attempts(block, run).filter(|a| a.verdict == Verdict::Valid).max_by_key(|a| a.epoch)
    }

    /// Where a run stands.
    pub(super) fn run(&self, block: &Block, run: &PlannedRun) -> RunState {
        let attempts = self.attempts_of(block, run);
        let standing = || self.standing_attempts(block, run);
        if standing().any(|attempt| attempt.verdict == Verdict::Valid) {
            return RunState::Settled(Verdict::Valid);
        }
        if standing().any(|attempt| attempt.verdict == Verdict::Inconclusive && !may_end_otherwise(attempt)) {
            return RunState::Settled(Verdict::Inconclusive);
        }
        // Attempts from before the block was repeated count here: else servers that always break would be retried
        // for ever.
        let costly = || attempts.iter().filter(|attempt| costs_an_attempt(attempt));
        if costly().count() >= self.attempts_per_run as usize {
            let last = costly().max_by_key(|attempt| attempt.epoch).map_or(Verdict::Failed, |last| last.verdict);
            return RunState::Settled(last);
        }
        if self.is_abandoned(run.boot) && attempts.iter().any(|attempt| has_reason(attempt, ReasonCode::NotReady)) {
            return RunState::Settled(Verdict::Failed);
        }
        RunState::Open { failures: costly().count() }
    }

    /// Whether a run is still to be executed.
    pub(super) fn is_open(&self, block: &Block, run: &PlannedRun) -> bool {
        matches!(self.run(block, run), RunState::Open { .. })
    }

    /// Whether all runs of a block that are executed at all are settled.
    pub(super) fn is_settled(&self, block: &Block) -> bool {
        self.runs_in_scope(block).all(|run| !self.is_open(block, run))
    }

    /// Blocks of a condition, in the order of repetitions.
    pub(super) fn blocks_of(&self, condition: usize) -> impl Iterator<Item = &Block> {
        self.plan.blocks.iter().filter(move |block| block.condition == condition)
    }

    /// The block that is being executed: the first with an open run.
    pub(super) fn current_block(&self) -> Option<usize> {
        self.plan.blocks.iter().position(|block| !self.is_settled(block))
    }

    /// The run to execute next: of those that failed least often the first.
    pub(super) fn next_run(&self, block: &'_ Block) -> Option<PlannedRun> {
        let open = self.runs_in_scope(block).filter_map(|run| match self.run(block, run) {
            RunState::Open { failures } => Some((failures, run)),
            RunState::Settled(_) => None,
        });
        open.min_by_key(|(failures, _)| *failures).map(|(_, run)| run.clone())
    }

    /// Whether a boot was given up under the failure policy as it stands now.
    pub(super) fn is_abandoned(&self, boot: usize) -> bool {
        self.decisions.iter().any(|decision| match decision {
            Decision::BootAbandoned { boot: of, attempts, .. } => *of == boot && *attempts >= self.attempts_per_run,
            _ => false,
        })
    }

    /// Whether a generation of a boot serves no further run.
    pub(super) fn has_failed(&self, boot: usize, generation: u32) -> bool {
        self.failed_generations(boot).any(|failed| failed == generation)
    }

    /// The generations of a boot that failed.
    pub(super) fn failed_generations(&self, boot: usize) -> impl Iterator<Item = u32> {
        self.decisions.iter().filter_map(move |decision| match decision {
            Decision::BootFailed { boot: of, generation, .. } if *of == boot => Some(*generation),
            _ => None,
        })
    }

    /// The ordinal of the last attempt so far.
    pub(super) const fn last_epoch(&self) -> u64 {
        self.last_epoch
    }
}

/// The attempts that enter numbers: valid ones whose block was not repeated after them. An executor and the analysis
/// count the same.
#[must_use]
pub fn counted_attempts(plan: &Plan, decisions: &[Decision], attempts: &[AttemptOutcome]) -> BTreeSet<AttemptRef> {
    let state = State::new(plan, decisions, attempts, None, FailurePolicy::default().attempts_per_run);
    let runs = state.plan.blocks.iter().flat_map(|block| block.runs.iter().map(move |run| (block, run)));
    runs.filter_map(|(block, run)| state.valid_attempt(block, run)).map(|attempt| attempt.id.clone()).collect()
}

/// Whether an attempt leaves one fewer: interruptions from outside do not, nor does a number that evidence does not
/// support, which a further attempt would hardly change.
pub(super) fn costs_an_attempt(attempt: &AttemptOutcome) -> bool {
    match attempt.verdict {
        Verdict::Failed => true,
        Verdict::Inconclusive => may_end_otherwise(attempt),
        Verdict::Valid | Verdict::Interrupted => false,
    }
}

/// Whether an inconclusive attempt was so by what other servers or a machine without others would not repeat.
fn may_end_otherwise(attempt: &AttemptOutcome) -> bool {
    ends_servers(attempt) || has_reason(attempt, ReasonCode::ForeignGpuUse)
}

/// Whether an attempt shows that its servers are to be started anew.
pub(super) fn ends_servers(attempt: &AttemptOutcome) -> bool {
    attempt.reasons.iter().any(|reason| {
        matches!(reason.code, ReasonCode::ServerRestarted | ReasonCode::ServerDied | ReasonCode::CachesNotReset)
    })
}

fn has_reason(attempt: &AttemptOutcome, code: ReasonCode) -> bool {
    attempt.reasons.iter().any(|reason| reason.code == code)
}
