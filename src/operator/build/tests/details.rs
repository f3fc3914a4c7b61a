//! The details that matter, one by one.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use kube::ResourceExt;
use rstest::rstest;
use teebench_api::{
    campaign::{
        Scheduling, ServiceRef,
        dataset::{ConfigMapFile, FileSource, ToolbenchFile},
        engine::{LoadFormat, ServerResources},
    },
    files::inputs::RunInputs,
    plan::Plan,
    policy::Topology,
};

use super::fixtures::{
    UID, attempted, booted, changed, command_line, container, containers, download, owner, sample, server_pod, settings,
};
use crate::{
    executor::existing_server,
    operator::{
        build::{
            AttemptObjects, BootObjects, BootOrder, Settings, boot, check, engine_facts, uses_gateways, uses_sidecars,
        },
        labels::HUB_EGRESS,
    },
};

fn variable(container: &Container, name: &str) -> Option<String> {
    container.env.iter().flatten().find(|variable| variable.name == name)?.value.clone()
}

fn amounts(container: &Container) -> (String, String) {
    let resources = container.resources.clone().unwrap();
    (format!("{:?}", resources.requests), format!("{:?}", resources.limits))
}

fn volume_sources(pod: &PodSpec, name: &str) -> serde_json::Value {
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name).unwrap();
    serde_json::to_value(volume).unwrap()
}

/// The ablation with other engine settings.
fn ablation(change: impl FnOnce(&mut teebench_api::campaign::Vllm)) -> Plan {
    changed("planetserve-ablation.yaml", |file| change(file.campaign.spec.engine.vllm.as_mut().unwrap()))
}

#[rstest]
#[case::one(None, None, "1")]
#[case::tensor(Some(4), None, "4")]
#[case::tensor_and_pipeline(Some(2), Some(3), "6")]
fn a_server_gets_as_many_gpus_as_its_parallel_sizes_say(
    #[case] tensor: Option<u32>,
    #[case] pipeline: Option<u32>,
    #[case] gpus: &str,
) {
    let plan = ablation(|vllm| {
        (vllm.settings.tensor_parallel_size, vllm.settings.pipeline_parallel_size) = (tensor, pipeline);
    });
    let pod = server_pod(&plan, "cc-off");
    let (requests, limits) = amounts(container(&pod, "vllm"));

    assert!(requests.contains(&format!("\"nvidia.com/gpu\": Quantity(\"{gpus}\")")), "{requests}");
    assert_eq!(requests, limits);
}

#[test]
fn a_simulated_server_takes_no_gpu_and_knows_its_ordinal() {
    let pod = server_pod(&sample("quickstart.yaml"), "cc-on");
    let server = container(&pod, "vllm");

    assert!(!amounts(server).1.contains("nvidia.com/gpu"));
    let line = command_line(server);
    assert!(line.contains("--gpu simulated:/run/teebench/gpu.json") && line.contains("--confidential"), "{line}");
    assert!(line.contains("--ordinal $(TEEBENCH_ORDINAL)"), "{line}");
    assert!(
        !command_line(container(&server_pod(&sample("quickstart.yaml"), "cc-off"), "vllm")).contains("--confidential")
    );
}

#[rstest]
#[case::sized(Some("8Gi"))]
#[case::unsized_without_resources(None)]
fn shared_memory_has_the_size_that_was_given(#[case] size: Option<&str>) {
    let plan = ablation(|vllm| {
        let shared_memory = size.map(str::to_owned);
        vllm.resources =
            shared_memory.is_some().then(|| ServerResources { cpu: "8".into(), memory: "64Gi".into(), shared_memory });
    });
    let source = &volume_sources(&server_pod(&plan, "cc-off"), "shm")["emptyDir"];

    assert_eq!(source["medium"], "Memory");
    assert_eq!(source.get("sizeLimit").and_then(serde_json::Value::as_str), size);
}

#[test]
fn the_server_reads_its_weights_offline_from_a_directory_of_the_revision() {
    let plan = sample("planetserve-ablation.yaml");
    let pod = server_pod(&plan, "cc-on");
    let server = container(&pod, "vllm");

    let line = command_line(server);
    let directory = "/models/meta-llama/Llama-3.1-8B-Instruct/0e9e39f249a16976918f6564b8830bc894c89659";
    assert!(line.contains(&format!("-- vllm serve {directory} --host 0.0.0.0 --port 8000")), "{line}");
    assert!(line.contains("--served-model-name llama31-8b") && !line.contains("--revision"), "{line}");
    assert_eq!(variable(server, "HF_HUB_OFFLINE").as_deref(), Some("1"));
    assert_eq!(variable(server, "VLLM_SERVER_DEV_MODE").as_deref(), Some("1"));
    let mount = server.volume_mounts.iter().flatten().find(|mount| mount.name == "weights").unwrap();
    assert_eq!((mount.mount_path.as_str(), mount.read_only), ("/models", Some(true)));
}

