//! One step of a campaign: from the world to what is done about it. No client.

use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{
    files::run::{Reason, ReasonCode},
    plan::{
        Plan,
        next::{Action, Limits, Outcome, ServerState, Servers, Start, next},
    },
};

use super::{
    effect::Effect,
    observe::{
        attempts::{self, State, UnderWay},
        servers::{self, LASTING, Look, OpenArm, Seen, open_arms},
    },
    preflight::{Preflight, preflight},
    validate::{Refusal, accepted_plan},
    world::{Moment, Stored, World},
};
use crate::{
    operator::{
        build::{self, BuildError, Settings},
        labels, names,
    },
    store::ledger::{Entry, Event},
};

/// What is done in one pass, and what is told of it.
#[derive(Debug)]
pub struct Step {
    /// What is done, in order.
    pub effects: Vec<Effect>,
    /// How the campaign is.
    pub phase: Phase,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

/// How a campaign is.
#[derive(Debug)]
pub enum Phase {
    /// It cannot be run as it is.
    Refused(Refusal),
    /// It goes on, waits or is suspended.
    Active(Box<Active>),
    /// It has ended.
    Ended {
        /// The effective plan and the rest.
        active: Box<Active>,
        /// How.
        outcome: Outcome,
        /// A sentence for people.
        message: String,
    },
}

/// A campaign that was accepted.
#[derive(Debug)]
pub struct Active {
    /// The effective plan.
    pub plan: Plan,
    /// Digest of the plan as it was made.
    pub plan_sha256: String,
    /// What was found before servers were started.
    pub preflight: Preflight,
    /// The present servers.
    pub servers: Seen,
    /// Attempts under way.
    pub under_way: Vec<UnderWay>,
    /// The attempt that comes next, while its servers come up.
    pub upcoming: Option<Start>,
    /// What keeps it from going on, in a sentence.
    pub trouble: Option<String>,
}

/// Decides what to do.
///
/// # Errors
/// An object cannot be built from the plan.
pub fn decide(world: &World, settings: &Settings) -> Result<Step, BuildError> {
    let plan = match accepted_plan(world) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Step { effects: Vec::new(), phase: Phase::Refused(refusal), wake_at: None }),
    };
    Deciding::new(world, settings, plan).decide()
}

/// A step that is being decided.
struct Deciding<'a> {
    world: &'a World,
    settings: &'a Settings,
    stored: Stored,
    has_begun: bool,
    effects: Vec<Effect>,
    active: Active,
    wake_at: Option<Timestamp>,
}

impl<'a> Deciding<'a> {
    fn new(world: &'a World, settings: &'a Settings, plan: Plan) -> Self {
        let has_begun = world.stored.is_some();
        let stored = world.stored.as_deref().cloned().unwrap_or_else(|| Stored {
            plan_sha256: plan.digest(),
            plan,
            decisions: Vec::new(),
            ledger: Vec::new(),
            attempts: Vec::new(),
        });
        let plan = stored.effective();
        let sets: Vec<_> = world.children.sets.iter().map(AsRef::as_ref).collect();
        let pods: Vec<&Pod> = world.children.pods.iter().map(AsRef::as_ref).collect();
        let is_known = |pod: &Pod| {
            is_gateway(pod) || pod.uid().is_some_and(|uid| world.facts.contains_key(&uid))
        };
        let servers = servers::look(&Look {
            plan: &plan,
            ledger: &stored.ledger,
            sets: &sets,
            pods: &pods,
            is_known: &is_known,
            now: world.now,
        });
        let jobs: Vec<&Job> = world.children.jobs.iter().map(AsRef::as_ref).collect();
        let runs = world.children.runs.iter().map(AsRef::as_ref);
        let under_way = attempts::under_way(runs, &jobs, &pods, &stored.committed());
        let active = Active {
            preflight: preflight(&plan, world.nodes.as_deref()),
            trouble: servers.trouble.clone(),
            plan_sha256: stored.plan_sha256.clone(),
            plan,
            servers,
            under_way,
            upcoming: None,
        };
        Self { world, settings, stored, has_begun, effects: Vec::new(), wake_at: active.servers.wake_at, active }
    }

    fn decide(mut self) -> Result<Step, BuildError> {
        let due = std::mem::take(&mut self.active.servers.due);
        if !due.is_empty() {
            self.effects.push(Effect::Record(due));
        }
        self.settle_lost();
        if !self.effects.is_empty() {
            // What was just recorded changes what is seen; the pass that follows looks anew.
            self.wake_at = Some(self.world.now);
            return Ok(self.into_step(None));
        }
        self.break_off_without_servers();
        let end = self.act()?;
        if end.is_none() {
            self.announce()?;
            self.wake_before_the_deadline();
        }
        Ok(self.into_step(end))
    }

