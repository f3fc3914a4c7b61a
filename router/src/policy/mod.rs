//! Routing decisions as a pure state machine: no clock, no sockets, no locks. Times are told, since the epoch's start.
//!
//! The proxy asks [`Engine::choose`] for a worker, takes and returns slots, and tells what became of each request. A
//! worker is recorded as holder of a prompt only once it accepted it ([`Engine::accepted`]), whichever worker that is.

mod choose;
mod expected;
mod lessons;
mod rates;
pub mod settings;
pub mod slots;
pub mod worker;

#[cfg(test)]
mod tests;

use std::time::Duration;

use teebench_api::policy::Reputation;

use self::expected::Candidate;
use self::rates::Rates;
use self::settings::{Mode, PolicySettings, TreeSettings};
use self::slots::{Seat, SlotLedger};
use self::worker::{Ewma, Expected, Load, WorkerState, milliseconds};
use crate::tree::chunk::ChunkPlan;
use crate::tree::replica::{Delta, Generation, News, Replica};
use crate::tree::{HashRadixTree, PrefixMatch, WorkerIndex};

pub use self::choose::Choice;
pub use self::lessons::{Lesson, MOST_LESSONS};
pub use self::rates::FirstToken;

/// What a router knows in one epoch, and the decisions it makes from it.
#[derive(Debug)]
pub struct Engine {
    workers: Vec<WorkerState>,
    prefixes: Option<Prefixes>,
    strategy: Strategy,
    /// Most requests that all routers together put on one worker; none means unbounded.
    slots_per_worker: Option<u32>,
    /// The part of those slots that is this router's own, whatever the others do, where routers do not know their order.
    own_slots: u32,
    /// Who holds which slots, where they do.
    slots: Option<SlotLedger>,
    /// Latency over all workers: what is assumed of one that has no sample yet.
    overall_latency_ms: Ewma,
    /// What answers showed that came as streams, and those that came whole: of the latter only the last byte is seen.
    streamed: Rates,
    whole: Rates,
    /// What was learned and not told to the other routers yet.
    lessons: Vec<Lesson>,
    most_lessons: usize,
    /// Refilled for every decision, so that it allocates nothing.
    candidates: Vec<Candidate>,
    /// Sum of all workers' placements.
    placements: f64,
    /// Whose turn it is among equals.
    turn: usize,
    /// When the first request was sent, here or by another router.
    first_sent: Option<Duration>,
}

/// What a decision goes by.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// Chain hashes of its chunks; empty if there is no prompt.
    pub path: &'a [u64],
    /// How it was cut.
    pub plan: &'a ChunkPlan,
    /// The work that it makes.
    pub work: Work,
}

/// The work that a request makes, as far as its body tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Estimated tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of output that it asks for at most.
    pub output_tokens: u64,
    /// True if the answer comes as a stream, so that its first token is seen.
    pub is_streamed: bool,
}

/// Bytes of text that are taken for one token where only a rough amount of work is asked for.
pub const BYTES_PER_TOKEN: u64 = 4;

impl Work {
    /// Tokens of prompt and output together.
    pub fn tokens(self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }
}

impl Prompt<'_> {
    /// Tokens of the prompt in its first `chunks` chunks.
    fn tokens_of(&self, chunks: usize) -> u64 {
        (self.plan.bytes_of(chunks) / BYTES_PER_TOKEN).min(self.work.prompt_tokens)
    }
}

/// A request at its worker, from [`Engine::begin`] to [`Engine::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    worker: WorkerIndex,
    work: Work,
    /// Requests that the worker had already.
    ahead: u32,
    missing_tokens: u64,
    /// Tokens of prompts that it had to compute before.
    tokens_ahead: u64,
    sent: Duration,
    awaited: Option<u64>,
}

impl Flight {
    /// The worker.
    pub fn worker(&self) -> WorkerIndex {
        self.worker
    }

    /// Tokens of the prompt that the worker was believed to hold.
    pub fn held_tokens(&self) -> u64 {
        self.work.prompt_tokens - self.missing_tokens
    }

    /// The same request where its worker has another index.
    pub fn at(self, worker: WorkerIndex) -> Self {
        Self { worker, ..self }
    }

