//! Plans of the samples, changed where a test wants them otherwise, and what is built of them.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde::Serialize;
use teebench_api::{
    plan::{self, Plan, next::Start},
    validate::{CampaignFile, load_path},
};

use crate::{
    executor::{InputsOrder, inputs},
    operator::build::{
        AttemptObjects, AttemptOrder, BootObjects, BootOrder, Owner, ServerSeen, Settings, WeightsOrder, attempt, boot,
        dataset_path, engine_facts, gateway_input, server_input, uses_sidecars, weights,
    },
};

pub const UID: &str = "7d3c0f5a-3f0e-4b6e-9a60-6a8f2f1f9b11";

pub fn settings() -> Settings {
    Settings {
        image: "registry.example/teebench:0.1.0".into(),
        image_pull_policy: Some("IfNotPresent".into()),
        hub_endpoint: None,
        results_url: "https://teebench-results.teebench.svc:8443".into(),
        results_ca_pem: "-----BEGIN CERTIFICATE-----\n".into(),
    }
}

pub fn owner(plan: &Plan) -> Owner<'_> {
    Owner { name: &plan.campaign, namespace: "lab", uid: UID }
}

/// A sample's plan.
pub fn sample(file: &str) -> Plan {
    changed(file, |_| {})
}

/// A sample's plan, with the file changed before.
pub fn changed(file: &str, change: impl FnOnce(&mut CampaignFile)) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/samples").join(file);
    let mut loaded = load_path(&path).unwrap_or_else(|faults| panic!("{faults}"));
    change(&mut loaded);
    plan_of(&loaded)
}

pub fn plan_of(loaded: &CampaignFile) -> Plan {
    let name = loaded.campaign.metadata.name.as_deref().unwrap();
    plan::build(name, &loaded.campaign.spec, &loaded.policies).unwrap()
}

/// The objects of one boot in its second generation, with these arms.
pub fn booted(plan: &Plan, index: usize, arms: &[&str]) -> BootObjects {
    let arms: Vec<String> = arms.iter().map(|arm| (*arm).to_owned()).collect();
    let settings = settings();
    boot(&BootOrder { plan, owner: owner(plan), settings: &settings, boot: index, generation: 2, arms: &arms }).unwrap()
}

pub fn download(plan: &Plan, model: &str) -> Option<k8s_openapi::api::batch::v1::Job> {
    weights(&WeightsOrder { plan, owner: owner(plan), settings: &settings(), model }).unwrap()
}

/// The objects of the plan's first attempt, on servers that stand at 10.0.0.1 and so on.
pub fn attempted(plan: &Plan, gateways: u8) -> AttemptObjects {
    let block = &plan.blocks[0];
    let planned = &block.runs[0];
    let start = Start {
        run: plan.run_id(block, planned).unwrap(),
        attempt: 1,
        epoch: 17,
        block: 0,
        boot: planned.boot,
        boot_generation: 2,
    };
    let facts = engine_facts(plan, planned.boot, &planned.arm).unwrap();
    let server = |ordinal: u32| {
        server_input(&ServerSeen {
            ordinal,
            uid: "5f0c6f0e-0000-0000-0000-000000000000",
            ip: format!("10.0.0.{}", ordinal + 1).parse().unwrap(),
            with_router: uses_sidecars(plan),
            ready_seconds: Some(41.5),
            facts: &facts,
            idle: None,
            cpu: None,
        })
    };
    let inputs = inputs(InputsOrder {
        plan,
        plan_sha256: &"ab".repeat(32),
        start: &start,
        salt: "cd".repeat(32),
        foreign_routers: &BTreeMap::new(),
        dataset_path: dataset_path(plan, &start),
        references: None,
        servers: (0..plan.replicas()).map(server).collect(),
        gateways: (0..gateways).map(|at| gateway_input([10, 0, 1, at + 1].into())).collect(),
        parity_broken: &[],
    })
    .unwrap();
    let (owner, settings, load_generator) = (owner(plan), settings(), &plan.spec.load_generator);
    attempt(&AttemptOrder { owner, settings: &settings, load_generator, inputs: &inputs }).unwrap()
}

/// The server pods of one arm.
pub fn server_pod(plan: &Plan, arm: &str) -> PodSpec {
    pod(&booted(plan, 0, &[arm]).stateful_sets[0].spec.as_ref().unwrap().template)
}

pub fn pod(template: &PodTemplateSpec) -> PodSpec {
    template.spec.clone().unwrap()
}

/// All containers of a pod.
pub fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

/// The container of this name.
pub fn container<'a>(pod: &'a PodSpec, name: &str) -> &'a Container {
    containers(pod).find(|container| container.name == name).unwrap_or_else(|| panic!("no container {name}"))
}

/// A container's whole command line.
pub fn command_line(container: &Container) -> String {
    let words = container.command.iter().chain(&container.args).flatten();
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Objects as a stream of YAML documents.
pub fn yaml<T: Serialize>(objects: &[T]) -> String {
    objects.iter().map(|object| serde_yaml::to_string(object).unwrap()).collect::<Vec<_>>().join("---\n")
}
