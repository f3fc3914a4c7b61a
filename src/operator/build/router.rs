//! Neutral routers: beside every server, or as gateways before them. Neither knows a policy; each run brings its own.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{Container, PodTemplateSpec, Service},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use teebench_api::{campaign::Arm, plan::Plan, policy::Topology};

use super::{
    BootOrder, CONTROL_PORT, ROUTER_METRICS_PORT, ROUTER_PORT, Settings,
    boot::{headless, labels},
    pod::{self, own_container, ports, ready_when_listening, small, words},
    server::place,
    volumes,
};
use crate::operator::{labels::Component, names};

/// Ports of a router, by name.
pub(super) const PORTS: [(&str, u16); 3] =
    [("router", ROUTER_PORT), ("control", CONTROL_PORT), ("router-metrics", ROUTER_METRICS_PORT)];
/// No load runs while a server or gateway ends; what hangs then is not waited for.
const DRAIN_SECONDS: u32 = 5;

/// The gateways of the policy that wants most of them; none when no policy has that topology.
pub fn gateway_count(plan: &Plan) -> Option<u32> {
    let gateways = plan.policies.values().filter(|policy| policy.topology == Topology::Gateway);
    gateways.map(|policy| policy.replicas.unwrap_or(1)).max()
}

/// The router as a container beside the server: it starts before the engine and ends after it.
pub(super) fn sidecar(settings: &Settings) -> Container {
    let log = format!("{}/router.log", volumes::LOGS_DIR);
    let mut sidecar = container(settings, &["--log-file", &log]);
    sidecar.restart_policy = Some("Always".to_owned());
    sidecar.volume_mounts.get_or_insert_default().push(volumes::mount(volumes::LOGS, volumes::LOGS_DIR));
    sidecar
}

fn container(settings: &Settings, logging: &[&str]) -> Container {
    let (port, control, metrics) = (ROUTER_PORT.to_string(), CONTROL_PORT.to_string(), ROUTER_METRICS_PORT.to_string());
    let drain = DRAIN_SECONDS.to_string();
    let mut argv = words(&["teebench"]);
    argv.extend(words(logging));
    argv.extend(words(&["router", "--host", "0.0.0.0", "--port", &port, "--control-port", &control]));
    argv.extend(words(&["--prometheus-port", &metrics, "--drain-seconds", &drain]));
    Container {
        ports: Some(ports(&PORTS)),
        readiness_probe: Some(ready_when_listening(CONTROL_PORT)),
        // The largest tree that a policy may ask for takes about 1.5 GiB.
        resources: Some(small("100m", "128Mi", "2Gi")),
        volume_mounts: Some(vec![volumes::mount(volumes::TMP, volumes::TMP_DIR)]),
        ..own_container("router", settings, argv)
    }
}

/// The gateways before one arm's servers, with their Service.
pub(super) fn gateways(order: &BootOrder<'_>, arm: &Arm, replicas: u32) -> (Deployment, Service) {
    let BootOrder { plan: _, owner, settings, boot, generation, arms: _ } = order;
    let name = names::gateways(owner.name, &arm.name, *boot, *generation);
    let labels = labels(order, arm, Component::Gateway);
    // Prompts pass through a gateway in the clear, so it stands on the arm's machines: what its TEE costs counts.
    let mut spec = place(pod::restricted(pod::DEFAULT_USER), arm);
    spec.runtime_class_name = None;
    spec.containers = vec![container(settings, &[])];
    spec.volumes = Some(vec![volumes::empty_dir(volumes::TMP)]);
    spec.termination_grace_period_seconds = Some(i64::from(DRAIN_SECONDS) + 10);
    let deployment = Deployment {
        metadata: owner.metadata(name.clone(), labels.clone()),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(replicas).expect("the schema bounds a policy's replicas by 64")),
            selector: selector(&labels),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() }),
                spec: Some(spec),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    (deployment, headless(owner.metadata(name, labels.clone()), &labels, &PORTS))
}

/// Selects the pods with exactly these labels.
pub(super) fn selector(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels.clone()), match_expressions: None }
}
