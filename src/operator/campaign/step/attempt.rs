//! Attempts: shown while their servers come up, launched on them, told to end, settled when they left nothing.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use teebench_api::{
    files::{
        inputs::{GatewayInput, ServerInput},
        run::{Reason, ReasonCode},
    },
    plan::next::{Action, ServerState, Servers, Start},
};

use super::Deciding;
use crate::{
    executor::{self, InputsOrder},
    operator::{
        build::{self, AttemptObjects, AttemptOrder, BuildError, ServerSeen},
        campaign::{
            effect::Effect,
            observe::{
                attempts::{State, UnderWay},
                servers::open_arms,
            },
            world::Moment,
        },
        labels::{self, Component},
        names,
        resources::Resources,
    },
};

impl<'a> Deciding<'a> {
    /// Attempts that ended without results are Failed or Interrupted, by the operator's own word.
    pub(super) fn settle_lost(&mut self) {
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
    pub(super) fn break_off_without_servers(&mut self) {
        if let Some(Servers { state: ServerState::Failed { reason }, .. }) = &self.active.servers.servers {
            let reason = Reason { code: ReasonCode::ServerDied, message: format!("{reason}, during the run") };
            self.break_off(&reason);
        }
    }

    pub(super) fn break_off(&mut self, reason: &Reason) {
        for under_way in self.active.under_way.iter().filter(|under_way| matches!(under_way.state, State::Running(_))) {
            let name = names::attempt(&self.active.plan.campaign, under_way.epoch);
            self.effects.push(Effect::BreakOff { name, reason: reason.clone() });
        }
    }

    pub(super) fn why_interrupted(&self) -> String {
        let spec = &self.world.campaign.spec;
        let why = match (spec.cancel, spec.suspend) {
            (true, _) => "the campaign was cancelled",
            (false, true) => "the campaign was suspended",
            (false, false) => "the campaign's deadline passed or its budget is spent",
        };
        why.to_owned()
    }

    /// Starts an attempt on the servers of its arm.
    pub(super) fn launch(&mut self, start: &Start) -> Result<(), BuildError> {
        let AttemptObjects { run, config_map, job } = self.attempt_objects(start)?;
        let (runs, config_maps, jobs) = (vec![run], vec![config_map], vec![job]);
        self.effects.push(Effect::Launch(Box::new(Resources { runs, config_maps, jobs, ..Resources::default() })));
        Ok(())
    }

    pub(super) fn attempt_objects(&self, start: &Start) -> Result<AttemptObjects, BuildError> {
        let plan = &self.active.plan;
        let broken = self.active.parity.as_ref().map(|parity| parity.broken.clone()).unwrap_or_default();
        let inputs = executor::inputs(InputsOrder {
            plan,
            plan_sha256: &self.active.plan_sha256,
            start,
            salt: hex::encode(rand::random::<[u8; 32]>()),
            foreign_routers: &BTreeMap::new(),
            dataset_path: build::dataset_path(plan, start),
            references: build::references_directory(plan, &start.run.arm),
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

    pub(super) fn pods_of(&self, start: &Start, component: Component) -> Vec<&'a Pod> {
        let open = open_arms(&self.stored.ledger).into_iter().find(|open| open.arm == start.run.arm);
        let is_component = |pod: &Pod| pod.labels().get(labels::COMPONENT).is_some_and(|name| name == component.name());
        let pods = self.world.children.pods.iter().map(AsRef::as_ref);
        let mut pods: Vec<&Pod> =
            pods.filter(|pod| is_component(pod) && open.as_ref().is_some_and(|open| open.has(pod))).collect();
        pods.sort_by_key(|pod| (ordinal(pod), pod.name_any()));
        pods
    }

    pub(super) fn server_inputs(&self, start: &Start) -> Result<Vec<ServerInput>, BuildError> {
        let service = self.active.plan.arm(&start.run.arm).and_then(|arm| arm.service_ref.as_ref());
        if let Some(service) = service {
            return Ok(vec![executor::existing_server(service, None)]);
        }
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
                cpu: self.world.facts.get(uid).and_then(|facts| facts.cpu.as_deref()),
            }))
        });
        Ok(seen.collect())
    }

    pub(super) fn gateway_inputs(&self, start: &Start) -> Vec<GatewayInput> {
        self.pods_of(start, Component::Gateway).into_iter().filter_map(address).map(build::gateway_input).collect()
    }

    /// While servers come up, the attempt that they come up for is shown, so that its trouble has a place.
    pub(super) fn announce(&mut self) -> Result<(), BuildError> {
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
    pub(super) fn upcoming(&self) -> Option<Start> {
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
}

/// A pod's ordinal in its StatefulSet, by its name.
fn ordinal(pod: &Pod) -> u32 {
    pod.name_any().rsplit('-').next().and_then(|last| last.parse().ok()).unwrap_or(0)
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}
