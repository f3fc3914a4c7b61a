//! What to do now: a pure function of the plan, the decisions so far and what an executor observes. Two executors obey
//! it, on local processes and on Kubernetes; neither decides anything itself.
//!
//! ```text
//! state       where each run stands             retry       failed boots, repeated blocks
//! effective   plan + decisions                  repeat      repetitions to an interval's width
//! limits      deadline, budget, failures        saturation  points of a search
//! outcome     how it ends
//! ```

mod action;
mod decision;
mod effective;
mod limits;
mod observed;
mod outcome;
mod repeat;
mod retry;
mod saturation;
mod state;

pub use self::{
    action::{Action, Outcome, Start},
    decision::{ConditionId, Decision, Log, LogError},
    effective::effective,
    observed::{AttemptOutcome, AttemptRef, Limits, Observed, ServerState, Servers},
    outcome::{Tally, tally},
    state::counted_attempts,
};
use self::{limits::Halt, state::State};
use crate::{
    campaign::Restart,
    files::run::{Reason, ReasonCode},
    plan::{Block, Plan, PlannedRun},
};

/// What to do now. Equal arguments give equal actions. Indices in actions are those of [`effective`] with the
/// decisions so far and those that the same actions append.
#[must_use]
pub fn next(plan: &Plan, decisions: &[Decision], observed: &Observed) -> Vec<Action> {
    let mut state = state_of(plan, decisions, observed);
    if let Some(halt) = limits::halt(&state, observed)
        && (halt.outlasts_the_plan() || !is_done_once_decided(plan, decisions, observed))
    {
        return wind_down(observed, &halt);
    }
    let mut actions = Vec::new();
    while let Some(decision) = due_decision(&state, observed) {
        actions.push(Action::Append(decision.clone()));
        state.decide(decision);
    }
    actions.extend(proceed(&state, observed));
    actions
}

fn state_of<'a>(plan: &Plan, decisions: &[Decision], observed: &'a Observed) -> State<'a> {
    let attempts_per_run = observed.limits.failure_policy.attempts_per_run;
    State::new(plan, decisions, &observed.attempts, observed.scope.as_deref(), attempts_per_run)
}

/// Whether nothing is left to execute: a limit that is met then comes too late to matter.
fn is_done_once_decided(plan: &Plan, decisions: &[Decision], observed: &Observed) -> bool {
    let mut state = state_of(plan, decisions, observed);
    while let Some(decision) = due_decision(&state, observed) {
        state.decide(decision);
    }
    state.current_block().is_none()
}

/// The next decision that follows from what is known, if one does. Each settles what called for it, so that they end.
fn due_decision(state: &State<'_>, observed: &Observed) -> Option<Decision> {
    // What servers that died cost, and whom, is known when the run that they served has ended.
    let settled = observed.running.is_none();
    retry::due_boot_failure(state, observed)
        .or_else(|| settled.then(|| retry::due_abandonment(state, observed))?)
        .or_else(|| settled.then(|| retry::due_repeat(state, observed))?)
        .or_else(|| saturation::due_step(state))
        .or_else(|| repeat::due_look(state))
}

/// Interrupts what runs, stops what serves, then waits or ends.
fn wind_down(observed: &Observed, halt: &Halt) -> Vec<Action> {
    if observed.running.is_some() {
        return vec![Action::Interrupt];
    }
    if let Some(servers) = &observed.servers {
        return vec![stop_all(servers)];
    }
    match halt {
        Halt::Suspend => vec![Action::Wait],
        Halt::End(outcome, message) => vec![Action::Finish { outcome: *outcome, message: message.clone() }],
    }
}

fn stop_all(servers: &Servers) -> Action {
    match servers.state {
        ServerState::Stopping => Action::Wait,
        ServerState::Starting | ServerState::Ready | ServerState::Failed { .. } => {
            Action::StopServers { boot: servers.boot, arms: servers.arms.clone() }
        }
    }
}

