//! Routing decisions as a pure state machine: no clock, no sockets, no locks.
//!
//! The proxy asks [`Engine::choose`] for a worker, takes and returns slots, and tells what became of each request. A
//! worker is recorded as holder of a prompt only once it accepted it ([`Engine::accepted`]), whichever worker that is.

mod choose;
pub mod settings;
pub mod worker;

#[cfg(test)]
mod tests;

use teebench_api::policy::Reputation;

use self::settings::{Mode, PolicySettings, TreeSettings};
use self::worker::{Ewma, Load, WorkerState};
use crate::tree::replica::{Delta, Generation, Replica};
use crate::tree::{HashRadixTree, PrefixMatch, WorkerIndex};

pub use self::choose::Choice;

/// What a router knows in one epoch, and the decisions it makes from it.
#[derive(Debug)]
pub struct Engine {
    workers: Vec<WorkerState>,
    prefixes: Option<Prefixes>,
    strategy: Strategy,
    /// Most requests that all routers together put on one worker; none means unbounded.
    slots_per_worker: Option<u32>,
    /// The part of those slots that is this router's own, whatever the others do.
    own_slots: u32,
    /// Latency over all workers: what is assumed of one that has no sample yet.
    overall_latency_ms: Ewma,
    /// Whose turn it is among equals.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
enum Strategy {
    RoundRobin,
    LeastLoaded,
    Prefix(TreeSettings),
}

/// The tree and a match that is refilled for every decision.
#[derive(Debug)]
struct Prefixes {
    replica: Replica,
    found: PrefixMatch,
    gate_chunks: usize,
}

/// What was known of a prompt when its worker accepted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Leading chunks that the worker held before.
    pub held_chunks: usize,
    /// True if those are enough to count as a hit.
    pub is_hit: bool,
    /// True if other routers have something to learn from it.
    pub is_news: bool,
}

impl Engine {
    /// An engine for workers of these names. `routers` share each worker's slots, this one included; `first_turn` says
    /// with which worker it starts, so that routers started together do not all begin at the same one.
    pub fn new<'a>(
        settings: &PolicySettings,
        names: impl IntoIterator<Item = &'a str>,
        routers: usize,
        first_turn: usize,
    ) -> Self {
        let (strategy, reputation) = match settings.mode {
            Mode::RoundRobin => (Strategy::RoundRobin, Reputation::default()),
            Mode::LeastLoaded => (Strategy::LeastLoaded, Reputation::default()),
            Mode::HashRadixTree(tree) => (Strategy::Prefix(tree), tree.reputation),
        };
        let workers: Vec<_> = names.into_iter().map(|name| WorkerState::new(name, reputation)).collect();
        let prefixes = match strategy {
            Strategy::Prefix(tree) => Some(Prefixes {
                replica: Replica::new(workers.len(), tree.hash_bits, tree.maximum_nodes),
                found: PrefixMatch::default(),
                gate_chunks: tree.gate_chunks,
            }),
            Strategy::RoundRobin | Strategy::LeastLoaded => None,
        };
        let slots_per_worker = settings.max_in_flight_per_server.map(u32::from);
        let routers = u32::try_from(routers.max(1)).unwrap_or(u32::MAX);
        Self {
            turn: first_turn % workers.len().max(1),
            workers,
            prefixes,
            strategy,
            slots_per_worker,
            own_slots: slots_per_worker.map_or(u32::MAX, |slots| slots.div_ceil(routers)),
            overall_latency_ms: Ewma::default(),
        }
    }

    /// State of every worker, in the epoch's order.
    pub fn workers(&self) -> &[WorkerState] {
        &self.workers
    }

    /// The tree; none where the policy has no use for it.
    pub fn tree(&self) -> Option<&HashRadixTree> {
        self.prefixes.as_ref().map(|prefixes| prefixes.replica.tree())
    }

    /// Generation of every worker; empty without a tree.
    pub fn generations(&self) -> &[Generation] {
        self.prefixes.as_ref().map_or(&[], |prefixes| prefixes.replica.generations())
    }

    /// Takes a slot of `worker` for a request of an estimated `tokens` tokens.
    pub fn begin(&mut self, worker: WorkerIndex, tokens: u64) {
        let state = &mut self.workers[worker.at()];
        state.own = state.own.plus(Load { in_flight: 1, tokens });
    }

    /// Returns the slot that [`begin`](Self::begin) took with the same `tokens`.
    pub fn end(&mut self, worker: WorkerIndex, tokens: u64) {
        let state = &mut self.workers[worker.at()];
        state.own = state.own.minus(Load { in_flight: 1, tokens });
    }

    /// Notes that `worker` accepted the prompt of `path` and so holds it now, chosen for it or not.
    pub fn accepted(&mut self, worker: WorkerIndex, path: &[u64]) -> Accepted {
        let Some(prefixes) = &mut self.prefixes else { return Accepted::default() };
        let followed = path.len().min(prefixes.replica.tree().depth_limit());
        let held_chunks = prefixes.replica.record(path, worker);
        Accepted {
            held_chunks,
            is_hit: held_chunks > 0 && held_chunks >= prefixes.gate_chunks.min(followed),
            is_news: held_chunks < followed,
        }
    }

    /// Notes that `worker` answered at all, well or not.
    pub fn answered(&mut self, worker: WorkerIndex) {
        self.workers[worker.at()].answered();
    }

    /// Notes a request that `worker` served to its end, and in which time. Only such requests have a latency.
    pub fn succeeded(&mut self, worker: WorkerIndex, latency_ms: f64) {
        let state = &mut self.workers[worker.at()];
        state.succeeded();
        state.latency_ms.observe(latency_ms);
        self.overall_latency_ms.observe(latency_ms);
    }

    /// Notes a request that `worker` failed.
    pub fn failed(&mut self, worker: WorkerIndex) {
        self.workers[worker.at()].failed();
    }

    /// Notes that `worker` refused a connection. After several in a row it is ejected, and what it held is forgotten:
    /// a server that is gone comes back with an empty cache. Returns true if it was ejected now.
    pub fn connect_failed(&mut self, worker: WorkerIndex) -> bool {
        let ejected = self.workers[worker.at()].connect_failed();
        if ejected && let Some(prefixes) = &mut self.prefixes {
            prefixes.replica.forget(worker);
        }
        ejected
    }

    /// Workers that only a probe can bring back.
    pub fn probed_workers(&self) -> impl Iterator<Item = WorkerIndex> + '_ {
        (0..)
            .map(WorkerIndex)
            .zip(&self.workers)
            .filter_map(|(worker, state)| (state.is_ejected() || !state.is_reputable()).then_some(worker))
    }

    /// Notes that `worker` answered a probe.
    pub fn reinstate(&mut self, worker: WorkerIndex) {
        self.workers[worker.at()].reinstate();
    }

    /// Replaces what another router said of its load on `worker`.
    pub fn replace_load_of_others(&mut self, worker: WorkerIndex, before: Load, now: Load) {
        if let Some(state) = self.workers.get_mut(worker.at()) {
            state.others = state.others.minus(before).plus(now);
        }
    }

    /// Learns from another router that a worker holds a prefix.
    pub fn apply(&mut self, delta: &Delta<'_>) {
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.replica.apply(delta);
        }
    }

    /// Learns from another router how often a worker lost its cache.
    pub fn reach_generation(&mut self, worker: WorkerIndex, generation: Generation) {
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.replica.reach_generation(worker, generation);
        }
    }
}
