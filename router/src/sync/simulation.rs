//! Several routers over a network that loses, repeats, reorders and parts, in thousands of seeded schedules: once it is
//! whole again they know the same. No sockets and no clock: the steps are those of [`super::peer`], one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::peer::{misses_something, next_frame};
use super::{Receipt, flush, receive, receive_snapshot, snapshot};
use crate::epoch::Epoch;
use crate::policy::worker::Load;
use crate::policy::{Flight, Prompt, Work};
use crate::tree::WorkerIndex;
use crate::tree::chunk::ChunkPlan;

const WORKERS: u16 = 3;

/// A prefix that a worker holds.
type Held = BTreeSet<(Vec<u64>, u16)>;

struct Router {
    epoch: Arc<Epoch>,
    /// The last frame that each other router took.
    pushed: Vec<u64>,
    flights: Vec<Flight>,
}

struct Network {
    routers: Vec<Router>,
    /// Pairs that cannot reach each other now.
    parted: BTreeSet<(usize, usize)>,
    random: SmallRng,
    incarnations: u64,
    plan: ChunkPlan,
}

impl Network {
    fn new(routers: usize, seed: u64) -> Self {
        let mut network = Self {
            routers: Vec::new(),
            parted: BTreeSet::new(),
            random: SmallRng::seed_from_u64(seed),
            incarnations: 0,
            plan: ChunkPlan::fixed(256),
        };
        for _ in 0..routers {
            let router = network.start(routers);
            network.routers.push(router);
        }
        network
    }

    fn start(&mut self, routers: usize) -> Router {
        let named = |letter: &str, count: usize| -> Vec<_> {
            (0..count)
                .map(|index| json!({"id": format!("{letter}{index}"), "url": format!("http://{letter}{index}:1")}))
                .collect()
        };
        let request = json!({"epoch": 1, "run": "simulation", "workers": named("w", usize::from(WORKERS)),
            "peers": named("p", routers - 1), "policy": {"mode": "HashRadixTree", "hashRadixTree": {}}});
        self.incarnations += 1;
        let epoch = Epoch::new(&serde_json::from_value(request).unwrap(), self.incarnations).unwrap();
        Router { epoch: Arc::new(epoch), pushed: vec![0; routers], flights: Vec::new() }
    }

    fn any(&mut self) -> usize {
        self.random.random_range(0..self.routers.len())
    }

    /// A request at a router: some end later, so that loads change.
    fn request(&mut self, router: usize) {
        let path: Vec<u64> = (0..self.random.random_range(1..5)).map(|_| self.random.random_range(0..3)).collect();
        let worker = WorkerIndex(self.random.random_range(0..WORKERS));
        let work = Work { prompt_tokens: 64, output_tokens: 1, is_streamed: true };
        let prompt = Prompt { path: &path, plan: &self.plan, work };
        let Router { epoch, flights, pushed: _ } = &mut self.routers[router];
        let mut state = epoch.state();
        flights.push(state.engine.begin(worker, &prompt, epoch.now()));
        if state.engine.accepted(worker, &path).is_news {
            epoch.exchange.announce(worker, state.engine.generations()[worker.at()], &path);
        }
        if self.random.random_bool(0.5) {
            let flight = flights.swap_remove(self.random.random_range(0..flights.len()));
            state.engine.end(&flight);
        }
    }

    /// A worker loses its cache, as one router sees it.
    fn lose_cache(&mut self, router: usize) {
        let worker = WorkerIndex(self.random.random_range(0..WORKERS));
        let epoch = &self.routers[router].epoch;
        let mut state = epoch.state();
        while !state.engine.connect_failed(worker) {}
        state.engine.reinstate(worker);
    }

