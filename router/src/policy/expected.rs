//! The choice by expected cost: the worker with the least expected time to the first token, and what the choice costs
//! those that come after.
//!
//! cost = wait beyond the least + prefill of what the worker does not hold x (2 + requests there + requests behind)
//!
//! - The *wait* is the prefill under way, and what the router saw others wait besides with as many requests ahead
//!   ([`super::rates`]); and never less than the oldest request at that worker is overdue. Requests that are further on
//!   than usual count for less, so that of full workers the one that frees a place first is taken, as by a common queue.
//! - A queue that is longer by one request counts as equal while even the shortest keeps its worker busy: arrivals come
//!   in units, and whoever comes next takes the shorter one, so nobody waits longer on average. Where a worker would
//!   fall idle the full difference counts.
//! - A step that computes a prompt is longer for every sequence in it: prefill saved is saved for all that run there (so
//!   far as it was seen to take time), for everyone in a queue behind, and about once more for whoever comes meanwhile.
//! - What most of the traffic shares counts as held everywhere: each worker computes it once, soon, whoever comes first.
//!
//! There is no threshold on the share of a prompt that is held: a short prefix counts for the time that it saves.

use std::time::Duration;

use teebench_api::policy::LoadBalancing;

use super::choose::{Choice, Eligibility, rendezvous};
use super::settings::TreeSettings;
use super::worker::WorkerState;
use super::{Engine, Prompt, Rates, Strategy};
use crate::tree::WorkerIndex;

/// Differences in waiting that are too small to be more than chance: so many milliseconds, and this share of what an
/// idle worker takes.
const RESOLUTION_MS: f64 = 1.0;
const RESOLUTION_SHARE: f64 = 0.05;

/// What a slow worker must take longer, in milliseconds, to count as slow.
const SLOW_MS: f64 = 10.0;

/// Most requests behind that a saving is counted for: a queue this long is drained by arrivals ending, not by savings.
const MOST_BEHIND: f64 = 32.0;

/// Requests that a worker may count for more or less by how far on its requests are.
const MOST_AHEAD_OR_LATE: f64 = 1.0;

/// A difference in new prefixes and requests below which the lot decides: so routers that never spoke mostly agree, and
/// no worker gets more than two more than another.
const EQUAL_CROWDS: f64 = 2.0;

/// A request in flight crowds a worker as so many new prefixes do.
const CROWD_OF_REQUEST: f64 = 2.0;

/// Workers that are all considered for each request. Of more, the holders of the longest prefixes are, and a sample: the
/// least loaded of so many is hardly worse than the least loaded of all, and a decision takes as long for thousands.
const MOST_CONSIDERED: usize = 64;
const SAMPLED: u64 = 32;

/// The sample of workers for a prompt: the same on every router.
fn sample(prompt: &Prompt<'_>, workers: usize) -> impl Iterator<Item = WorkerIndex> {
    let key = prompt.path.last().copied().unwrap_or_default();
    (0..SAMPLED).filter_map(move |draw| u16::try_from(rendezvous(key, draw) % workers as u64).ok()).map(WorkerIndex)
}

/// A worker that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    worker: WorkerIndex,
    /// Requests that it has.
    ahead: u32,
    /// Time until it begins, in milliseconds.
    wait_ms: f64,
    /// Tokens of the prompt that it would have to compute.
    missing_tokens: u64,
}

impl Engine {
    /// True if requests go where they cost least, so that a free worker may look for one that it serves cheaply.
    pub fn goes_by_cost(&self) -> bool {
        matches!(self.strategy, Strategy::Prefix(TreeSettings { balancing: LoadBalancing::ExpectedCost, .. }))
    }

    /// Chunks of a prompt that `worker` holds, beyond what most of the traffic shares.
    pub fn saved_chunks(&mut self, worker: WorkerIndex, path: &[u64]) -> usize {
        let Some(prefixes) = &mut self.prefixes else { return 0 };
        prefixes.replica.longest(path, &mut prefixes.found);
        prefixes.found.chunks_at(worker).saturating_sub(prefixes.found.common_chunks)
    }

    pub(super) fn by_expected_cost(&mut self, prompt: &Prompt<'_>, eligible: Eligibility<'_>, now: Duration) -> Choice {
        let Some(prefixes) = &mut self.prefixes else { return Choice::Nobody };
        prefixes.replica.longest(prompt.path, &mut prefixes.found);
        let common = prefixes.found.common_chunks;
        let mut candidates = std::mem::take(&mut self.candidates);
        self.collect(prompt, eligible, now, &mut candidates);
        let choice = self.least_cost(prompt, common, &candidates);
        self.candidates = candidates;
        choice
    }