#[test]
fn only_the_download_sees_the_hubs_token() {
    let sees = |pod: &PodSpec| -> Vec<String> {
        let with_token = containers(pod).filter(|container| format!("{container:?}").contains("hf-token"));
        with_token.map(|container| container.name.clone()).collect()
    };
    let shared = sample("planetserve-ablation.yaml");
    let job = download(&shared, "llama31-8b").unwrap();
    assert_eq!(sees(&job.spec.unwrap().template.spec.unwrap()), ["download"]);
    assert_eq!(sees(&server_pod(&shared, "cc-on")), [""; 0]);

    let uncached = changed("planetserve-ablation.yaml", |file| file.campaign.spec.models[0].cache = None);
    assert_eq!(sees(&server_pod(&uncached, "cc-on")), ["download"]);
    assert_eq!(download(&uncached, "llama31-8b"), None);
}

#[test]
fn without_a_cache_each_server_downloads_to_its_nodes_disk() {
    let plan = changed("planetserve-ablation.yaml", |file| {
        file.campaign.spec.models[0].cache = None;
        file.campaign.spec.engine.vllm.as_mut().unwrap().settings.load_format = Some(LoadFormat::Dummy);
    });
    let set = &booted(&plan, 0, &["cc-on"]).stateful_sets[0];
    let template = &set.spec.as_ref().unwrap().template;
    let pod = template.spec.clone().unwrap();

    assert!(volume_sources(&pod, "weights").get("emptyDir").is_some());
    let line = command_line(container(&pod, "download"));
    assert!(line.starts_with("/opt/teebench/teebench weights --repository meta-llama/"), "{line}");
    assert!(line.contains("-- hf download meta-llama/Llama-3.1-8B-Instruct --revision 0e9e39f2"), "{line}");
    let labels = template.metadata.clone().unwrap().labels.unwrap();
    assert_eq!(labels.get(HUB_EGRESS).map(String::as_str), Some("true"));
    assert_eq!(engine_facts(&plan, 0, "cc-on").unwrap().weights.as_deref(), Some("dummy"));
}

#[test]
fn a_simulated_campaign_downloads_nothing() {
    let plan = sample("quickstart.yaml");

    assert_eq!(download(&plan, "tiny"), None);
    assert!(!containers(&server_pod(&plan, "cc-on")).any(|container| container.name == "download"));
}

#[test]
fn the_downloads_hub_is_the_operators() {
    let plan = sample("whats-the-catch.yaml");
    let settings = Settings { hub_endpoint: Some("http://hub.example".into()), ..settings() };
    let order = crate::operator::build::WeightsOrder {
        plan: &plan,
        owner: owner(&plan),
        settings: &settings,
        model: "gemma3-1b",
    };
    let pod = crate::operator::build::weights(&order).unwrap().unwrap().spec.unwrap().template.spec.unwrap();

    assert_eq!(variable(container(&pod, "download"), "HF_ENDPOINT").as_deref(), Some("http://hub.example"));
}

#[rstest]
#[case::sidecars_alone(&[Topology::Sidecar, Topology::Sidecar], true, None)]
#[case::gateways_alone(&[Topology::Gateway, Topology::Gateway], false, Some(5))]
#[case::both(&[Topology::Sidecar, Topology::Gateway], true, Some(5))]
fn routers_stand_where_the_policies_say(
    #[case] topologies: &[Topology],
    #[case] sidecar: bool,
    #[case] gateways: Option<i32>,
) {
    let plan = changed("quickstart.yaml", |file| {
        for ((policy, topology), replicas) in file.policies.values_mut().zip(topologies).zip([3, 5]) {
            policy.topology = *topology;
            policy.replicas = (*topology == Topology::Gateway).then_some(replicas);
        }
    });
    let objects = booted(&plan, 0, &["cc-off", "cc-on"]);

    assert_eq!((uses_sidecars(&plan), uses_gateways(&plan)), (sidecar, gateways.is_some()));
    let router = server_pod(&plan, "cc-on").init_containers.unwrap().pop().unwrap();
    assert_eq!(router.name == "router" && router.restart_policy.as_deref() == Some("Always"), sidecar);
    let expected: Vec<i32> = gateways.into_iter().flat_map(|replicas| [replicas; 2]).collect();
    let found: Vec<i32> = objects.gateways.iter().map(|set| set.spec.as_ref().unwrap().replicas.unwrap()).collect();
    assert_eq!(found, expected);
    assert_eq!(objects.services.len(), 2 + expected.len());
}

