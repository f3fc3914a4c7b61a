//! One step of a campaign: from the world to what is done about it. No client.

mod attempt;
mod boot;
mod exclusive;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{
    conditions::types,
    files::run::{Reason, ReasonCode},
    plan::{
        Plan,
        next::{Action, Limits, Outcome, ServerState, Servers, next},
    },
};

use super::{
    effect::Effect,
    observe::{
        attempts::{self, UnderWay},
        servers::{self, Look, Seen},
    },
    validate::{Refusal, accepted_plan},
    world::{Moment, Stored, World},
};
use crate::{
    executor::{self, Parity},
    operator::{
        build::{BuildError, Owner, Settings},
        labels::{self, Component},
        machines::queue::Claim,
        resources::Resources,
    },
    preflight::{Preflight, preflight},
};

/// How soon to look again for what no watch tells: nodes, another campaign's download, a namesake that is going.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// What is done in one pass, and what is told of it.
#[derive(Debug)]
pub struct Step {
    /// What is done, in order.
    pub effects: Vec<Effect>,
    /// How the campaign is.
    pub phase: Phase,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// The machines that it waits for.
    pub claim: Option<Claim>,
    /// Whether it does no more than to record what has happened. The pass that follows at once decides, and tells.
    pub only_records: bool,
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
    /// How the arms compare, once all their machines are known.
    pub parity: Option<Parity>,
    /// What keeps it from going on, in a sentence.
    pub trouble: Option<String>,
    /// For whom it waits, in a sentence, while another has its machines.
    pub queued: Option<String>,
}

/// Decides what to do.
///
/// # Errors
/// An object cannot be built from the plan.
pub fn decide(world: &World, settings: &Settings) -> Result<Step, BuildError> {
    let plan = match accepted_plan(world) {
        Ok(plan) => plan,
        Err(refusal) => {
            return Ok(Step {
                effects: Vec::new(),
                phase: Phase::Refused(refusal),
                wake_at: None,
                claim: None,
                only_records: false,
            });
        }
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
    claim: Option<Claim>,
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
        let is_known = |pod: &Pod| is_gateway(pod) || pod.uid().is_some_and(|uid| world.facts.contains_key(&uid));
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
        let parity = matches!(&servers.servers, Some(Servers { state: ServerState::Ready, .. })).then(|| {
            let facts: Vec<_> = world.facts.values().map(|facts| facts.compared.clone()).collect();
            let factor = plan.spec.comparison.map(|comparison| comparison.factor).unwrap_or_default();
            executor::compare(&facts, factor, &plan.spec.parity.allow)
        });
        let active = Active {
            preflight: preflight(&plan, &world.cluster, &exclusive::known(world)),
            trouble: servers.trouble.clone(),
            plan_sha256: stored.plan_sha256.clone(),
            plan,
            servers,
            under_way,
            parity,
            queued: None,
        };
        let wake_at = active.servers.wake_at;
        Self { world, settings, stored, has_begun, effects: Vec::new(), active, wake_at, claim: None }
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
            return Ok(Step { only_records: true, ..self.into_step(None) });
        }
        self.break_off_without_servers();
        self.break_off_for_foreign_pods();
        let end = self.act()?;
        if end.is_none() {
            self.announce()?;
            self.wake_before_the_deadline();
        }
        Ok(self.into_step(end))
    }

    fn into_step(self, end: Option<(Outcome, String)>) -> Step {
        let Self { world: _, settings: _, stored: _, has_begun: _, effects, active, wake_at, claim } = self;
        let active = Box::new(active);
        let phase = match end {
            None => Phase::Active(active),
            Some((outcome, message)) => Phase::Ended { active, outcome, message },
        };
        Step { effects, phase, wake_at, claim, only_records: false }
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
        if let Some(servers) = self.download_that_failed(&actions)? {
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
                Action::Start(start) => {
                    if self.has_its_machines_alone() {
                        self.launch(&start)?;
                    }
                }
                Action::Fail { attempt, reason } => {
                    let run = self.attempt_objects(&attempt)?.run;
                    self.effects.push(Effect::Apply(Box::new(Resources { runs: vec![run], ..Resources::default() })));
                    self.effects.push(Effect::Commit { start: attempt, reason });
                    self.wake_at = Some(self.world.now);
                }
                Action::Interrupt => {
                    let reason = Reason { code: ReasonCode::Stopped, message: self.why_interrupted() };
                    self.break_off(&reason);
                }
                Action::StopServers { boot, arms } => self.stop_servers(boot, &arms)?,
                Action::Wait => self.give_back_while_suspended(),
                Action::Finish { outcome, message } => {
                    if !self.is_published(outcome) {
                        self.effects.push(Effect::Publish { outcome, message: message.clone() });
                    }
                    self.give_back();
                    return Ok(Some((outcome, message)));
                }
            }
        }
        Ok(None)
    }

    fn owner(&self) -> Owner<'a> {
        let metadata = &self.world.campaign.metadata;
        Owner {
            name: metadata.name.as_deref().unwrap_or_default(),
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref().unwrap_or_default(),
        }
    }

    fn wake_by(&mut self, after: SignedDuration) {
        if let Ok(at) = self.world.now.checked_add(after) {
            self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
        }
    }

    fn wake_before_the_deadline(&mut self) {
        let started = self.stored.ledger.first().map(|entry| entry.at);
        let seconds = self.world.campaign.spec.deadline_seconds;
        if let (Some(started), Some(seconds)) = (started, seconds) {
            let left = started.as_second() + i64::from(seconds) - self.world.now.as_second();
            self.wake_by(SignedDuration::from_secs(left.max(1)));
        }
    }

    /// Whether the end was told already, and of the same plan and outcome.
    fn is_published(&self, outcome: Outcome) -> bool {
        let Some(status) = &self.world.campaign.status else { return false };
        let told = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == types::SUCCEEDED && condition.reason == outcome.name());
        told && status.completion_time.is_some()
    }
}

fn is_gateway(pod: &Pod) -> bool {
    pod.labels().get(labels::COMPONENT).is_some_and(|name| name == Component::Gateway.name())
}
