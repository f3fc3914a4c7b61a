//! A fleet of simulated servers in virtual time, behind the real engine: continuous batching in steps, a prefix cache
//! each, arrivals in an open or a closed loop. Deterministic, and thousands of times faster than real time.

#![allow(dead_code, reason = "tests and the bench each use their part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod clairvoyant;
pub mod load;
pub mod server;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

use serde_json::Value;
use teebench_router::policy::settings::PolicySettings;
use teebench_router::policy::worker::Load;
use teebench_router::policy::{Choice, Engine, Flight, Lesson, Prompt, Work};
use teebench_router::tree::WorkerIndex;
use teebench_router::tree::chunk::ChunkPlan;
use teebench_router::tree::replica::{Delta, News};

use self::load::{Query, TOKENS_PER_CHUNK};
use self::server::{Event, Server, ServerSpec};

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub enum Arrivals {
    /// At the times that the queries name.
    Open,
    /// So many at a time, each after another one ended.
    Closed(usize),
}

/// How many routers there are, and how they keep in step.
#[derive(Clone, Copy, Debug)]
pub struct Routers {
    /// Requests go to them in turn.
    pub count: usize,
    /// Time between two messages of one router in the long run, in microseconds.
    pub interval_us: u64,
    /// Messages that may go at once after a pause.
    pub burst: u64,
    /// Time that a message takes, in microseconds.
    pub delay_us: u64,
}

impl Routers {
    /// One router for all.
    pub const GATEWAY: Self = Self { count: 1, interval_us: 0, burst: 1, delay_us: 0 };
    /// One beside each of eight servers.
    pub const SIDECARS: Self = Self { count: 8, interval_us: 50_000, burst: 8, delay_us: 1_500 };
}

/// What became of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub worker: usize,
    pub ttft_ms: f64,
    pub e2e_ms: f64,
    /// Tokens of the prompt that the server's cache really had.
    pub cached_tokens: u64,
    /// False if its group came to this server for the first time.
    pub is_hit: bool,
}

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Figures {
    pub hit_requests: f64,
    pub hit_tokens: f64,
    /// Servers times the largest share of requests.
    pub hotspot: f64,
    pub mean_e2e_ms: f64,
    pub p50_e2e_ms: f64,
    pub p99_e2e_ms: f64,
    pub p50_ttft_ms: f64,
    pub p99_ttft_ms: f64,
}

/// Runs queries against servers behind a policy.
pub fn run(policy: &Value, specs: &[ServerSpec], queries: &[Query], arrivals: Arrivals) -> Figures {
    run_behind(Routers::GATEWAY, policy, specs, queries, arrivals)
}

/// Runs queries against servers behind several routers of one policy.
pub fn run_behind(
    routers: Routers,
    policy: &Value,
    specs: &[ServerSpec],
    queries: &[Query],
    arrivals: Arrivals,
) -> Figures {
    figures(&outcomes_behind(routers, policy, specs, queries, arrivals), queries, specs.len())
}

/// The same, and what became of each request.
pub fn outcomes_behind(
    routers: Routers,
    policy: &Value,
    specs: &[ServerSpec],
    queries: &[Query],
    arrivals: Arrivals,
) -> Vec<Outcome> {
    Run::new(routers, policy, specs, queries, arrivals).go()
}

/// One router: its engine, and what it has to tell.
struct Router {
    engine: Engine,
    /// Prompts that a server took since the last message.
    unsaid: Vec<(WorkerIndex, usize)>,
    /// Its load on each server as it last said.
    told: Vec<Load>,
    /// True if a message is on the agenda.
    is_due: bool,
    /// When the next message may go, in microseconds.
    free_us: u64,
}

/// What a router says.
struct Message {
    from: usize,
    accepted: Vec<(WorkerIndex, usize)>,
    before: Vec<Load>,
    now: Vec<Load>,
    lessons: Vec<Lesson>,
}