#[test]
fn no_pod_template_names_a_policy() {
    let with = sample("quickstart.yaml");
    let other = changed("quickstart.yaml", |file| {
        let tree = file.policies.get_mut("hr-tree").unwrap();
        tree.hash_radix_tree.as_mut().unwrap().hash_bits = 8;
    });

    assert_ne!(with, other);
    assert_eq!(booted(&with, 0, &["cc-on"]), booted(&other, 0, &["cc-on"]));
}

#[test]
fn selectors_tell_boots_generations_and_arms_apart() {
    let plan = sample("quickstart.yaml");
    let objects = booted(&plan, 0, &["cc-off", "cc-on"]);
    let later = booted(&plan, 1, &["cc-off"]);
    let mut selectors: Vec<_> = objects.stateful_sets.iter().chain(&later.stateful_sets).collect();
    selectors.dedup_by_key(|set| set.spec.as_ref().unwrap().selector.clone());

    assert_eq!(selectors.len(), 3);
    for set in selectors {
        let spec = set.spec.as_ref().unwrap();
        let labels = spec.template.metadata.as_ref().unwrap().labels.clone().unwrap();
        let wanted = spec.selector.match_labels.clone().unwrap();
        assert!(wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
        assert_eq!(spec.service_name, set.metadata.name);
    }
}

#[test]
fn priority_and_queue_are_the_servers() {
    let plan = changed("planetserve-ablation.yaml", |file| {
        file.campaign.spec.scheduling =
            Some(Scheduling { priority_class_name: Some("benchmarks".into()), queue_name: Some("gpu".into()) });
    });
    let set = booted(&plan, 0, &["cc-on"]).stateful_sets.remove(0);

    assert_eq!(set.metadata.labels.unwrap().get("kueue.x-k8s.io/queue-name").map(String::as_str), Some("gpu"));
    let pod = set.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.priority_class_name.as_deref(), Some("benchmarks"));
}

#[test]
fn the_nodes_labels_are_hints_beside_the_evidence() {
    let pod = server_pod(&sample("planetserve-ablation.yaml"), "cc-on");

    let hint = variable(container(&pod, "vllm"), "TEEBENCH_NODE_INSTANCE_TYPE");
    assert_eq!(hint.as_deref(), Some("Standard_NCC40ads_H100_v5"));
}

#[test]
fn arms_of_one_setting_have_one_digest() {
    let plan = sample("planetserve-ablation.yaml");
    let digest = |arm: &str| engine_facts(&plan, 0, arm).unwrap().flags_sha256;

    assert_eq!(digest("cc-off"), digest("cc-on"));
}

#[test]
fn an_attempts_pod_says_which_attempt_it_is_and_holds_its_inputs() {
    let plan = changed("quickstart.yaml", |file| {
        for policy in file.policies.values_mut() {
            policy.topology = Topology::Gateway;
        }
    });
    let objects = attempted(&plan, 2);
    let text = &objects.config_map.data.as_ref().unwrap()["inputs.json"];
    let inputs: RunInputs = serde_json::from_str(text).unwrap();

    assert_eq!(inputs.gateways[1].control_url, "http://10.0.1.2:8081");
    assert_eq!(inputs.servers[0].probe_url.as_deref(), Some("http://10.0.0.1:9400"));
    assert_eq!(inputs.servers[0].router_url, None, "no router stands beside a server behind gateways");
    let spec = objects.job.spec.unwrap();
    let annotations = spec.template.metadata.unwrap().annotations.unwrap();
    assert_eq!(objects.job.metadata.labels.unwrap()["teebench.dev/campaign-uid"], UID);
    assert_eq!(annotations["teebench.dev/attempt"], inputs.run.attempt_path(inputs.attempt));
    assert_eq!(spec.backoff_limit, Some(0));
    assert!(spec.active_deadline_seconds.unwrap() > i64::try_from(inputs.deadline_seconds).unwrap());
    assert_eq!(objects.run.spec.seed, plan.blocks[0].seed.to_string());
}

#[test]
fn several_load_generators_are_an_indexed_job_whose_pods_find_the_first() {
    let plan = changed("quickstart.yaml", |file| file.campaign.spec.load_generator.replicas = 3);
    let job = attempted(&plan, 2).job;
    let name = job.metadata.name.unwrap();
    let spec = job.spec.unwrap();

    let pod = spec.template.spec.unwrap();
    let argv = [pod.containers[0].command.clone(), pod.containers[0].args.clone()].into_iter().flatten().flatten();
    let argv: Vec<String> = argv.collect();
    let end = ["--generators", "3", "--meet", &format!("{name}-0.quickstart-load:8070")];
    assert_eq!(argv[argv.len() - 4..], end, "{argv:?}");
    assert_eq!(
        (spec.completions, spec.parallelism, spec.completion_mode.as_deref()),
        (Some(3), Some(3), Some("Indexed"))
    );
    assert_eq!(
        (spec.backoff_limit, spec.backoff_limit_per_index),
        (None, Some(0)),
        "one that fails must not end the first"
    );
    assert_eq!(pod.subdomain.as_deref(), Some("quickstart-load"));
    let services = booted(&plan, 0, &["cc-on"]).services;
    let meeting = services.iter().find(|service| service.name_any() == "quickstart-load").unwrap();
    assert_eq!(meeting.spec.as_ref().unwrap().selector.as_ref().unwrap()["app.kubernetes.io/component"], "load");
}

