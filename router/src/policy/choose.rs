//! Which worker a request goes to.

use std::time::Duration;

use teebench_api::policy::LoadBalancing;

use super::settings::TreeSettings;
use super::worker::WorkerState;
use super::{Engine, Prompt, Strategy};
use crate::tree::WorkerIndex;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// To this worker, which has a free slot.
    Send(WorkerIndex),
    /// To this worker, which has a free slot that another router holds.
    Ask(WorkerIndex),
    /// To whichever worker frees a slot first.
    WaitForAny,
    /// To this worker alone, once it has a free slot.
    WaitFor(WorkerIndex),
    /// Nowhere: no worker is left to try.
    Nobody,
}

/// How the paper's two variants weigh load.
#[derive(Clone, Copy)]
enum Weighing {
    None,
    LatencyFactor,
}

/// Who may be chosen for one request.
#[derive(Clone, Copy)]
pub(super) struct Eligibility<'a> {
    /// Workers that failed this request already.
    excluded: &'a [WorkerIndex],
    /// False if every worker left is ejected: then an ejected one is still better than none.
    ejected_are_out: bool,
    /// False if every worker left is unreliable.
    unreliable_are_out: bool,
}

impl Eligibility<'_> {
    pub(super) fn allows(&self, worker: WorkerIndex, state: &WorkerState) -> bool {
        let is_out = self.excluded.contains(&worker)
            || self.ejected_are_out && state.is_ejected()
            || self.unreliable_are_out && !state.is_reputable();
        !is_out
    }
}

impl Engine {
    /// Chooses a worker for a prompt, leaving out those that failed it already.
    pub fn choose(&mut self, prompt: &Prompt<'_>, excluded: &[WorkerIndex], now: Duration) -> Choice {
        let Some(eligible) = self.eligibility(excluded) else { return Choice::Nobody };
        let choice = match self.strategy {
            Strategy::RoundRobin => self.next_in_turn(eligible),
            Strategy::LeastLoaded => self.least_loaded(eligible),
            Strategy::Prefix(settings) => match settings.balancing {
                LoadBalancing::None => self.by_prefix(settings, Weighing::None, prompt.path, eligible),
                LoadBalancing::LatencyFactor => {
                    self.by_prefix(settings, Weighing::LatencyFactor, prompt.path, eligible)
                }
                LoadBalancing::ExpectedCost => self.by_expected_cost(prompt, eligible, now),
            },
        };
        match choice {
            Choice::Send(worker) if !self.holds_free_slot(&self.workers[worker.at()]) => Choice::Ask(worker),
            choice => choice,
        }
    }

    /// A worker for a request that costs it nothing, such as the list of models: each in its turn, full or not.
    pub fn choose_for_light_request(&mut self, excluded: &[WorkerIndex]) -> Option<WorkerIndex> {
        let eligible = self.eligibility(excluded)?;
        let chosen = self.in_turn().find(|worker| eligible.allows(*worker, &self.workers[worker.at()]))?;
        self.turn_after(chosen);
        Some(chosen)
    }

    /// True if a request that waits may take a slot of `worker` now.
    pub fn may_serve(&self, worker: WorkerIndex, excluded: &[WorkerIndex]) -> bool {
        let state = &self.workers[worker.at()];
        self.holds_free_slot(state) && self.eligibility(excluded).is_some_and(|eligible| eligible.allows(worker, state))
    }

    /// True if `worker` is ejected, so that nobody should wait for it in particular.
    pub fn is_ejected(&self, worker: WorkerIndex) -> bool {
        self.workers[worker.at()].is_ejected()
    }

    /// True if a slot of a worker is free, as far as this router knows, whoever holds it.
    ///
    /// Where routers do not know their order, each always has its own part of the slots; beyond it, it takes what the
    /// others are known to leave free. So no router starves on old news, and the bound is exceeded by rounding and by news
    /// on its way at most.
    pub(super) fn has_free_slot(&self, state: &WorkerState) -> bool {
        let Some(slots) = self.slots_per_worker else { return true };
        if self.slots.is_some() {
            return state.load().in_flight < slots || self.holds_free_slot(state);
        }
        state.own.in_flight < self.own_slots || state.load().in_flight < slots
    }

    /// True if this router may use a slot of a worker now.
    fn holds_free_slot(&self, state: &WorkerState) -> bool {
        match &self.slots {
            Some(slots) => state.own.in_flight < slots.held(state.name_hash),
            None => self.has_free_slot(state),
        }
    }

