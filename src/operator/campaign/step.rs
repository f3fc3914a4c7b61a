//! One step of a campaign: from the world to what is done about it. No client.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{
    conditions::types,
    files::{
        inputs::{GatewayInput, ServerInput},
        run::{Reason, ReasonCode},
    },
    plan::{
        Plan,
        next::{Action, Limits, Outcome, ServerState, Servers, Start, next},
    },
};

use super::{
    effect::{Effect, SetNames},
    observe::{
        attempts::{self, End, State, UnderWay},
        pods,
        servers::{self, Look, OpenArm, Seen, open_arms},
    },
    preflight::{Preflight, preflight},
    validate::{Refusal, accepted_plan},
    world::{Moment, Stored, World},
};
use crate::{
    executor::{self, InputsOrder, Parity},
    operator::{
        build::{
            self, AttemptObjects, AttemptOrder, BootObjects, BootOrder, BuildError, Owner, ServerSeen, Settings,
            WeightsOrder,
        },
        labels::{self, Component},
        names,
        resources::Resources,
    },
    store::ledger::{Entry, Event},
};

/// How soon to look again for what no watch tells: nodes, another campaign's download, a namesake that is going.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// Label of a Job's pods with the Job's name.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

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
    /// How the arms compare, once all their machines are known.
    pub parity: Option<Parity>,
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
            preflight: preflight(&plan, world.nodes.as_deref()),
            trouble: servers.trouble.clone(),
            plan_sha256: stored.plan_sha256.clone(),
            plan,
            servers,
            under_way,
            parity,
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
                let run = self
                    .world
                    .children
                    .runs
                    .iter()
                    .find(|run| run.spec.epoch == i64::try_from(*epoch).unwrap_or(i64::MAX));
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
                Action::Start(start) => self.launch(&start)?,
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

    /// Starts servers, after what they need is there: nodes first, then weights.
    fn boot(&mut self, boot: usize, generation: u32, arms: &[String]) -> Result<(), BuildError> {
        if let Preflight::Missing { message, .. } = &self.active.preflight {
            self.active.trouble = Some(message.clone());
            self.wake_by(LOOK_AGAIN);
            return Ok(());
        }
        if self.world.children.has_leftovers {
            self.active.trouble = Some("objects of a deleted campaign of this name are still going".into());
            self.wake_by(LOOK_AGAIN);
            return Ok(());
        }
        match self.download(boot)? {
            Download::Done => {}
            Download::Missing(job) => {
                self.active.trouble = Some(format!("weights of model {} are to be downloaded", self.model(boot)));
                self.effects.push(Effect::Apply(Box::new(Resources { jobs: vec![*job], ..Resources::default() })));
                return Ok(());
            }
            Download::Running(trouble) | Download::Failed(trouble) => {
                self.active.trouble = Some(trouble);
                self.wake_by(LOOK_AGAIN);
                return Ok(());
            }
        }
        let objects = build::boot(&BootOrder {
            plan: &self.active.plan,
            owner: self.owner(),
            settings: self.settings,
            boot,
            generation,
            arms,
        })?;
        if !self.has_begun {
            self.effects.push(Effect::Begin(Box::new(self.stored.plan.clone())));
        }
        let started =
            |arm: &String| Entry { boot, generation, arm: arm.clone(), event: Event::Started, at: self.world.now };
        self.effects.push(Effect::Record(arms.iter().map(started).collect()));
        let BootObjects { services, stateful_sets, gateways } = objects;
        let resources = Resources { services, stateful_sets, deployments: gateways, ..Resources::default() };
        self.effects.push(Effect::Apply(Box::new(resources)));
        Ok(())
    }

    fn model(&self, boot: usize) -> &str {
        self.active.plan.boots.get(boot).map_or("", |boot| boot.model.as_str())
    }

    fn owner(&self) -> Owner<'a> {
        let metadata = &self.world.campaign.metadata;
        Owner {
            name: metadata.name.as_deref().unwrap_or_default(),
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref().unwrap_or_default(),
        }
    }

    /// How the download of a boot's weights is; one that is not needed is done.
    fn download(&self, boot: usize) -> Result<Download, BuildError> {
        let order = WeightsOrder {
            plan: &self.active.plan,
            owner: self.owner(),
            settings: self.settings,
            model: self.model(boot),
        };
        let Some(job) = build::weights(&order)? else { return Ok(Download::Done) };
        let name = job.name_any();
        let Some(present) = self.world.children.downloads.iter().find(|known| known.name_any() == name) else {
            return Ok(Download::Missing(Box::new(job)));
        };
        let of_job = |pod: &&Pod| pod.labels().get(JOB_NAME) == Some(&name);
        let pods = self.world.children.pods.iter().map(AsRef::as_ref);
        let trouble = pods.filter(of_job).find_map(|pod| pods::trouble(pod, &[])).map(|trouble| trouble.message);
        Ok(match attempts::ended(present) {
            _ if present.metadata.deletion_timestamp.is_some() => {
                Download::Running(format!("download {name} is going"))
            }
            None => Download::Running(
                trouble.unwrap_or_else(|| format!("weights of model {} are being downloaded", self.model(boot))),
            ),
            Some(End::Complete) => Download::Done,
            Some(End::Deadline) => Download::Failed(format!("download {name}: not done within its deadline")),
            Some(End::Failed(message)) => Download::Failed(trouble.unwrap_or(message)),
        })
    }

    /// Servers whose weights cannot be had did not come up, as `next` sees it.
    fn download_that_failed(&self, actions: &[Action]) -> Result<Option<Servers>, BuildError> {
        let Some(Action::Boot { boot, generation, arms }) = actions.last() else { return Ok(None) };
        Ok(match self.download(*boot)? {
            Download::Failed(reason) => Some(Servers {
                boot: *boot,
                generation: *generation,
                arms: arms.clone(),
                state: ServerState::Failed { reason },
            }),
            Download::Done | Download::Missing(_) | Download::Running(_) => None,
        })
    }

    fn stop_servers(&mut self, boot: usize, arms: &[String]) -> Result<(), BuildError> {
        let open = open_arms(&self.stored.ledger);
        let open: Vec<&OpenArm> = open.iter().filter(|open| arms.contains(&open.arm)).collect();
        if open.is_empty() {
            // They were never started: their download failed, and is tried anew by the next generation.
            let order = WeightsOrder {
                plan: &self.active.plan,
                owner: self.owner(),
                settings: self.settings,
                model: self.model(boot),
            };
            if let Some(job) = build::weights(&order)? {
                self.effects.push(Effect::DeleteDownload(job.name_any()));
            }
            return Ok(());
        }
        let campaign = &self.active.plan.campaign;
        let names = open.iter().map(|OpenArm { arm, boot, generation, .. }| SetNames {
            servers: names::servers(campaign, arm, *boot, *generation),
            gateways: names::gateways(campaign, arm, *boot, *generation),
        });
        self.effects.push(Effect::StopServers(names.collect()));
        Ok(())
    }

    /// Starts an attempt on the servers of its arm.
    fn launch(&mut self, start: &Start) -> Result<(), BuildError> {
        let AttemptObjects { run, config_map, job } = self.attempt_objects(start)?;
        let (runs, config_maps, jobs) = (vec![run], vec![config_map], vec![job]);
        self.effects.push(Effect::Launch(Box::new(Resources { runs, config_maps, jobs, ..Resources::default() })));
        Ok(())
    }

    fn attempt_objects(&self, start: &Start) -> Result<AttemptObjects, BuildError> {
        let plan = &self.active.plan;
        let broken = self.active.parity.as_ref().map(|parity| parity.broken.clone()).unwrap_or_default();
        let inputs = executor::inputs(InputsOrder {
            plan,
            plan_sha256: &self.active.plan_sha256,
            start,
            salt: hex::encode(rand::random::<[u8; 32]>()),
            foreign_routers: &BTreeMap::new(),
            servers: self.server_inputs(start)?,
            gateways: self.gateway_inputs(start),
            parity_broken: &broken,
        });
        build::attempt(&AttemptOrder {
            owner: self.owner(),
            settings: self.settings,
            load_generator: &plan.spec.load_generator,
            inputs: &inputs.ok_or_else(|| BuildError::UnknownArm(start.run.arm.clone()))?,
        })
    }

    fn pods_of(&self, start: &Start, component: Component) -> Vec<&'a Pod> {
        let open = open_arms(&self.stored.ledger).into_iter().find(|open| open.arm == start.run.arm);
        let is_component = |pod: &Pod| pod.labels().get(labels::COMPONENT).is_some_and(|name| name == component.name());
        let pods = self.world.children.pods.iter().map(AsRef::as_ref);
        let mut pods: Vec<&Pod> =
            pods.filter(|pod| is_component(pod) && open.as_ref().is_some_and(|open| open.has(pod))).collect();
        pods.sort_by_key(|pod| (ordinal(pod), pod.name_any()));
        pods
    }

    fn server_inputs(&self, start: &Start) -> Result<Vec<ServerInput>, BuildError> {
        let facts = build::engine_facts(&self.active.plan, start.boot, &start.run.arm)?;
        let with_router = build::uses_sidecars(&self.active.plan);
        let seen = self.pods_of(start, Component::Server).into_iter().filter_map(|pod| {
            let uid = pod.metadata.uid.as_deref()?;
            Some(build::server_input(&ServerSeen {
                ordinal: ordinal(pod),
                uid,
                ip: address(pod)?,
                with_router,
                ready_seconds: self.world.facts.get(uid).and_then(|facts| facts.ready_seconds),
                facts: &facts,
                idle: self.active.servers.idle,
            }))
        });
        Ok(seen.collect())
    }

    fn gateway_inputs(&self, start: &Start) -> Vec<GatewayInput> {
        self.pods_of(start, Component::Gateway).into_iter().filter_map(address).map(build::gateway_input).collect()
    }

    /// While servers come up, the attempt that they come up for is shown, so that its trouble has a place.
    fn announce(&mut self) -> Result<(), BuildError> {
        let is_up = matches!(&self.active.servers.servers, Some(Servers { state: ServerState::Ready, .. }));
        if is_up || !self.active.under_way.is_empty() || self.world.campaign.spec.suspend {
            return Ok(());
        }
        let Some(start) = self.upcoming() else { return Ok(()) };
        let run = self.attempt_objects(&start)?.run;
        let is_there = self.world.children.runs.iter().any(|known| known.name_any() == run.name_any());
        if !is_there {
            self.effects.push(Effect::Apply(Box::new(Resources { runs: vec![run], ..Resources::default() })));
        }
        Ok(())
    }

    /// The attempt that `next` would start if the servers that are to come were up.
    fn upcoming(&self) -> Option<Start> {
        let moment = self.moment();
        let servers = match &moment.servers {
            Some(servers) => Servers { state: ServerState::Ready, ..servers.clone() },
            None => self.actions(moment.clone()).into_iter().find_map(|action| match action {
                Action::Boot { boot, generation, arms } => {
                    Some(Servers { boot, generation, arms, state: ServerState::Ready })
                }
                _ => None,
            })?,
        };
        let actions = self.actions(Moment { servers: Some(servers), ..moment });
        actions.into_iter().find_map(|action| match action {
            Action::Start(start) => Some(start),
            _ => None,
        })
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

/// How the download of a boot's weights is.
enum Download {
    /// They are there, or none are needed.
    Done,
    /// Nobody downloads them yet.
    Missing(Box<Job>),
    /// They are being downloaded; what people are told of it.
    Running(String),
    /// They could not be downloaded.
    Failed(String),
}

fn is_gateway(pod: &Pod) -> bool {
    pod.labels().get(labels::COMPONENT).is_some_and(|name| name == Component::Gateway.name())
}

/// A pod's ordinal in its StatefulSet, by its name.
fn ordinal(pod: &Pod) -> u32 {
    pod.name_any().rsplit('-').next().and_then(|last| last.parse().ok()).unwrap_or(0)
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}