    /// What a router does for one peer: pushes what it did not take yet, and pulls what itself missed.
    fn follow(&mut self, from: usize, to: usize, is_lossy: bool) {
        if from == to || self.parted.contains(&(from.min(to), from.max(to))) {
            return;
        }
        let (sender, receiver) = (self.routers[from].epoch.clone(), self.routers[to].epoch.clone());
        let mut receipt: Option<Receipt> = None;
        while let Some((sequence, frame)) = next_frame(&sender, self.routers[from].pushed[to]) {
            if is_lossy && self.random.random_bool(0.2) {
                return;
            }
            receipt = Some(receive(&receiver, &frame).unwrap());
            if is_lossy && self.random.random_bool(0.2) {
                // The receipt was lost, so the frame comes again.
                return;
            }
            self.routers[from].pushed[to] = sequence;
        }
        if is_lossy && self.random.random_bool(0.1) {
            // An old frame comes late.
            if let Some((_, old)) = next_frame(&sender, 0) {
                receive(&receiver, &old).unwrap();
            }
        }
        if let Some(receipt) = receipt
            && misses_something(&sender, receipt)
            && !(is_lossy && self.random.random_bool(0.3))
        {
            receive_snapshot(&sender, receipt.incarnation, &snapshot(&receiver)).unwrap();
        }
    }

    fn step(&mut self, restarts: bool) {
        let (one, other) = (self.any(), self.any());
        match self.random.random_range(0..100) {
            0..40 => self.request(one),
            40..60 => flush(&self.routers[one].epoch),
            60..90 => self.follow(one, other, true),
            90..93 => self.lose_cache(one),
            93..95 => drop(self.parted.insert((one.min(other), one.max(other)))),
            95..98 => self.parted.clear(),
            // What others did not take of it yet is lost with it.
            _ if restarts => self.routers[one] = self.start(self.routers.len()),
            _ => {}
        }
    }

    /// The network is whole again, and every router has something to say.
    fn heal(&mut self) {
        self.parted.clear();
        for _ in 0..4 {
            for router in 0..self.routers.len() {
                self.request(router);
                flush(&self.routers[router].epoch);
            }
            for from in 0..self.routers.len() {
                for to in 0..self.routers.len() {
                    self.follow(from, to, false);
                }
            }
        }
    }

    fn held(&self, router: usize) -> Held {
        let mut held = Held::new();
        self.routers[router].epoch.state().engine.tree().unwrap().for_each_held(|path, workers| {
            for worker in workers {
                held.extend((1..=path.len()).map(|length| (path[..length].to_vec(), worker.0)));
            }
        });
        held
    }

    fn generations(&self, router: usize) -> Vec<u32> {
        self.routers[router].epoch.state().engine.generations().to_vec()
    }

    /// What the living others told a router of their load, against what they have.
    fn check_loads(&self, seed: u64) {
        for (index, router) in self.routers.iter().enumerate() {
            for worker in 0..usize::from(WORKERS) {
                let told = router.epoch.state().engine.workers()[worker].others;
                let others = self.routers.iter().enumerate().filter(|(other, _)| *other != index);
                let own = others.map(|(_, other)| other.epoch.state().engine.workers()[worker].own);
                let sum = own.fold(Load::default(), Load::plus);
                // Times are on each router's own clock.
                let sum = Load { due_ms: told.due_ms, sent_ms: told.sent_ms, ..sum };
                assert_eq!(told, sum, "seed {seed}, router {index}, worker {worker}");
            }
        }
    }
}

#[test]
fn routers_that_could_not_always_hear_each_other_know_the_same_in_the_end() {
    for seed in 0..1500 {
        let mut network = Network::new(3 + seed as usize % 3, seed);
        for _ in 0..120 {
            network.step(false);
        }
        network.heal();
        let (held, generations) = (network.held(0), network.generations(0));
        assert!(!held.is_empty());
        for router in 1..network.routers.len() {
            assert_eq!(network.generations(router), generations, "seed {seed}, router {router}");
            assert_eq!(network.held(router), held, "seed {seed}, router {router}");
        }
        network.check_loads(seed);
    }
}

#[test]
fn a_router_that_restarts_is_told_what_the_others_know_and_tells_on() {
    for seed in 0..1500 {
        let mut network = Network::new(3, seed);
        for _ in 0..120 {
            network.step(true);
        }
        network.heal();
        let before: Vec<Held> = (0..3).map(|router| network.held(router)).collect();
        // One starts anew and asks the others; it ends with all that both of them know.
        network.routers[0] = network.start(3);
        flush(&network.routers[0].epoch);
        network.follow(0, 1, false);
        network.follow(0, 2, false);
        let told: Held = before[1].union(&before[2]).cloned().collect();
        assert_eq!(network.held(0), told, "seed {seed}");
        assert_eq!(network.generations(0), network.generations(1), "seed {seed}");
    }
}
