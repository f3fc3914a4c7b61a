//! One boot: for each arm a StatefulSet of servers with its headless Service, and gateways where a policy wants them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy},
        core::v1::{Service, ServicePort, ServiceSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use teebench_api::{
    campaign::{Arm, EngineSettings, Model},
    plan::{Boot, Plan},
    policy::Topology,
};

use super::{
    BuildError, ENGINE_PORT, MEETING_PORT, Owner, PROBE_PORT, Settings,
    router::{self, gateway_count, gateways, selector},
    server,
};
use crate::{
    executor::description,
    operator::{
        labels::{self, Component},
        names,
    },
};

/// Label by which Kueue admits a StatefulSet's pods.
const KUEUE_QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// What is to be booted.
#[derive(Clone, Copy, Debug)]
pub struct BootOrder<'a> {
    /// The effective plan.
    pub plan: &'a Plan,
    /// The campaign.
    pub owner: Owner<'a>,
    /// What the operator was told.
    pub settings: &'a Settings,
    /// Index of the boot.
    pub boot: usize,
    /// How often servers were started for it, this time included.
    pub generation: u32,
    /// Names of the arms to start.
    pub arms: &'a [String],
}

/// The objects of one boot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BootObjects {
    /// Headless Services: they give pods names.
    pub services: Vec<Service>,
    /// The servers, one StatefulSet for each arm that has machines.
    pub stateful_sets: Vec<StatefulSet>,
    /// The gateways, one Deployment for each arm, when a policy has topology Gateway.
    pub gateways: Vec<Deployment>,
}

/// What a run records of an arm's engine and the arms are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFacts {
    /// SHA-256 of the settings that must be equal in all arms, in hex.
    pub flags_sha256: String,
    /// What the weights are, where they are not those of the model's repository and revision.
    pub weights: Option<String>,
}

/// Whether a router stands beside every server.
#[must_use]
pub fn uses_sidecars(plan: &Plan) -> bool {
    plan.policies.values().any(|policy| policy.topology == Topology::Sidecar)
}

/// Whether gateways stand before the servers.
#[must_use]
pub fn uses_gateways(plan: &Plan) -> bool {
    gateway_count(plan).is_some()
}

/// The objects of one boot. An arm with `serviceRef` has servers already and gets none.
///
/// # Errors
/// The plan does not have that boot, or one of the arms.
pub fn boot(order: &BootOrder<'_>) -> Result<BootObjects, BuildError> {
    let mut objects = BootObjects::default();
    for name in order.arms {
        let engine = Engine::of(order.plan, order.boot, name)?;
        if engine.arm.node_pool.is_some() {
            let (servers, service) = servers(order, &engine);
            objects.stateful_sets.push(servers);
            objects.services.push(service);
        }
        if let Some(replicas) = gateway_count(order.plan) {
            let (gateways, service) = gateways(order, engine.arm, replicas);
            objects.gateways.push(gateways);
            objects.services.push(service);
        }
    }
    objects.services.extend(meeting(order));
    Ok(objects)
}

/// The Service by which several load generators of a run find each other; it goes with the campaign.
fn meeting(order: &BootOrder<'_>) -> Option<Service> {
    let BootOrder { plan, owner, settings: _, boot: _, generation: _, arms: _ } = order;
    (plan.spec.load_generator.replicas > 1).then(|| {
        let labels = labels::common(owner.name, owner.uid, Component::Load);
        headless(owner.metadata(names::load(owner.name), labels.clone()), &labels, &[("meeting", MEETING_PORT)])
    })
}

/// What a run records of an arm's engine at a boot.
///
/// # Errors
/// The plan does not have that boot or arm.
pub fn engine_facts(plan: &Plan, boot: usize, arm: &str) -> Result<EngineFacts, BuildError> {
    let engine = Engine::of(plan, boot, arm)?;
    Ok(EngineFacts {
        flags_sha256: server::command(plan, &engine).flags_sha256,
        weights: description(&engine.settings, None),
    })
}

/// What one arm serves at a boot.
pub(super) struct Engine<'a> {
    pub(super) arm: &'a Arm,
    pub(super) model: &'a Model,
    pub(super) settings: EngineSettings,
}

impl<'a> Engine<'a> {
    pub(super) fn of(plan: &'a Plan, boot: usize, arm: &str) -> Result<Self, BuildError> {
        let Boot { model, engine: _, arms: _, repetition: _ } =
            plan.boots.get(boot).ok_or(BuildError::UnknownBoot(boot))?;
        Ok(Self {
            arm: plan.arm(arm).ok_or_else(|| BuildError::UnknownArm(arm.to_owned()))?,
            model: plan.model(model).ok_or_else(|| BuildError::UnknownModel(model.clone()))?,
            settings: plan.boot_engine_for(boot, arm).ok_or(BuildError::UnknownBoot(boot))?,
        })
    }
}

fn servers(order: &BootOrder<'_>, engine: &Engine<'_>) -> (StatefulSet, Service) {
    let BootOrder { plan, owner, settings: _, boot, generation, arms: _ } = order;
    let name = names::servers(owner.name, &engine.arm.name, *boot, *generation);
    let labels = labels(order, engine.arm, Component::Server);
    let mut own_labels = labels.clone();
    if let Some(queue) = plan.spec.scheduling.as_ref().and_then(|scheduling| scheduling.queue_name.clone()) {
        own_labels.insert(KUEUE_QUEUE.to_owned(), queue);
    }
    let set = StatefulSet {
        metadata: owner.metadata(name.clone(), own_labels),
        spec: Some(StatefulSetSpec {
            service_name: Some(name.clone()),
            replicas: Some(i32::try_from(plan.replicas()).expect("the schema bounds an arm's replicas by 64")),
            // All load their models at once; none waits for another's turn.
            pod_management_policy: Some("Parallel".to_owned()),
            // A boot is created and deleted, never edited: nothing may replace a server under a run.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            selector: selector(&labels),
            template: server::template(order, engine, labels.clone()),
            ..StatefulSetSpec::default()
        }),
        status: None,
    };
    let mut ports = vec![("engine", ENGINE_PORT), ("probe", PROBE_PORT)];
    if uses_sidecars(plan) {
        ports.extend(router::PORTS);
    }
    (set, headless(owner.metadata(name, labels.clone()), &labels, &ports))
}

/// Labels of what belongs to one arm's servers at one boot.
pub(super) fn labels(order: &BootOrder<'_>, arm: &Arm, component: Component) -> BTreeMap<String, String> {
    let mut labels = labels::common(order.owner.name, order.owner.uid, component);
    labels.insert(labels::ARM.to_owned(), arm.name.clone());
    labels.insert(labels::BOOT.to_owned(), order.boot.to_string());
    labels.insert(labels::GENERATION.to_owned(), order.generation.to_string());
    labels
}

/// A Service that gives each of these pods a name from its first moment on.
pub(super) fn headless(metadata: ObjectMeta, selector: &BTreeMap<String, String>, ports: &[(&str, u16)]) -> Service {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: Some((*name).to_owned()),
        port: i32::from(*port),
        ..ServicePort::default()
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector.clone()),
            ports: Some(ports.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
