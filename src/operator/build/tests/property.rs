//! What holds for any campaign that is accepted.

use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use teebench_api::{plan::Plan, validate::load};

use super::{
    fixtures::{attempted, booted, containers, download, plan_of},
    restricted::violations,
};

const DIGEST: &str = "sha256:e4f88a835143cd22aee2397a26ec6bb80b3a4a6fe0c882bcbc63822904766089";
const SHELLS: [&str; 6] = ["sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/env", "busybox"];
/// What a controller adds to the name of a StatefulSet, and to that of a Job, where it becomes a label or a host name.
const REVISION: usize = 11;
const JOB_POD: usize = 9;

fn name(most: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[a-z0-9]([a-z0-9-]{{0,{}}}[a-z0-9])?", most - 2)).unwrap()
}

fn engine() -> impl Strategy<Value = (Value, u32)> {
    let simulator = (1_u32..=64, select(&["Tiny", "H200"]))
        .prop_map(|(replicas, profile)| (json!({"simulator": {"replicas": replicas, "profile": profile}}), 1));
    let resources = proptest::option::of(Just(json!({"cpu": "8", "memory": "64Gi", "sharedMemory": "8Gi"})));
    let vllm = (1_u32..=64, 1_u32..=8, 1_u32..=65535, resources).prop_map(|(replicas, gpus, user, resources)| {
        let mut vllm = json!({
            "image": format!("vllm/vllm-openai@{DIGEST}"), "replicas": replicas, "tensorParallelSize": gpus,
            "runAsUser": user,
        });
        if let Some(resources) = resources {
            vllm["resources"] = resources;
        }
        (json!({"vllm": vllm}), gpus)
    });
    prop_oneof![simulator, vllm]
}

fn model() -> impl Strategy<Value = Value> {
    let cache = prop_oneof![
        Just(None),
        Just(Some(json!({"sharedClaim": "models"}))),
        Just(Some(json!({"ephemeral": {"size": "100Gi"}}))),
    ];
    (name(30), cache, any::<bool>()).prop_map(|(name, cache, gated)| {
        let mut model = json!({"name": name, "repository": "owner/model", "revision": "ab".repeat(20)});
        if let Some(cache) = cache {
            model["cache"] = cache;
        }
        if gated {
            model["tokenSecretRef"] = json!({"name": "hf-token", "key": "token"});
        }
        model
    })
}

fn arms() -> impl Strategy<Value = Vec<Value>> {
    let arm = (name(19), any::<bool>(), any::<bool>());
    proptest::collection::vec(arm, 1..4).prop_map(|arms| {
        let arms = arms.into_iter().enumerate().map(|(index, (name, confidential, tainted))| {
            let mut pool = json!({"selector": {"pool": "a"}, "runtimeClassName": "nvidia"});
            if tainted {
                pool["tolerations"] = json!([{"key": "sku", "operator": "Exists"}]);
            }
            let tee = if confidential { "Enabled" } else { "Disabled" };
            // A digit in front keeps equal names apart.
            json!({"name": format!("{index}{name}"), "tee": tee, "nodePool": pool})
        });
        arms.collect()
    })
}

/// A campaign and its policies as the documents of a file.
fn campaign() -> impl Strategy<Value = Vec<Value>> {
    let topology = prop_oneof![
        Just(None),
        Just(Some(json!({"mode": "RoundRobin"}))),
        (1_u32..=64).prop_map(|n| Some(json!({"mode": "LeastLoaded", "topology": "Gateway", "replicas": n}))),
    ];
    (name(40), engine(), model(), arms(), topology, any::<i64>().prop_map(|seed| seed.rem_euclid(1 << 53))).prop_map(
        |(name, (engine, gpus), model, mut arms, policy, seed)| {
            if gpus > 1 {
                for arm in arms.iter_mut().filter(|arm| arm["tee"] == "Enabled") {
                    arm["multiGpu"] = json!("ProtectedPcie");
                }
            }
            let mut documents = Vec::new();
            let mut routers = vec![json!({"name": "direct", "direct": {}})];
            if let Some(policy) = policy {
                routers.push(json!({"name": "policy", "policyRef": {"name": "policy"}}));
                documents.push(json!({
                    "apiVersion": "teebench.dev/v1alpha1", "kind": "RouterPolicy", "metadata": {"name": "policy"},
                    "spec": policy,
                }));
            }
            documents.push(json!({
                "apiVersion": "teebench.dev/v1alpha1", "kind": "BenchmarkCampaign", "metadata": {"name": name},
                "spec": {
                    "seed": seed, "engine": engine, "models": [model], "arms": arms, "routers": routers,
                    "experiments": [{
                        "name": "e", "dataset": {"random": {"prompts": 10, "inputTokens": [64]}},
                        "load": {"maxConcurrency": [4]}, "outputTokens": [16], "repetitions": {"minimum": 1},
                    }],
                },
            }));
            documents
        },
    )
}

