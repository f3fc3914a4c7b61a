//! A fleet of simulated servers in virtual time, behind the real engine: continuous batching in steps, a prefix cache
//! each, arrivals in an open or a closed loop. Deterministic, and thousands of times faster than real time.

#![allow(dead_code, reason = "tests and the bench each use their part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod load;
pub mod server;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

use serde_json::Value;
use teebench_router::policy::settings::PolicySettings;
use teebench_router::policy::{Choice, Engine, Flight, Prompt, Work};
use teebench_router::tree::WorkerIndex;
use teebench_router::tree::chunk::ChunkPlan;

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
    let outcomes = Run::new(policy, specs, queries, arrivals).go();
    figures(&outcomes, queries, specs.len())
}

struct Run<'a> {
    engine: Engine,
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
    Arrives(usize),
}

impl<'a> Run<'a> {
    fn new(policy: &Value, specs: &[ServerSpec], queries: &'a [Query], arrivals: Arrivals) -> Self {
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
            engine: Engine::new(&settings, names.iter().map(String::as_str), 1, 0),
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
                Happening::StepEnds(server) => {
                    for event in self.servers[server].end_step() {
                        match event {
                            Event::FirstToken(index) => {
                                self.outcomes[index].ttft_ms = (now_us - began_us[index]) as f64 / 1000.0;
                                self.engine.first_token(self.flights[index].as_ref().unwrap(), now);
                            }
                            Event::Ended(index) => {
                                self.outcomes[index].e2e_ms = (now_us - began_us[index]) as f64 / 1000.0;
                                let flight = self.flights[index].take().unwrap();
                                self.engine.succeeded(&flight, now);
                                self.engine.end(&flight);
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
        let Choice::Send(worker) = self.engine.choose(&prompt, &[], now) else { panic!("no policy here has a cap") };
        self.flights[index] = Some(self.engine.begin(worker, &prompt, now));
        self.engine.accepted(worker, &query.path);
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

    fn step(&mut self, server: usize, now_us: u64) {
        if let Some(duration_us) = self.servers[server].begin_step() {
            self.agenda.push(Reverse((now_us + duration_us, Happening::StepEnds(server))));
        }
    }
}

fn figures(outcomes: &[Outcome], queries: &[Query], servers: usize) -> Figures {
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
