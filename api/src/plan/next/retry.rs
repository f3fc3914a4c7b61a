//! Boots that failed, boots that are given up, and blocks that are repeated.

use super::{
    AttemptOutcome, Decision, Observed, ServerState,
    state::{State, costs_an_attempt, ends_servers},
};
use crate::{
    files::run::Verdict,
    plan::{Block, PlannedRun},
};

/// A generation of servers that failed and is not recorded yet: seen by the executor, or shown by an attempt.
pub(super) fn due_boot_failure(state: &State<'_>, observed: &Observed) -> Option<Decision> {
    let seen = observed.servers.iter().find_map(|servers| match &servers.state {
        ServerState::Failed { reason } => Some((servers.boot, servers.generation, reason.clone())),
        ServerState::Starting | ServerState::Ready | ServerState::Stopping => None,
    });
    let shown = observed.attempts.iter().filter(|attempt| ends_servers(attempt)).map(|attempt| {
        (attempt.boot, attempt.boot_generation, format!("{}a{}: {}", attempt.id.run, attempt.id.attempt, why(attempt)))
    });
    let mut failures = seen.into_iter().chain(shown).filter(|(boot, ..)| *boot < state.plan.boots.len());
    failures
        .find(|(boot, generation, _)| !state.has_failed(*boot, *generation))
        .map(|(boot, generation, reason)| Decision::BootFailed { boot, generation, reason })
}

fn why(attempt: &AttemptOutcome) -> String {
    attempt.reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// Gives up a boot with open runs of which as many generations came to nothing as a run has attempts. One that served
/// a whole block came to something, and one that ended with an attempt is charged to that attempt's run.
pub(super) fn due_abandonment(state: &State<'_>, observed: &Observed) -> Option<Decision> {
    let attempts = observed.limits.failure_policy.attempts_per_run;
    let block = &state.plan.blocks[state.current_block()?];
    let boot = state.next_run(block)?.boot;
    if state.is_abandoned(boot) {
        return None;
    }
    let is_charged = |generation: u32| {
        let of_it = |a: &&AttemptOutcome| a.boot == boot && a.boot_generation == generation;
        observed.attempts.iter().filter(of_it).any(|attempt| ends_servers(attempt) && costs_an_attempt(attempt))
    };
    let came_to_nothing = state
        .failed_generations(boot)
        .filter(|generation| !is_charged(*generation) && !served_a_block(state, boot, *generation));
    let reason = state.decisions().iter().rev().find_map(|decision| match decision {
        Decision::BootFailed { boot: of, reason, .. } if *of == boot => Some(reason.clone()),
        _ => None,
    })?;
    (came_to_nothing.count() >= attempts as usize).then_some(Decision::BootAbandoned { boot, attempts, reason })
}

fn served_a_block(state: &State<'_>, boot: usize, generation: u32) -> bool {
    let on_it = |block: &&Block| {
        block.runs.iter().filter(|run| run.boot == boot).any(|run| {
            state.valid_attempt(block, run).is_some_and(|a| a.boot == boot && a.boot_generation == generation)
        })
    };
    state.plan.blocks.iter().filter(on_it).any(|block| state.is_settled(block))
}

/// Repeats the current block whole when runs of it count that were executed on servers which are gone, while others
/// are still to be executed on servers of the same boot.
pub(super) fn due_repeat(state: &State<'_>, observed: &Observed) -> Option<Decision> {
    let block = &state.plan.blocks[state.current_block()?];
    let boot = state.next_run(block)?.boot;
    let present = present_generation(state, observed, boot);
    let on_gone_servers = |run: &PlannedRun| {
        state.standing_attempts(block, run).any(|attempt| {
            attempt.verdict == Verdict::Valid && attempt.boot == boot && Some(attempt.boot_generation) != present
        })
    };
    state.runs_in_scope(block).any(on_gone_servers).then(|| Decision::RepeatBlock {
        condition: state.plan.conditions[block.condition].id(),
        repetition: block.repetition,
        after_epoch: state.last_epoch(),
        arm: observed.scope.clone(),
    })
}

/// The generation of a boot that is up, or coming up, and serves all arms that are needed.
pub(super) fn present_generation(state: &State<'_>, observed: &Observed, boot: usize) -> Option<u32> {
    let servers = observed.servers.as_ref().filter(|servers| servers.boot == boot)?;
    let lives = match servers.state {
        ServerState::Starting | ServerState::Ready => !state.has_failed(boot, servers.generation),
        ServerState::Stopping | ServerState::Failed { .. } => false,
    };
    let complete = || needed_arms(state, boot).iter().all(|arm| servers.arms.contains(arm));
    (lives && complete()).then_some(servers.generation)
}

/// Arms of a boot that open runs need, or that runs may need which are still to be decided on.
pub(super) fn needed_arms(state: &State<'_>, boot: usize) -> Vec<String> {
    let of_boot = |block: &&Block| block.runs.iter().any(|run| run.boot == boot);
    let blocks: Vec<&Block> = state.plan.blocks.iter().filter(of_boot).collect();
    let is_needed = |arm: &String| {
        blocks.iter().any(|block| {
            let of_arm = |run: &&PlannedRun| run.boot == boot && run.arm == *arm;
            state.runs_in_scope(block).any(|run| of_arm(&run) && (state.is_open(block, run) || may_go_on(state, block)))
        })
    };
    state.plan.boots[boot].arms.iter().filter(|arm| is_needed(arm)).cloned().collect()
}

/// Whether what comes of a block may bring further runs to its own boot.
fn may_go_on(state: &State<'_>, block: &Block) -> bool {
    use crate::campaign::Restart::{Campaign, Repetition, Run};
    let point = &state.plan.conditions[block.condition];
    let search = || super::saturation::is_undecided(state, point);
    match state.plan.spec.engine.restart {
        Campaign => search() || super::repeat::is_undecided(state, block.condition),
        Repetition => block.repetition == 1 && search(),
        Run => false,
    }
}