fn planned(documents: &[Value]) -> Plan {
    // JSON is YAML in which every text is quoted.
    let text = documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    plan_of(&load(text.as_bytes(), "generated").unwrap_or_else(|faults| panic!("{faults}\n{text}")))
}

/// Metadata, with the characters that its name must leave free, and pods of all that is built for a plan's first boot,
/// models and attempt.
fn built(plan: &Plan) -> (Vec<(ObjectMeta, usize)>, Vec<PodTemplateSpec>) {
    let mut metadata = Vec::new();
    let mut pods = Vec::new();
    let arms: Vec<&str> = plan.spec.arms.iter().map(|arm| arm.name.as_str()).collect();
    let objects = booted(plan, 0, &arms);
    metadata.extend(objects.services.into_iter().map(|service| (service.metadata, 0)));
    for set in objects.stateful_sets {
        metadata.push((set.metadata, REVISION));
        pods.push(set.spec.unwrap().template);
    }
    for gateway in objects.gateways {
        metadata.push((gateway.metadata, 0));
        pods.push(gateway.spec.unwrap().template);
    }
    let attempt = attempted(plan, 0);
    metadata.extend([(attempt.run.metadata, 0), (attempt.config_map.metadata, 0)]);
    let downloads = plan.spec.models.iter().filter_map(|model| download(plan, &model.name));
    for job in downloads.chain([attempt.job]) {
        metadata.push((job.metadata, JOB_POD));
        pods.push(job.spec.unwrap().template);
    }
    (metadata, pods)
}

/// What of a pod is not as all our pods are; the profile's own violations among it.
fn faults(template: &PodTemplateSpec) -> Vec<String> {
    let pod = template.spec.as_ref().unwrap();
    let component = template.metadata.clone().unwrap().labels.unwrap()["app.kubernetes.io/component"].clone();
    let mut faults = violations(pod);
    let mut demand = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    demand(pod.automount_service_account_token == Some(false), "a token is mounted".to_owned());
    demand(pod.enable_service_links == Some(false), "Services' names are injected".to_owned());
    let volumes = pod.volumes.clone().unwrap_or_default();
    let has_token = volumes.iter().any(|volume| volume.projected.is_some());
    demand(has_token == (component == "load"), format!("{component}: token {has_token}"));
    for container in containers(pod) {
        let mut demand = |holds: bool, what: &str| demand(holds, format!("{}: {what}", container.name));
        let context = container.security_context.clone().unwrap_or_default();
        demand(context.read_only_root_filesystem == Some(true), "writable root");
        let words = container.command.iter().chain(&container.args).flatten();
        demand(words.into_iter().all(|word| !SHELLS.contains(&word.as_str())), "a shell");
        let mut sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
        let has_secret = sources.any(|source| source.secret_key_ref.is_some());
        demand(!has_secret || container.name == "download", "a secret");
        for mount in container.volume_mounts.iter().flatten() {
            demand(volumes.iter().any(|volume| volume.name == mount.name), &mount.name);
        }
    }
    faults
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_accepted_campaign_gives_restricted_pods_with_bounded_names(documents in campaign()) {
        let (metadata, pods) = built(&planned(&documents));
        for (object, room) in &metadata {
            let name = object.name.as_deref().unwrap();
            prop_assert!(name.len() + room <= 63 && !name.starts_with(|c: char| c.is_ascii_digit()), "{name}");
            prop_assert_eq!(object.owner_references.as_ref().unwrap()[0].controller, Some(true));
            prop_assert!(object.labels.iter().flatten().all(|(_, value)| value.len() <= 63), "{:?}", object.labels);
        }
        for template in &pods {
            prop_assert_eq!(faults(template), Vec::<String>::new());
        }
    }
}