    fn eligibility<'a>(&self, excluded: &'a [WorkerIndex]) -> Option<Eligibility<'a>> {
        let (mut any, mut any_reachable, mut any_reliable) = (false, false, false);
        for (worker, state) in self.indexed() {
            if excluded.contains(&worker) {
                continue;
            }
            any = true;
            any_reachable |= !state.is_ejected();
            any_reliable |= !state.is_ejected() && state.is_reputable();
            if any_reliable {
                break;
            }
        }
        any.then_some(Eligibility { excluded, ejected_are_out: any_reachable, unreliable_are_out: any_reliable })
    }

    fn next_in_turn(&mut self, eligible: Eligibility<'_>) -> Choice {
        let free = |worker: &WorkerIndex| {
            let state = &self.workers[worker.at()];
            eligible.allows(*worker, state) && self.has_free_slot(state)
        };
        let Some(chosen) = self.in_turn().find(free) else { return Choice::WaitForAny };
        if eligible.excluded.is_empty() {
            // A retry takes nobody's turn; else every request that follows one would meet the failing worker again.
            self.turn_after(chosen);
        }
        Choice::Send(chosen)
    }

    fn least_loaded(&mut self, eligible: Eligibility<'_>) -> Choice {
        let mut best: Option<(u32, WorkerIndex)> = None;
        for worker in self.in_turn() {
            let state = &self.workers[worker.at()];
            let in_flight = state.load().in_flight;
            let better = best.is_none_or(|(least, _)| in_flight < least);
            if better && eligible.allows(worker, state) && self.has_free_slot(state) {
                best = Some((in_flight, worker));
            }
        }
        let Some((_, chosen)) = best else { return Choice::WaitForAny };
        self.turn_after(chosen);
        Choice::Send(chosen)
    }

    fn by_prefix(
        &mut self,
        settings: TreeSettings,
        weighing: Weighing,
        path: &[u64],
        eligible: Eligibility<'_>,
    ) -> Choice {
        let Some(prefixes) = &mut self.prefixes else { return Choice::Nobody };
        prefixes.replica.longest(path, &mut prefixes.found);
        let followed = path.len().min(prefixes.replica.tree().depth_limit());
        let common = prefixes.found.common_chunks;
        // A prompt shorter than the gate must still be able to hit; one that is wholly common never tells holders apart.
        let gate = settings.gate_chunks.min(followed - common);
        let key = if gate == 0 {
            self.turn += 1;
            self.turn as u64
        } else {
            path[common + gate - 1]
        };
        if gate > 0
            && let Some(holder) = self.deepest_holder(weighing, common + gate, key, eligible)
        {
            return if self.has_free_slot(&self.workers[holder.at()]) {
                Choice::Send(holder)
            } else {
                Choice::WaitFor(holder)
            };
        }
        self.cheapest(weighing, key, eligible).map_or(Choice::WaitForAny, Choice::Send)
    }

    /// The worker that holds most of the prompt, at least `least_chunks`; among equals the cheapest. With balancing, a
    /// full holder is passed over, so that its prefix spills to another worker, which becomes a holder too; without,
    /// the deepest is taken even if it is full.
    fn deepest_holder(
        &self,
        weighing: Weighing,
        least_chunks: usize,
        key: u64,
        eligible: Eligibility<'_>,
    ) -> Option<WorkerIndex> {
        let found = &self.prefixes.as_ref()?.found;
        let mut best: Option<(usize, Rank, WorkerIndex)> = None;
        for holder in found.holders.iter().rev().take_while(|holder| holder.chunks >= least_chunks) {
            if best.as_ref().is_some_and(|(chunks, _, _)| holder.chunks < *chunks) {
                break;
            }
            let state = &self.workers[holder.worker.at()];
            let full_ones_count = match weighing {
                Weighing::None => true,
                Weighing::LatencyFactor => false,
            };
            if eligible.allows(holder.worker, state) && (full_ones_count || self.has_free_slot(state)) {
                let rank = self.rank(weighing, key, state);
                if best.as_ref().is_none_or(|(_, least, _)| rank.precedes(least)) {
                    best = Some((holder.chunks, rank, holder.worker));
                }
            }
        }
        best.map(|(_, _, worker)| worker)
    }

    /// The cheapest worker with a free slot.
    fn cheapest(&self, weighing: Weighing, key: u64, eligible: Eligibility<'_>) -> Option<WorkerIndex> {
        let mut best: Option<(Rank, WorkerIndex)> = None;
        for (worker, state) in self.indexed() {
            if eligible.allows(worker, state) && self.has_free_slot(state) {
                let rank = self.rank(weighing, key, state);
                if best.as_ref().is_none_or(|(least, _)| rank.precedes(least)) {
                    best = Some((rank, worker));
                }
            }
        }
        best.map(|(_, worker)| worker)
    }

    fn rank(&self, weighing: Weighing, key: u64, state: &WorkerState) -> Rank {
        let tokens = state.load().tokens as f64;
        let cost = match weighing {
            Weighing::None => tokens,
            Weighing::LatencyFactor => {
                // The paper's factor L Q / C: latency times queued work over capacity.
                let latency_ms = state.latency_ms.mean().or(self.overall_latency_ms.mean()).unwrap_or(1.0);
                let capacity = f64::from(self.slots_per_worker.unwrap_or(1));
                latency_ms * tokens / capacity
            }
        };
        Rank { cost, lot: rendezvous(key, state.name_hash) }
    }

    pub(super) fn indexed(&self) -> impl Iterator<Item = (WorkerIndex, &WorkerState)> {
        (0..).map(WorkerIndex).zip(&self.workers)
    }

    fn in_turn(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        let (turn, workers) = (self.turn, self.workers.len());
        (0..workers).filter_map(move |step| u16::try_from((turn + step) % workers).ok()).map(WorkerIndex)
    }

    fn turn_after(&mut self, worker: WorkerIndex) {
        self.turn = (worker.at() + 1) % self.workers.len();
    }
}

/// Order among workers: the lower cost, and among equal costs the higher lot.
struct Rank {
    cost: f64,
    lot: u64,
}

impl Rank {
    fn precedes(&self, other: &Self) -> bool {
        self.cost < other.cost || (self.cost == other.cost && self.lot > other.lot)
    }
}

/// The lot of a worker for a key (rendezvous hashing): every router draws the same, and a worker that joins or leaves
/// moves only its own share of the keys. The mixing is the finaliser of SplitMix64.
pub(super) fn rendezvous(key: u64, name_hash: u64) -> u64 {
    let mut mixed = (key ^ name_hash).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