#[test]
fn servers_that_were_there_before_are_called_by_their_service_and_nothing_is_started() {
    let plan = changed("planetserve-cc.yaml", |file| {
        let arm = &mut file.campaign.spec.arms[0];
        arm.node_pool = None;
        arm.service_ref = Some(ServiceRef { name: "vllm".into(), port: 8000 });
    });

    assert_eq!(check(&plan), Ok(()));
    let arm = plan.spec.arms[0].name.clone();
    assert_eq!(booted(&plan, 0, &[&arm]), BootObjects::default());
    let server = existing_server(plan.spec.arms[0].service_ref.as_ref().unwrap(), None);
    assert_eq!((server.engine_url.as_str(), server.probe_url), ("http://vllm:8000", None));
}

#[test]
fn weights_are_downloaded_for_servers_of_ours_alone() {
    let existing = |count: usize| {
        changed("planetserve-cc.yaml", |file| {
            for arm in file.campaign.spec.arms.iter_mut().take(count) {
                arm.node_pool = None;
                arm.service_ref = Some(ServiceRef { name: arm.name.clone(), port: 8000 });
            }
        })
    };
    let is_downloaded = |plan: &Plan| download(plan, &plan.boots[0].model).is_some();

    assert!(is_downloaded(&existing(1)));
    assert!(!is_downloaded(&existing(2)));
}

#[test]
fn what_a_cluster_does_not_offer_is_refused_with_the_mend() {
    let existing = changed("quickstart.yaml", |file| {
        let arm = &mut file.campaign.spec.arms[0];
        arm.node_pool = None;
        arm.service_ref = Some(ServiceRef { name: "vllm".into(), port: 8000 });
    });
    let file = changed("quickstart.yaml", |file| {
        let dataset = &mut file.campaign.spec.experiments[0].dataset;
        dataset.toolbench = None;
        let source = FileSource { path: Some("/home/me/prompts.jsonl".into()), ..FileSource::default() };
        dataset.toolbench_file = Some(ToolbenchFile { source, prompts: 10, oversample: false });
    });

    assert_eq!(check(&sample("quickstart.yaml")), Ok(()));
    let beside = check(&existing).unwrap_err().to_string();
    assert!(beside.contains("\"cc-off\"") && beside.contains("topology Gateway"), "{beside}");
    let message = check(&file).unwrap_err().to_string();
    assert!(message.contains("\"ablation\"") && message.contains("/home/me/prompts.jsonl"), "{message}");
}

#[rstest]
#[case::boot(99, "cc-on", "boot 99")]
#[case::arm(0, "cc-of", "arm \"cc-of\"")]
fn what_the_plan_does_not_have_is_named(#[case] index: usize, #[case] arm: &str, #[case] named: &str) {
    let (plan, settings, arms) = (sample("quickstart.yaml"), settings(), [arm.to_owned()]);
    let order =
        BootOrder { plan: &plan, owner: owner(&plan), settings: &settings, boot: index, generation: 1, arms: &arms };

    assert!(boot(&order).unwrap_err().to_string().starts_with(named));
}

#[test]
fn the_file_of_a_data_set_is_mounted_from_where_the_campaign_says() {
    let plan = changed("quickstart.yaml", |file| {
        let dataset = &mut file.campaign.spec.experiments[0].dataset;
        dataset.toolbench = None;
        let config_map = Some(ConfigMapFile { name: "prompts".into(), key: "a.jsonl".into() });
        let source = FileSource { config_map, ..FileSource::default() };
        dataset.toolbench_file = Some(ToolbenchFile { source, prompts: 10, oversample: false });
    });

    let AttemptObjects { config_map, job, .. } = attempted(&plan, 0);

    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(volume_sources(&pod, "dataset")["configMap"]["name"], "prompts");
    let inputs: RunInputs = serde_json::from_str(&config_map.data.unwrap()["inputs.json"]).unwrap();
    assert_eq!(inputs.dataset_file.map(|file| file.path).as_deref(), Some("/dataset/a.jsonl"));
}
