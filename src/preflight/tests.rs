//! What each thing that is missing is called, and what is not.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::api::core::v1::{Node, Pod};
use rstest::rstest;
use serde_json::{Value, json};
use teebench_api::{
    campaign::{
        Scheduling,
        arm::{TaintEffect, Toleration, TolerationOperator},
        model::Cache,
    },
    plan::Plan,
};

use super::*;
use crate::{local, operator::labels::CAMPAIGN_UID};

const UID: &str = "11111111-2222";

fn plan() -> Plan {
    local::planned(Path::new("tests/campaigns/small.yaml"), None, &BTreeMap::new()).unwrap().plan
}

fn node(pool: &str, change: &Value) -> Arc<Node> {
    let mut node = json!({"metadata": {"name": pool, "labels": {"pool": pool}}, "spec": {},
        "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [{"type": "Ready", "status": "True"}]}});
    for (key, value) in change.as_object().unwrap() {
        node[key] = value.clone();
    }
    Arc::new(serde_json::from_value(node).unwrap())
}

fn cluster(confidential: &Value) -> Cluster {
    let nodes = vec![node("plain", &json!({})), node("confidential", confidential)];
    Cluster { nodes: Some(nodes), gpu_pods: Some(Vec::new()), catalogue: None }
}

fn reason(plan: &Plan, cluster: &Cluster) -> Option<&'static str> {
    match preflight(plan, cluster, &BTreeSet::from([UID.to_owned()])) {
        Preflight::Missing { reason, message } => {
            assert!(message.starts_with("spec.") && message.contains("; "), "field and mend: {message}");
            Some(reason)
        }
        Preflight::Passed(_) | Preflight::NotChecked => None,
    }
}

fn gpu_pod(node: &str, phase: &str, owner: &str) -> Arc<Pod> {
    let pod = json!({"metadata": {"name": "train-0", "namespace": "others", "labels": {CAMPAIGN_UID: owner}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
        "status": {"phase": phase}});
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[rstest]
#[case::all_is_there(json!({}), None)]
#[case::not_ready(json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}), Some("NodesNotReady"))]
#[case::cordoned(json!({"spec": {"unschedulable": true}}), Some("NodesNotReady"))]
#[case::tainted(
    json!({"spec": {"taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]}}), Some("TaintNotTolerated")
)]
#[case::a_taint_that_only_prefers(json!({"spec": {"taints": [{"key": "sku", "effect": "PreferNoSchedule"}]}}), None)]
#[case::a_taint_that_the_node_controller_lifts(
    json!({"spec": {"taints": [{"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}]}}), None
)]
#[case::other_labels(json!({"metadata": {"name": "confidential", "labels": {"pool": "other"}}}), Some("NoNodes"))]
fn a_pool_that_cannot_take_servers_is_told(#[case] confidential: Value, #[case] expected: Option<&str>) {
    assert_eq!(reason(&plan(), &cluster(&confidential)), expected);
}

#[rstest]
#[case::equal(None, Some("gpu"), None, true)]
#[case::another_value(None, Some("cpu"), None, false)]
#[case::any_value(Some(TolerationOperator::Exists), None, None, true)]
#[case::of_the_effect(None, Some("gpu"), Some(TaintEffect::NoSchedule), true)]
#[case::of_another_effect(None, Some("gpu"), Some(TaintEffect::NoExecute), false)]
fn a_taint_is_tolerated_as_the_scheduler_does(
    #[case] operator: Option<TolerationOperator>,
    #[case] value: Option<&str>,
    #[case] effect: Option<TaintEffect>,
    #[case] passes: bool,
) {
    let mut plan = plan();
    let toleration = Toleration { key: "sku".into(), operator, value: value.map(str::to_owned), effect };
    plan.spec.arms[1].node_pool.as_mut().unwrap().tolerations = vec![toleration];
    let tainted = json!({"spec": {"taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]}});

    assert_eq!(reason(&plan, &cluster(&tainted)).is_none(), passes);
}

#[test]
fn a_pool_that_scales_from_zero_needs_no_node() {
    let mut plan = plan();
    plan.spec.arms[1].node_pool.as_mut().unwrap().scale_from_zero = true;

    let cluster = cluster(&json!({"metadata": {"name": "other"}}));

    assert_eq!(reason(&plan, &cluster), None);
    let machines = machines_of(&plan, cluster.nodes.as_deref().unwrap());
    assert_eq!(machines.into_iter().collect::<Vec<_>>(), ["plain", "pool pool=confidential"]);
}

#[rstest]
#[case::of_others(gpu_pod("plain", "Running", "other"), Some("ForeignGpuPods"))]
#[case::our_own(gpu_pod("plain", "Running", UID), None)]
#[case::one_that_ended(gpu_pod("plain", "Succeeded", "other"), None)]
#[case::on_another_machine(gpu_pod("elsewhere", "Running", "other"), None)]
fn pods_of_others_that_hold_gpus_of_our_machines_are_told(#[case] pod: Arc<Pod>, #[case] expected: Option<&str>) {
    let cluster = Cluster { gpu_pods: Some(vec![pod]), ..cluster(&json!({})) };

    assert_eq!(reason(&plan(), &cluster), expected);
}

#[rstest]
#[case::absent(Looked::Absent, Some("NoPriorityClass"))]
#[case::there(Looked::There(7), None)]
#[case::not_to_be_read(Looked::Unknown, None)]
fn a_priority_class_is_looked_for(#[case] found: Looked<i32>, #[case] expected: Option<&str>) {
    let mut plan = plan();
    plan.spec.scheduling = Some(Scheduling { priority_class_name: Some("urgent".into()), queue_name: None });
    let catalogue = Catalogue { priority_classes: [("urgent".to_owned(), found)].into(), ..Catalogue::default() };

    assert_eq!(reason(&plan, &Cluster { catalogue: Some(catalogue), ..cluster(&json!({})) }), expected);
}

#[rstest]
#[case::absent(Looked::Absent, Some("NoClaim"))]
#[case::one_machine_only(Looked::There(vec!["ReadWriteOnce".into()]), Some("ClaimNotShared"))]
#[case::shared(Looked::There(vec!["ReadWriteMany".into()]), None)]
fn a_shared_claim_must_be_one(#[case] found: Looked<Vec<String>>, #[case] expected: Option<&str>) {
    let mut plan = plan();
    plan.spec.models[0].cache = Some(Cache { shared_claim: Some("models".into()), ephemeral: None });
    let catalogue = Catalogue { claims: [("models".to_owned(), found)].into(), ..Catalogue::default() };

    assert_eq!(reason(&plan, &Cluster { catalogue: Some(catalogue), ..cluster(&json!({})) }), expected);
}

#[rstest]
#[case::absent(Looked::Absent, Some("NoRuntimeClass"))]
#[case::there(Looked::There(()), None)]
fn a_runtime_class_is_looked_for(#[case] found: Looked<()>, #[case] expected: Option<&str>) {
    let mut plan = plan();
    plan.spec.arms[0].node_pool.as_mut().unwrap().runtime_class_name = Some("nvidia".into());
    let catalogue = Catalogue { runtime_classes: [("nvidia".to_owned(), found)].into(), ..Catalogue::default() };

    assert_eq!(reason(&plan, &Cluster { catalogue: Some(catalogue), ..cluster(&json!({})) }), expected);
}

#[rstest]
#[case::absent(Looked::Absent, Some("NoService"))]
#[case::another_port(Looked::There(vec![80, 443]), Some("NoServicePort"))]
#[case::there(Looked::There(vec![8080, 9090]), None)]
#[case::a_name_elsewhere(Looked::There(Vec::new()), None)]
#[case::not_to_be_read(Looked::Unknown, None)]
fn a_foreign_routers_service_is_looked_for(#[case] found: Looked<Vec<u32>>, #[case] expected: Option<&str>) {
    let mut plan = plan();
    plan.spec.routers[0].service_ref = Some(ServiceRef { name: "theirs".into(), port: 8080 });
    let catalogue = Catalogue { services: [("theirs".to_owned(), found)].into(), ..Catalogue::default() };

    assert_eq!(reason(&plan, &Cluster { catalogue: Some(catalogue), ..cluster(&json!({})) }), expected);
}

#[test]
fn an_arm_of_existing_servers_needs_its_service_alone() {
    let mut plan = plan();
    plan.spec.arms.truncate(1);
    plan.spec.arms[0].node_pool = None;
    plan.spec.arms[0].service_ref = Some(ServiceRef { name: "vllm".into(), port: 8000 });
    let of = |found| {
        let catalogue = Catalogue { services: [("vllm".to_owned(), found)].into(), ..Catalogue::default() };
        Cluster { nodes: Some(Vec::new()), gpu_pods: Some(Vec::new()), catalogue: Some(catalogue) }
    };

    assert_eq!(reason(&plan, &of(Looked::Absent)), Some("NoService"));
    assert_eq!(reason(&plan, &of(Looked::There(vec![8000]))), None);
}

#[test]
fn what_may_not_be_read_is_said_to_be_unchecked() {
    assert_eq!(preflight(&plan(), &Cluster::default(), &BTreeSet::new()), Preflight::NotChecked);
    let Preflight::Passed(said) =
        preflight(&plan(), &Cluster { gpu_pods: None, ..cluster(&json!({})) }, &BTreeSet::new())
    else {
        panic!("nothing is missing")
    };
    assert!(said.contains("exclusivity not checked"), "{said}");
}