    fn collect(&self, prompt: &Prompt<'_>, eligible: Eligibility<'_>, now: Duration, candidates: &mut Vec<Candidate>) {
        candidates.clear();
        let Some(prefixes) = &self.prefixes else { return };
        let rates = self.rates(prompt.work.is_streamed);
        let common = prompt.tokens_of(prefixes.found.common_chunks);
        let usual_progress = self.usual_progress(now);
        let consider = |worker: WorkerIndex, candidates: &mut Vec<Candidate>| {
            let state = &self.workers[worker.at()];
            if eligible.allows(worker, state) && self.has_free_slot(state) {
                let ahead = state.load().in_flight;
                let backlog_ms = rates.backlog_ms(state.load().awaited_tokens);
                let further = self.progress(state, now) - usual_progress * f64::from(ahead);
                let further = further.clamp(-MOST_AHEAD_OR_LATE, MOST_AHEAD_OR_LATE);
                let usual_ms = rates.wait_ms((f64::from(ahead) - further).max(0.0)) + backlog_ms;
                // A worker is slow when one feels it; on answers of a few milliseconds a ratio tells of chance.
                let slower_ms = Some(usual_ms * (state.pace(now) - 1.0)).filter(|ms| *ms > SLOW_MS);
                let wait_ms = (usual_ms + slower_ms.unwrap_or(0.0)).max(state.overdue_ms(now));
                let missing_tokens = prompt.work.prompt_tokens - common;
                candidates.push(Candidate { worker, ahead, wait_ms, missing_tokens });
            }
        };
        if self.workers.len() > MOST_CONSIDERED {
            let holders = prefixes.found.holders.iter().rev().map(|holder| holder.worker).take(MOST_CONSIDERED);
            for worker in holders.chain(sample(prompt, self.workers.len())) {
                consider(worker, candidates);
            }
        }
        if candidates.is_empty() {
            self.indexed().for_each(|(worker, _)| consider(worker, candidates));
        }
        candidates.sort_unstable_by_key(|candidate| candidate.worker);
        candidates.dedup_by_key(|candidate| candidate.worker);
        for holder in &prefixes.found.holders {
            if let Ok(place) = candidates.binary_search_by_key(&holder.worker, |candidate| candidate.worker) {
                let held = prompt.tokens_of(holder.chunks).max(common);
                candidates[place].missing_tokens = prompt.work.prompt_tokens - held;
            }
        }
    }

    /// How far on the requests of a worker are, all added up: each from 0, just sent, to about 1, just ending.
    fn progress(&self, state: &WorkerState, now: Duration) -> f64 {
        let load = state.load();
        let progress = self.overall_latency_ms.mean().map_or(0.0, |mean_ms| load.age_ms(now) / mean_ms.max(1.0));
        progress.min(f64::from(load.in_flight))
    }

    /// How far on a request of any worker is on average; of very many workers, the first tell.
    fn usual_progress(&self, now: Duration) -> f64 {
        let workers = || self.workers.iter().take(MOST_CONSIDERED);
        let requests: f64 = workers().map(|state| f64::from(state.load().in_flight)).sum();
        if requests == 0.0 { 0.0 } else { workers().map(|state| self.progress(state, now)).sum::<f64>() / requests }
    }

    fn least_cost(&mut self, prompt: &Prompt<'_>, common: usize, candidates: &[Candidate]) -> Choice {
        let Some(shortest) = candidates.iter().min_by(|one, other| one.wait_ms.total_cmp(&other.wait_ms)) else {
            return Choice::WaitForAny;
        };
        let rates = self.rates(prompt.work.is_streamed);
        let idle_ms = rates.wait_ms(0.0);
        let turn_ms = rates.turn_ms();
        let backlog_ms = (shortest.wait_ms - idle_ms).max(0.0);
        let chance_ms = RESOLUTION_MS + RESOLUTION_SHARE * idle_ms;
        let equal_ms = turn_ms.min(backlog_ms) + chance_ms;
        let behind = (backlog_ms / turn_ms).min(MOST_BEHIND);
        // What all share tells no two prompts apart; the first chunk beyond it does.
        let key = match prompt.path.get(common) {
            Some(key) => *key,
            None => {
                self.turn += 1;
                self.turn as u64
            }
        };
        let rates = self.rates(prompt.work.is_streamed);
        let longer_ms = |candidate: &Candidate| candidate.wait_ms - shortest.wait_ms;
        let cost_ms = |candidate: &Candidate| {
            let prefill_ms = rates.prefill_ms(candidate.missing_tokens);
            let delayed_ms = rates.backlog_ms(candidate.missing_tokens) * f64::from(candidate.ahead).min(MOST_BEHIND);
            (longer_ms(candidate) - equal_ms).max(0.0) + prefill_ms * (2.0 + behind) + delayed_ms
        };
        let least_ms = candidates.iter().map(cost_ms).fold(f64::INFINITY, f64::min);
        // Among equals, those with the shortest wait; of these, those with the fewest new prefixes and requests; and of
        // these, the one on which all routers agree.
        let soonest_ms = candidates
            .iter()
            .filter(|candidate| cost_ms(candidate) <= least_ms)
            .map(longer_ms)
            .fold(f64::INFINITY, f64::min);
        let equals = || {
            candidates
                .iter()
                .filter(|candidate| cost_ms(candidate) <= least_ms && longer_ms(candidate) <= soonest_ms + chance_ms)
        };
        let crowd = |candidate: &Candidate| {
            self.workers[candidate.worker.at()].placements + CROWD_OF_REQUEST * f64::from(candidate.ahead)
        };
        let least_crowd = equals().map(crowd).fold(f64::INFINITY, f64::min);
        let chosen = equals()
            .filter(|candidate| crowd(candidate) < least_crowd + EQUAL_CROWDS)
            .max_by_key(|candidate| rendezvous(key, self.workers[candidate.worker.at()].name_hash));
        chosen.map_or(Choice::WaitForAny, |candidate| Choice::Send(candidate.worker))
    }

    /// What was learned from answers of a kind, or of the other kind where there were none of it.
    pub(super) fn rates(&self, is_streamed: bool) -> &Rates {
        let (own, other) = if is_streamed { (&self.streamed, &self.whole) } else { (&self.whole, &self.streamed) };
        if own.is_empty() { other } else { own }
    }
}
