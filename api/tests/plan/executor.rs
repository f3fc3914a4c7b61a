//! A simulated executor: it does what `next` says, lets time pass, and breaks things on demand. At every step it checks
//! what an executor may rely on.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use teebench_api::{
    campaign::{Metric, Restart},
    files::run::{Reason, ReasonCode, Verdict},
    plan::{
        Plan, RunId,
        next::{
            Action, AttemptOutcome, AttemptRef, Decision, Limits, Log, Observed, Outcome, ServerState, Servers, Start,
            counted_attempts, effective, next,
        },
    },
};

/// What happens in one step of time, where it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Servers become ready, the run ends valid.
    Fine,
    /// The run ends inconclusive for want of evidence.
    NoEvidence,
    /// The run fails.
    LoadFails,
    /// A server ends: with the run when one runs.
    ServerDies,
    /// A server was replaced: the run ends inconclusive.
    ServerRestarts,
    /// The executor ends and starts again; servers and run are gone.
    Crash,
    /// The campaign is suspended for some steps.
    Suspend,
    /// Nothing happens yet.
    Slow,
}

const STEP: SignedDuration = SignedDuration::from_secs(10);
const STEPS_SUSPENDED: u32 = 4;

type Value = fn(&RunId, Metric) -> f64;

/// An executor and its world.
pub struct World {
    pub plan: Plan,
    pub observed: Observed,
    pub decisions: Vec<Decision>,
    /// All actions so far, without waiting.
    pub actions: Vec<Action>,
    pub running: Option<Start>,
    /// The metrics of a run.
    pub value: Value,
    /// Money that a step with servers costs.
    pub price_of_step: Decimal,
    suspended_steps: u32,
}