struct Run<'a> {
    routers: Vec<Router>,
    keeping: Routers,
    messages: Vec<Message>,
    plan: ChunkPlan,
    servers: Vec<Server>,
    queries: &'a [Query],
    outcomes: Vec<Outcome>,
    flights: Vec<Option<Flight>>,
    /// When something happens: a query arrives, or a server ends a step.
    agenda: BinaryHeap<Reverse<(u64, Happening)>>,
    next: usize,
    is_closed: bool,
    visited: HashSet<(u64, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    StepEnds(usize),
    Hears(usize),
    Tells(usize),
    Arrives(usize),
}

impl<'a> Run<'a> {
    fn new(keeping: Routers, policy: &Value, specs: &[ServerSpec], queries: &'a [Query], arrivals: Arrivals) -> Self {
        let spec = serde_json::from_value(policy.clone()).unwrap();
        let names: Vec<String> = (0..specs.len()).map(|index| format!("server-{index}")).collect();
        let settings = PolicySettings::try_from(&spec).unwrap();
        let mut agenda = BinaryHeap::new();
        let next = match arrivals {
            Arrivals::Open => {
                agenda.extend(
                    queries.iter().enumerate().map(|(index, query)| Reverse((query.at_us, Happening::Arrives(index)))),
                );
                queries.len()
            }
            Arrivals::Closed(at_once) => {
                let first = at_once.min(queries.len());
                agenda.extend((0..first).map(|index| Reverse((0, Happening::Arrives(index)))));
                first
            }
        };
        Self {
            routers: (0..keeping.count)
                .map(|first| Router {
                    engine: Engine::new(&settings, names.iter().map(String::as_str), keeping.count, first),
                    unsaid: Vec::new(),
                    told: vec![Load::default(); specs.len()],
                    is_due: false,
                    free_us: 0,
                })
                .collect(),
            keeping,
            messages: Vec::new(),
            plan: ChunkPlan::fixed(TOKENS_PER_CHUNK as u32 * 4),
            servers: (0..).zip(specs).map(|(seed, spec)| Server::new(*spec, seed)).collect(),
            queries,
            outcomes: vec![Outcome::default(); queries.len()],
            flights: vec![None; queries.len()],
            agenda,
            next,
            is_closed: matches!(arrivals, Arrivals::Closed(_)),
            visited: HashSet::new(),
        }
    }

    fn go(mut self) -> Vec<Outcome> {
        let mut began_us = vec![0; self.queries.len()];
        while let Some(Reverse((now_us, happening))) = self.agenda.pop() {
            let now = Duration::from_micros(now_us);
            match happening {
                Happening::Arrives(index) => {
                    began_us[index] = now_us;
                    self.send(index, now);
                }
                Happening::Tells(router) => self.tell(router, now_us),
                Happening::Hears(message) => self.hear(message, now),
                Happening::StepEnds(server) => {
                    for event in self.servers[server].end_step() {
                        match event {
                            Event::FirstToken(index) => {
                                self.outcomes[index].ttft_ms = (now_us - began_us[index]) as f64 / 1000.0;
                                let router = index % self.keeping.count;
                                self.routers[router].engine.first_token(self.flights[index].as_ref().unwrap(), now);
                                self.news(router, now_us);
                            }
                            Event::Ended(index) => {
                                self.outcomes[index].e2e_ms = (now_us - began_us[index]) as f64 / 1000.0;
                                let flight = self.flights[index].take().unwrap();
                                let router = index % self.keeping.count;
                                self.routers[router].engine.succeeded(&flight, now);
                                self.routers[router].engine.end(&flight);
                                self.news(router, now_us);
                                if self.is_closed && self.next < self.queries.len() {
                                    self.agenda.push(Reverse((now_us, Happening::Arrives(self.next))));
                                    self.next += 1;
                                }
                            }
                        }
                    }
                    self.step(server, now_us);
                }
            }
        }
        self.outcomes
    }