    fn into_step(self, end: Option<(Outcome, String)>) -> Step {
        let Self { effects, active, wake_at, .. } = self;
        let active = Box::new(active);
        let phase = match end {
            None => Phase::Active(active),
            Some((outcome, message)) => Phase::Ended { active, outcome, message },
        };
        Step { effects, phase, wake_at }
    }

    /// Attempts that ended without results are Failed or Interrupted, by the operator's own word.
    fn settle_lost(&mut self) {
        for UnderWay { attempt, epoch, state } in &self.active.under_way {
            if let State::Lost(reason) = state {
                let run = self.world.children.runs.iter().find(|run| run.spec.epoch == i64::try_from(*epoch).unwrap_or(i64::MAX));
                let index = |value: Option<u32>| value.map_or(0, |value| value as usize);
                let start = Start {
                    run: attempt.run.clone(),
                    attempt: attempt.attempt,
                    epoch: *epoch,
                    block: index(run.map(|run| run.spec.block)),
                    boot: index(run.map(|run| run.spec.boot)),
                    boot_generation: self.active.servers.servers.as_ref().map_or(1, |servers| servers.generation),
                };
                self.effects.push(Effect::Commit { start, reason: reason.clone() });
            }
        }
    }

    /// An attempt whose servers are lost ends now: what it would still measure is of no use.
    fn break_off_without_servers(&mut self) {
        if let Some(Servers { state: ServerState::Failed { reason }, .. }) = &self.active.servers.servers {
            let reason = Reason { code: ReasonCode::ServerDied, message: format!("{reason}, during the run") };
            self.break_off(&reason);
        }
    }

    fn break_off(&mut self, reason: &Reason) {
        for under_way in self.active.under_way.iter().filter(|under_way| matches!(under_way.state, State::Running(_))) {
            let name = names::attempt(&self.active.plan.campaign, under_way.epoch);
            self.effects.push(Effect::BreakOff { name, reason: reason.clone() });
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.world.now,
            limits: Limits::of(&self.world.campaign.spec),
            servers: self.active.servers.servers.clone(),
            running: self.active.under_way.first().map(|under_way| under_way.attempt.clone()),
        }
    }

    fn actions(&self, moment: Moment) -> Vec<Action> {
        next(&self.stored.plan, &self.stored.decisions, &self.stored.observed(moment))
    }

    /// Does what `next` says; gives the end of the campaign when it says that.
    fn act(&mut self) -> Result<Option<(Outcome, String)>, BuildError> {
        let mut actions = self.actions(self.moment());
        if let Some(servers) = self.download_that_failed(&actions) {
            self.active.trouble = Some(state_reason(&servers));
            actions = self.actions(Moment { servers: Some(servers), ..self.moment() });
        }
        for action in actions {
            match action {
                Action::Append(decision) => {
                    self.stored.decisions.push(decision.clone());
                    self.active.plan = self.stored.effective();
                    self.effects.push(Effect::Append(decision));
                }
                Action::Boot { boot, generation, arms } => self.boot(boot, generation, &arms)?,
                Action::Start(start) => self.launch(&start)?,
                Action::Fail { attempt, reason } => {
                    let run = build::run(&self.attempt_order(&attempt), false)?;
                    self.effects.push(Effect::Apply(Box::new(Resources { runs: vec![run], ..Resources::default() })));
                    self.effects.push(Effect::Commit { start: attempt, reason });
                    self.wake_at = Some(self.world.now);
                }
                Action::Interrupt => {
                    let reason = Reason { code: ReasonCode::Stopped, message: self.why_interrupted() };
                    self.break_off(&reason);
                }
                Action::StopServers { boot, arms } => self.stop_servers(boot, &arms),
                Action::Wait => {}
                Action::Finish { outcome, message } => {
                    if !self.is_published(outcome) {
                        self.effects.push(Effect::Publish { outcome, message: message.clone() });
                    }
                    return Ok(Some((outcome, message)));
                }
            }
        }
        Ok(None)
    }

    fn why_interrupted(&self) -> String {
        let spec = &self.world.campaign.spec;
        let why = match (spec.cancel, spec.suspend) {
            (true, _) => "the campaign was cancelled",
            (false, true) => "the campaign was suspended",
            (false, false) => "the campaign's deadline passed or its budget is spent",
        };
        why.to_owned()
    }
}