/// What to do when nothing halts the campaign and everything due is decided.
fn proceed(state: &State<'_>, observed: &Observed) -> Vec<Action> {
    if observed.running.is_some() {
        return vec![Action::Wait];
    }
    let failures = failures_of_abandoned_boots(state, observed);
    if !failures.is_empty() {
        return failures;
    }
    let current = state.current_block().and_then(|index| Some((index, state.next_run(&state.plan.blocks[index])?)));
    let Some((index, run)) = current else {
        let (outcome, message) = outcome::of_settled(state);
        return wind_down(observed, &Halt::End(outcome, message));
    };
    let Some(servers) = &observed.servers else {
        return vec![boot(state, observed, run.boot)];
    };
    if retry::present_generation(state, observed, run.boot) != Some(servers.generation)
        || needs_fresh_servers(state, observed, servers)
    {
        return vec![stop_all(servers)];
    }
    if servers.state != ServerState::Ready {
        return vec![Action::Wait];
    }
    let mut actions = Vec::new();
    let needed = retry::needed_arms(state, run.boot);
    let idle: Vec<String> = servers.arms.iter().filter(|arm| !needed.contains(arm)).cloned().collect();
    if !idle.is_empty() {
        actions.push(Action::StopServers { boot: servers.boot, arms: idle });
    }
    actions.push(Action::Start(start(state, index, &run, servers.generation, 1)));
    actions
}

fn boot(state: &State<'_>, observed: &Observed, boot: usize) -> Action {
    if let Some(message) = limits::unpayable(state, observed, boot) {
        return Action::Finish { outcome: Outcome::BudgetExhausted, message };
    }
    Action::Boot { boot, generation: last_generation(state, observed, boot) + 1, arms: retry::needed_arms(state, boot) }
}

/// How often servers of a boot were started, as far as anything was made of them.
fn last_generation(state: &State<'_>, observed: &Observed, boot: usize) -> u32 {
    let of_attempts = observed.attempts.iter().filter(|attempt| attempt.boot == boot).map(|a| a.boot_generation);
    of_attempts.chain(state.failed_generations(boot)).max().unwrap_or(0)
}

/// With `restart: Run` servers that an attempt has used serve no other.
fn needs_fresh_servers(state: &State<'_>, observed: &Observed, servers: &Servers) -> bool {
    let used = |attempt: &AttemptOutcome| attempt.boot == servers.boot && attempt.boot_generation == servers.generation;
    state.plan.spec.engine.restart == Restart::Run && observed.attempts.iter().any(used)
}

/// Every open run of boots that were given up, as an attempt that failed.
fn failures_of_abandoned_boots(state: &State<'_>, observed: &Observed) -> Vec<Action> {
    let mut failures = Vec::new();
    for (index, block) in state.plan.blocks.iter().enumerate() {
        for run in state.runs_in_scope(block) {
            if !state.is_abandoned(run.boot) || !state.is_open(block, run) {
                continue;
            }
            let generation = last_generation(state, observed, run.boot);
            let ordinal = failures.len() as u64 + 1;
            failures.push(Action::Fail {
                attempt: start(state, index, run, generation, ordinal),
                reason: Reason { code: ReasonCode::NotReady, message: why_abandoned(state, run.boot) },
            });
        }
    }
    failures
}

fn why_abandoned(state: &State<'_>, boot: usize) -> String {
    let reasons = state.decisions().iter().rev().find_map(|decision| match decision {
        Decision::BootAbandoned { boot: of, reason, .. } if *of == boot => Some(reason.clone()),
        _ => None,
    });
    reasons.unwrap_or_default()
}

/// The attempt that a run has next, the `ordinal`-th that these actions begin.
fn start(state: &State<'_>, block_index: usize, run: &PlannedRun, boot_generation: u32, ordinal: u64) -> Start {
    let block: &Block = &state.plan.blocks[block_index];
    let attempts = state.attempts_of(block, run).iter();
    Start {
        run: state.plan.conditions[block.condition].run_id(block.repetition, run),
        attempt: attempts.map(|attempt| attempt.id.attempt).max().unwrap_or(0) + 1,
        epoch: state.last_epoch() + ordinal,
        block: block_index,
        boot: run.boot,
        boot_generation,
    }
}