    fn send(&mut self, index: usize, now: Duration) {
        let query = &self.queries[index];
        let work = Work { prompt_tokens: query.tokens(), output_tokens: query.output_tokens, is_streamed: true };
        let prompt = Prompt { path: &query.path, plan: &self.plan, work };
        let router = index % self.keeping.count;
        let engine = &mut self.routers[router].engine;
        let Choice::Send(worker) = engine.choose(&prompt, &[], now) else { panic!("no policy here has a cap") };
        self.flights[index] = Some(engine.begin(worker, &prompt, now));
        engine.accepted(worker, &query.path);
        self.routers[router].unsaid.push((worker, index));
        self.news(router, now.as_micros() as u64);
        let WorkerIndex(worker) = worker;
        let server = usize::from(worker);
        let is_hit = !self.visited.insert((query.group, server));
        let cached_tokens = self.servers[server].cached_tokens(query);
        self.outcomes[index] = Outcome { worker: server, is_hit, cached_tokens, ..Outcome::default() };
        self.servers[server].enqueue(index, query);
        if !self.servers[server].is_stepping() {
            self.step(server, now.as_micros() as u64);
        }
    }

    /// A router has something to say, and says it at once after a pause.
    fn news(&mut self, router: usize, now_us: u64) {
        if self.keeping.count == 1 || self.routers[router].is_due {
            return;
        }
        self.routers[router].is_due = true;
        let saved_us = (self.keeping.burst - 1) * self.keeping.interval_us;
        let at_us = self.routers[router].free_us.saturating_sub(saved_us).max(now_us);
        self.agenda.push(Reverse((at_us, Happening::Tells(router))));
    }

    fn tell(&mut self, from: usize, now_us: u64) {
        let router = &mut self.routers[from];
        router.is_due = false;
        router.free_us = router.free_us.max(now_us) + self.keeping.interval_us;
        let now: Vec<Load> = router.engine.workers().iter().map(|worker| worker.own).collect();
        let before = std::mem::replace(&mut router.told, now.clone());
        let accepted = std::mem::take(&mut router.unsaid);
        let lessons = router.engine.take_lessons();
        self.agenda.push(Reverse((now_us + self.keeping.delay_us, Happening::Hears(self.messages.len()))));
        self.messages.push(Message { from, accepted, before, now, lessons });
    }

    fn hear(&mut self, message: usize, at: Duration) {
        let Message { from, accepted, before, now, lessons } = &self.messages[message];
        for (index, router) in self.routers.iter_mut().enumerate() {
            if index == *from {
                continue;
            }
            for (worker, (before, now)) in (0..).map(WorkerIndex).zip(before.iter().zip(now)) {
                router.engine.replace_load_of_others(worker, *before, *now, at);
            }
            lessons.iter().for_each(|lesson| router.engine.learn(lesson, at));
            for (worker, query) in accepted {
                let delta = Delta { worker: *worker, generation: 0, path: &self.queries[*query].path };
                router.engine.apply(&delta, News::Fresh);
            }
        }
    }

    fn step(&mut self, server: usize, now_us: u64) {
        if let Some(duration_us) = self.servers[server].begin_step() {
            self.agenda.push(Reverse((now_us + duration_us, Happening::StepEnds(server))));
        }
    }
}

/// The figures of what became of all requests.
pub fn figures(outcomes: &[Outcome], queries: &[Query], servers: usize) -> Figures {
    let count = outcomes.len() as f64;
    let mut requests = vec![0_usize; servers];
    outcomes.iter().for_each(|outcome| requests[outcome.worker] += 1);
    let sorted = |figure: fn(&Outcome) -> f64| {
        let mut all: Vec<f64> = outcomes.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let at = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let (e2e, ttft) = (sorted(|outcome| outcome.e2e_ms), sorted(|outcome| outcome.ttft_ms));
    let cached: u64 = outcomes.iter().map(|outcome| outcome.cached_tokens).sum();
    let asked: u64 = queries.iter().map(Query::tokens).sum();
    Figures {
        hit_requests: outcomes.iter().filter(|outcome| outcome.is_hit).count() as f64 / count,
        hit_tokens: cached as f64 / asked as f64,
        hotspot: *requests.iter().max().unwrap() as f64 * servers as f64 / count,
        mean_e2e_ms: e2e.iter().sum::<f64>() / count,
        p50_e2e_ms: at(&e2e, 0.5),
        p99_e2e_ms: at(&e2e, 0.99),
        p50_ttft_ms: at(&ttft, 0.5),
        p99_ttft_ms: at(&ttft, 0.99),
    }
}
