//! Machines of its own: claimed before servers start, watched while a run is executed, given back at the end.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;
use teebench_api::files::run::{Reason, ReasonCode};

use super::{Deciding, LOOK_AGAIN};
use crate::{
    operator::{
        campaign::{effect::Effect, observe::attempts::State, world::World},
        machines::queue::{Claim, Holder, Turn},
    },
    preflight::{self, Catalogue},
};

/// Uids of the campaigns whose pods are rightly where they are: this one, and those that hold machines, for which it
/// waits in the queue.
pub(super) fn known(world: &World) -> BTreeSet<String> {
    let holders = world.queue.held.values().map(|holder| holder.uid.clone());
    holders.chain(world.campaign.uid()).collect()
}

impl Deciding<'_> {
    fn uid(&self) -> String {
        self.world.campaign.uid().unwrap_or_default()
    }

    fn claim_of(&self, machines: BTreeSet<String>) -> Claim {
        let campaign = &self.world.campaign;
        Claim {
            campaign: Holder {
                namespace: campaign.namespace().unwrap_or_default(),
                name: campaign.name_any(),
                uid: self.uid(),
            },
            priority: self.world.cluster.catalogue.as_ref().map_or(0, Catalogue::priority),
            since: campaign.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |created| created.0),
            machines,
        }
    }

    /// Whether all its machines are its own, or are with what was just decided. If not, it waits and says for whom; a
    /// campaign that could not start anyway keeps nobody waiting.
    pub(super) fn takes_its_machines(&mut self) -> bool {
        let nodes = self.world.cluster.nodes.as_deref().unwrap_or_default();
        let claim = self.claim_of(preflight::machines_of(&self.active.plan, nodes));
        match self.world.queue.turn(&claim) {
            Turn::Take(wanted) => {
                if !wanted.is_empty() {
                    self.effects.push(Effect::TakeMachines(claim));
                }
                true
            }
            Turn::Wait { behind, machines } => {
                let machines = machines.join(", ");
                self.active.queued =
                    Some(format!("waits for campaign {behind}, which has or is first to get {machines}"));
                self.claim = Some(claim);
                false
            }
        }
    }

    /// Whether nobody else is on the machines of its servers; those that a pool grew by since are taken too.
    pub(super) fn has_its_machines_alone(&mut self) -> bool {
        if let Some(foreign) = self.foreign_pods().first() {
            self.active.trouble = Some(format!("{foreign}, beside the campaign's servers; waits for its end"));
            self.wake_by(LOOK_AGAIN);
            return false;
        }
        let claim = self.claim_of(self.machines_in_use());
        match self.world.queue.turn(&claim) {
            Turn::Take(wanted) if !wanted.is_empty() && self.world.cluster.nodes.is_some() => {
                self.effects.push(Effect::TakeMachines(claim));
                true
            }
            Turn::Take(_) | Turn::Wait { .. } => true,
        }
    }

    /// A run beside which others use the GPUs measures both.
    pub(super) fn break_off_for_foreign_pods(&mut self) {
        let is_running = self.active.under_way.iter().any(|under_way| matches!(under_way.state, State::Running(_)));
        if let Some(foreign) = self.foreign_pods().first().filter(|_| is_running) {
            let reason = Reason { code: ReasonCode::ForeignGpuUse, message: format!("{foreign}, during the run") };
            self.break_off(&reason);
        }
    }

    /// A suspended campaign without servers keeps no machines.
    pub(super) fn give_back_while_suspended(&mut self) {
        let is_idle = self.active.servers.servers.is_none() && self.active.under_way.is_empty();
        if self.world.campaign.spec.suspend && is_idle {
            self.give_back();
        }
    }

    pub(super) fn give_back(&mut self) {
        if self.world.queue.holds(&self.uid()) {
            self.effects.push(Effect::GiveBackMachines);
        }
    }

    /// Machines on which its pods are.
    fn machines_in_use(&self) -> BTreeSet<String> {
        let servers =
            self.world.children.pods.iter().filter(|pod| pod.labels().contains_key(crate::operator::labels::ARM));
        servers.filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect()
    }

    fn foreign_pods(&self) -> Vec<String> {
        let Some(pods) = &self.world.cluster.gpu_pods else { return Vec::new() };
        preflight::foreign_gpu_pods(pods, &self.machines_in_use(), &BTreeSet::from([self.uid()]))
    }
}