    fn load(&self) -> Load {
        Load { in_flight: 1, tokens: self.work.tokens(), sent_ms: milliseconds(self.sent), ..Load::default() }
    }
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
            slots: None,
            overall_latency_ms: Ewma::default(),
            streamed: Rates::default(),
            whole: Rates::default(),
            lessons: Vec::new(),
            most_lessons: if routers > 1 { MOST_LESSONS } else { 0 },
            candidates: Vec::new(),
            placements: 0.0,
            first_sent: None,
        }
    }

    /// Shares the slots of each worker with routers that know their order, where slots are bounded.
    pub fn share_slots(&mut self, seat: Seat, incarnation: u64, is_fresh: bool) {
        self.slots = self.slots_per_worker.map(|slots| SlotLedger::new(slots, seat, incarnation, is_fresh));
    }

    /// Who holds which slots; none where they are not bounded, or not shared exactly.
    pub fn slots(&mut self) -> Option<&mut SlotLedger> {
        self.slots.as_mut()
    }

    /// An engine for another list of workers that goes on where this one is: `names` are this one's workers by their
    /// index, and those that stay keep their state, their requests in flight and what they hold.
    pub fn with_workers(&self, settings: &PolicySettings, old_names: &[&str], names: &[&str], routers: usize) -> Self {
        let mut engine = Self::new(settings, names.iter().copied(), routers, self.turn);
        let index_of = |name: &str| names.iter().position(|other| *other == name);
        let moved: Vec<Option<WorkerIndex>> = old_names
            .iter()
            .map(|name| index_of(name).and_then(|index| u16::try_from(index).ok()).map(WorkerIndex))
            .collect();
        for (state, to) in self.workers.iter().zip(&moved) {
            if let Some(to) = to {
                engine.workers[to.at()] = state.clone();
            }
        }
        engine.placements = engine.workers.iter().map(|state| state.placements).sum();
        engine.overall_latency_ms = self.overall_latency_ms;
        engine.first_sent = self.first_sent;
        engine.slots = self.slots.clone();
        engine.streamed = self.streamed.clone();
        engine.whole = self.whole.clone();
        if let (Some(old), Some(new)) = (&self.prefixes, &mut engine.prefixes) {
            for (generation, to) in old.replica.generations().iter().zip(&moved) {
                if let Some(to) = to {
                    new.replica.reach_generation(*to, *generation);
                }
            }
            old.replica.tree().for_each_held(|path, holders| {
                for to in holders.iter().filter_map(|holder| moved[holder.at()]) {
                    new.replica.learn(path, to);
                }
            });
        }
        engine
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

    /// Takes a slot of `worker` for a request.
    pub fn begin(&mut self, worker: WorkerIndex, prompt: &Prompt<'_>, now: Duration) -> Flight {
        let (held_chunks, is_new) = match &mut self.prefixes {
            Some(prefixes) => {
                prefixes.replica.longest(prompt.path, &mut prefixes.found);
                let held = prefixes.found.chunks_at(worker);
                (held, held <= prefixes.found.common_chunks)
            }
            None => (0, true),
        };
        self.note_placement(worker, if is_new { 1.0 } else { PLACEMENT_OF_A_HIT });
        self.note_under_way(now);
        let ahead = self.workers[worker.at()].load().in_flight;
        let missing_tokens = prompt.work.prompt_tokens - prompt.tokens_of(held_chunks);
        let tokens_ahead = self.workers[worker.at()].load().awaited_tokens;
        let rates = self.rates(true);
        let expected_ms = rates.wait_ms(f64::from(ahead)) + rates.backlog_ms(tokens_ahead + missing_tokens);
        let expected = Expected { due: now + Duration::from_secs_f64(expected_ms / 1000.0), tokens: missing_tokens };
        let state = &mut self.workers[worker.at()];
        let awaited = prompt.work.is_streamed.then(|| state.await_first_token(expected));
        let flight = Flight { worker, work: prompt.work, ahead, missing_tokens, tokens_ahead, sent: now, awaited };
        state.own = state.own.plus(flight.load());
        flight
    }

    /// Notes the first token of a streamed answer.
    pub fn first_token(&mut self, flight: &Flight, now: Duration) {
        let state = &mut self.workers[flight.worker.at()];
        if let Some(awaited) = flight.awaited {
            state.no_longer_await(awaited);
        }
        self.learn_from(flight, true, now);
    }

    /// Returns the slot of a request, however it ended.
    pub fn end(&mut self, flight: &Flight) {
        let state = &mut self.workers[flight.worker.at()];
        if let Some(awaited) = flight.awaited {
            state.no_longer_await(awaited);
        }
        state.own = state.own.minus(flight.load());
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

    /// Notes a request that was served to its end. Only such requests have a latency.
    pub fn succeeded(&mut self, flight: &Flight, now: Duration) {
        let state = &mut self.workers[flight.worker.at()];
        let latency_ms = now.saturating_sub(flight.sent).as_secs_f64() * 1000.0;
        state.succeeded();
        state.latency_ms.observe(latency_ms);
        self.overall_latency_ms.observe(latency_ms);
        if !flight.work.is_streamed {
            self.learn_from(flight, false, now);
        }
        self.tell(Lesson::Latency { ahead: flight.ahead, latency_ms }, now);
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
    pub fn replace_load_of_others(&mut self, worker: WorkerIndex, before: Load, now: Load, at: Duration) {
        if now.in_flight > 0 {
            self.note_under_way(at);
        }
        if let Some(state) = self.workers.get_mut(worker.at()) {
            state.others = state.others.minus(before).plus(now);
        }
    }

    /// Learns from another router that a worker holds a prefix.
    pub fn apply(&mut self, delta: &Delta<'_>, news: News) {
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.replica.apply(delta, news);
        }
    }

    /// Learns from another router how often a worker lost its cache.
    pub fn reach_generation(&mut self, worker: WorkerIndex, generation: Generation) {
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.replica.reach_generation(worker, generation);
        }
    }

    /// Counts what a worker was given. All counts fade together, so that they tell of the last few dozen for each worker
    /// and stay comparable.
    fn note_placement(&mut self, worker: WorkerIndex, placement: f64) {
        self.workers[worker.at()].placements += placement;
        self.placements += placement;
        if self.placements >= PLACEMENTS_KEPT * self.workers.len() as f64 {
            self.placements /= 2.0;
            self.workers.iter_mut().for_each(|state| state.placements /= 2.0);
        }
    }
}

/// Placements for each worker after which all counts are halved.
const PLACEMENTS_KEPT: f64 = 64.0;

/// What a request counts whose prefix its worker held, where one with a new prefix counts 1: a prefix draws more requests
/// after it, and what many share is not known as such from the first request on.
const PLACEMENT_OF_A_HIT: f64 = 0.5;