impl World {
    pub fn new(plan: Plan, limits: Limits) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let observed = Observed {
            now,
            started_at: None,
            limits,
            scope: None,
            servers: None,
            running: None,
            attempts: Vec::new(),
            spent: None,
        };
        Self {
            plan,
            observed,
            decisions: Vec::new(),
            actions: Vec::new(),
            running: None,
            value: |_, _| 100.0,
            price_of_step: Decimal::ZERO,
            suspended_steps: 0,
        }
    }

    /// Asks `next`, does what it says and lets a step of time pass with an event. The outcome when it has ended.
    pub fn step(&mut self, event: Event) -> Option<Outcome> {
        let actions = next(&self.plan, &self.decisions, &self.observed);
        assert!(!actions.is_empty());
        if actions.iter().any(|action| matches!(action, Action::Append(_))) {
            assert_eq!(actions, next(&self.plan, &self.replayed(), &self.observed), "decisions replay");
        }
        for action in actions {
            if let Action::Finish { outcome, .. } = action {
                assert!(self.running.is_none() && self.observed.servers.is_none(), "nothing is left behind");
                return Some(outcome);
            }
            self.perform(action);
        }
        self.pass(event);
        None
    }

    /// Steps until the end with the events given, then with fine ones.
    pub fn run_to_end(&mut self, events: impl IntoIterator<Item = Event>) -> Outcome {
        let mut events = events.into_iter();
        for _ in 0..20_000 {
            if let Some(outcome) = self.step(events.next().unwrap_or(Event::Fine)) {
                return outcome;
            }
        }
        panic!("no end; last actions {:?}", &self.actions[self.actions.len().saturating_sub(20)..]);
    }

    /// The decisions as their file gives them back.
    fn replayed(&self) -> Vec<Decision> {
        let text: String = self.decisions.iter().map(Decision::to_line).collect();
        let log = Log::read(&self.plan, text.as_bytes()).unwrap();
        assert_eq!(log.bytes, text.len());
        log.decisions
    }

    fn perform(&mut self, action: Action) {
        match &action {
            Action::Append(decision) => self.decisions.push(decision.clone()),
            Action::Boot { boot, generation, arms } => {
                assert_eq!(self.observed.servers, None, "one set of servers at a time");
                assert!(!arms.is_empty());
                self.observed.started_at.get_or_insert(self.observed.now);
                self.observed.servers = Some(Servers {
                    boot: *boot,
                    generation: *generation,
                    arms: arms.clone(),
                    state: ServerState::Starting,
                });
            }
            Action::Start(start) => self.start(start),
            Action::Fail { attempt, reason } => {
                let reasons = vec![reason.clone()];
                self.end(attempt, Verdict::Failed, reasons);
            }
            Action::Interrupt => {
                let start = self.running.take().expect("something runs");
                self.observed.running = None;
                self.end(&start, Verdict::Interrupted, vec![reason(ReasonCode::Stopped)]);
            }
            Action::StopServers { boot, arms } => {
                assert!(self.running.is_none(), "nothing is stopped under a run");
                let servers = self.observed.servers.as_mut().expect("servers are there");
                assert_eq!(servers.boot, *boot);
                servers.arms.retain(|arm| !arms.contains(arm));
                if servers.arms.is_empty() {
                    servers.state = ServerState::Stopping;
                }
            }
            Action::Wait => return,
            Action::Finish { .. } => unreachable!("handled by the caller"),
        }
        self.actions.push(action);
    }

    fn start(&mut self, start: &Start) {
        assert!(self.running.is_none(), "one run at a time");
        let servers = self.observed.servers.as_ref().expect("a run needs servers");
        assert_eq!(servers.state, ServerState::Ready);
        assert_eq!((servers.boot, servers.generation), (start.boot, start.boot_generation));
        assert!(servers.arms.contains(&start.run.arm));
        let plan = effective(&self.plan, &self.decisions);
        let block = &plan.blocks[start.block];
        let planned = block.runs.iter().find(|run| plan.run_id(block, run).as_ref() == Some(&start.run));
        assert_eq!(planned.map(|run| run.boot), Some(start.boot), "indices are those of the effective plan");
        let counted = counted_attempts(&self.plan, &self.decisions, &self.observed.attempts);
        assert!(!counted.iter().any(|attempt| attempt.run == start.run), "{} is valid already", start.run);
        if plan.spec.engine.restart == Restart::Run {
            let used = self.observed.attempts.iter();
            assert!(!used.into_iter().any(|a| (a.boot, a.boot_generation) == (start.boot, start.boot_generation)));
        }
        self.observed.running = Some(AttemptRef { run: start.run.clone(), attempt: start.attempt });
        self.running = Some(start.clone());
    }

    fn end(&mut self, start: &Start, verdict: Verdict, reasons: Vec<Reason>) {
        let id = AttemptRef { run: start.run.clone(), attempt: start.attempt };
        for other in &self.observed.attempts {
            assert!(other.id != id, "{}a{} is there already", id.run, id.attempt);
            assert!(other.epoch < start.epoch, "epochs rise");
        }
        let metrics = [Metric::OutputThroughput, Metric::MedianTtft];
        let metrics: BTreeMap<Metric, f64> = metrics.map(|metric| (metric, (self.value)(&start.run, metric))).into();
        self.observed.attempts.push(AttemptOutcome {
            id,
            epoch: start.epoch,
            boot: start.boot,
            boot_generation: start.boot_generation,
            verdict,
            reasons,
            seconds: 10.0,
            metrics: if verdict == Verdict::Valid { metrics } else { BTreeMap::new() },
        });
    }

    fn end_running(&mut self, verdict: Verdict, codes: &[ReasonCode]) {
        if let Some(start) = self.running.take() {
            self.observed.running = None;
            self.end(&start, verdict, codes.iter().copied().map(reason).collect());
        }
    }

    fn pass(&mut self, event: Event) {
        self.observed.now += STEP;
        if self.observed.servers.is_some() && !self.price_of_step.is_zero() {
            *self.observed.spent.get_or_insert_default() += self.price_of_step;
        }
        if self.suspended_steps > 0 {
            self.suspended_steps -= 1;
            self.observed.limits.suspended = self.suspended_steps > 0;
        }
        match event {
            Event::Slow => return,
            Event::Suspend => {
                self.suspended_steps = STEPS_SUSPENDED;
                self.observed.limits.suspended = true;
                return;
            }
            Event::Crash => {
                self.end_running(Verdict::Interrupted, &[ReasonCode::Stopped]);
                self.observed.servers = None;
                return;
            }
            Event::Fine | Event::NoEvidence | Event::LoadFails | Event::ServerDies | Event::ServerRestarts => {}
        }
        match event {
            Event::NoEvidence => self.end_running(Verdict::Inconclusive, &[ReasonCode::Evidence]),
            Event::LoadFails => self.end_running(Verdict::Failed, &[ReasonCode::LoadFailed]),
            Event::ServerDies => self.end_running(Verdict::Failed, &[ReasonCode::ServerDied]),
            Event::ServerRestarts => self.end_running(Verdict::Inconclusive, &[ReasonCode::ServerRestarted]),
            Event::Fine | Event::Crash | Event::Suspend | Event::Slow => self.end_running(Verdict::Valid, &[]),
        }
        let dies = matches!(event, Event::ServerDies | Event::ServerRestarts);
        let Some(servers) = &mut self.observed.servers else { return };
        match servers.state {
            ServerState::Stopping => self.observed.servers = None,
            ServerState::Starting | ServerState::Ready if dies => {
                servers.state = ServerState::Failed { reason: String::from("server 0 ended") };
            }
            ServerState::Starting => servers.state = ServerState::Ready,
            ServerState::Ready | ServerState::Failed { .. } => {}
        }
    }

    /// Runs that count, in the order of their names.
    pub fn counted(&self) -> Vec<RunId> {
        let counted = counted_attempts(&self.plan, &self.decisions, &self.observed.attempts);
        counted.into_iter().map(|attempt| attempt.run).collect()
    }

    /// Starts and their numbers, for tables: `arm-0/router-0/r1a1`.
    pub fn starts(&self) -> Vec<String> {
        let starts = self.actions.iter().filter_map(|action| match action {
            Action::Start(start) => Some(format!("{}/r{}a{}", start.run.arm, start.run.repetition, start.attempt)),
            _ => None,
        });
        starts.collect()
    }
}

fn reason(code: ReasonCode) -> Reason {
    Reason { code, message: format!("{code:?}") }
}
