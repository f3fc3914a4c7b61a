//! Nodes of each arm: there, ready, tolerated, with enough GPUs, and nobody else's pods on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod, ResourceRequirements, Taint};
use kube::ResourceExt;
use teebench_api::{
    campaign::{
        NodePool,
        arm::{TaintEffect, Toleration, TolerationOperator},
    },
    plan::Plan,
};

use super::{Check, Cluster};
use crate::operator::labels::CAMPAIGN_UID;

/// The resource that a GPU is to the scheduler.
const GPU: &str = "nvidia.com/gpu";
/// Longest list of nodes or pods that a sentence has.
const MOST_NAMED: usize = 3;

/// Looks at the machines of every arm.
pub(super) fn checks(plan: &Plan, cluster: &Cluster, known: &BTreeSet<String>) -> Vec<Check> {
    let Some(nodes) = &cluster.nodes else {
        return vec![Check::NotChecked("nodes were not checked: they may not be read".into())];
    };
    let mut checks = Vec::new();
    for (index, arm) in plan.spec.arms.iter().enumerate() {
        if let Some(pool) = &arm.node_pool {
            let field = format!("spec.arms[{index}].nodePool");
            checks.push(pool_check(plan, &arm.name, pool, &field, nodes));
        }
    }
    match &cluster.gpu_pods {
        Some(pods) => {
            let foreign = foreign_gpu_pods(pods, &machines_of(plan, nodes), known);
            if !foreign.is_empty() {
                let message = format!(
                    "spec.arms[].nodePool.selector: {} on the campaign's machines; wait for their end or choose other machines",
                    some_of(&foreign)
                );
                checks.push(Check::Missing { reason: "ForeignGpuPods", message });
            }
        }
        None => checks.push(Check::NotChecked("exclusivity not checked".into())),
    }
    checks
}

fn pool_check(plan: &Plan, arm: &str, pool: &NodePool, field: &str, nodes: &[Arc<Node>]) -> Check {
    let NodePool { selector, runtime_class_name: _, tolerations, scale_from_zero } = pool;
    let of_arm: Vec<&Node> = nodes.iter().map(AsRef::as_ref).filter(|node| has_labels(node, selector)).collect();
    if *scale_from_zero {
        return Check::Passed(format!("{arm} scales from zero"));
    }
    let missing = |reason, message: String| Check::Missing { reason, message };
    if of_arm.is_empty() {
        return missing(
            "NoNodes",
            format!(
                "{field}.selector: no node has the labels {}; add nodes, correct the selector, or set scaleFromZero",
                shown(selector)
            ),
        );
    }
    let ready: Vec<&Node> = of_arm.iter().copied().filter(|node| is_ready(node)).collect();
    if ready.is_empty() {
        let names: Vec<String> = of_arm.iter().map(|node| node.name_any()).collect();
        return missing(
            "NodesNotReady",
            format!("{field}.selector: {} not ready or cordoned; mend or uncordon them", some_of(&names)),
        );
    }
    let usable: Vec<&Node> = ready.iter().copied().filter(|node| untolerated(node, tolerations).is_none()).collect();
    if usable.is_empty() {
        let taint = ready.iter().find_map(|node| untolerated(node, tolerations)).map(told).unwrap_or_default();
        return missing(
            "TaintNotTolerated",
            format!("{field}.tolerations: its nodes have the taint {taint}; add a toleration of it"),
        );
    }
    let each = gpus_of_server(plan, arm);
    let needed = u64::from(plan.replicas());
    if each > 0 {
        let room: u64 = usable.iter().map(|node| gpus_of(node) / each).sum();
        if room < needed {
            let there: u64 = usable.iter().map(|node| gpus_of(node)).sum();
            return missing(
                "TooFewGpus",
                format!(
                    "{field}.selector: its {} nodes have {there} {GPU} to allocate, room for {room} servers of {each} each, and {needed} are needed; add nodes or lower replicas",
                    usable.len()
                ),
            );
        }
    }
    Check::Passed(format!("{arm} has {} of {} nodes", of_arm.len(), nodes.len()))
}

/// Names of all nodes that a plan's servers may run on. A pool that scales from zero has a name of its own beside them:
/// of two campaigns that wait for its first node, one waits for the other.
#[must_use]
pub fn machines_of(plan: &Plan, nodes: &[Arc<Node>]) -> BTreeSet<String> {
    let pools = || plan.spec.arms.iter().filter_map(|arm| arm.node_pool.as_ref());
    let is_of_one = |node: &&Arc<Node>| pools().any(|pool| has_labels(node, &pool.selector));
    let growing = pools().filter(|pool| pool.scale_from_zero).map(|pool| format!("pool {}", shown(&pool.selector)));
    nodes.iter().filter(is_of_one).map(|node| node.name_any()).chain(growing).collect()
}

/// Pods that hold GPUs of these machines and belong to no campaign that is known, each in words.
#[must_use]
pub fn foreign_gpu_pods(pods: &[Arc<Pod>], machines: &BTreeSet<String>, known: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let has_ended = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
        let is_known = pod.labels().get(CAMPAIGN_UID).is_some_and(|owner| known.contains(owner));
        if machines.contains(node) && !has_ended && !is_known && gpus_requested(pod) > 0 {
            let namespace = pod.namespace().unwrap_or_default();
            found.push(format!("pod {namespace}/{} holds GPUs of {node}", pod.name_any()));
        }
    }
    found.sort();
    found
}

/// GPUs that a pod asks for.
#[must_use]
pub fn gpus_requested(pod: &Pod) -> u64 {
    let of = |resources: &ResourceRequirements| {
        let asked = resources.limits.as_ref().and_then(|limits| limits.get(GPU));
        let asked = asked.or_else(|| resources.requests.as_ref().and_then(|requests| requests.get(GPU)));
        asked.and_then(|quantity| quantity.0.parse::<u64>().ok()).unwrap_or(0)
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.filter_map(|container| container.resources.as_ref()).map(of).sum()
}

/// GPUs that each of an arm's servers asks for, the most of all boots; simulated servers ask for none.
fn gpus_of_server(plan: &Plan, arm: &str) -> u64 {
    if plan.simulated() {
        return 0;
    }
    let each =
        (0..plan.boots.len()).filter_map(|boot| plan.boot_engine_for(boot, arm)).map(|engine| engine.gpus_per_server());
    u64::from(each.max().unwrap_or(1))
}

fn has_labels(node: &Node, selector: &BTreeMap<String, String>) -> bool {
    let labels = node.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether new pods may be placed on a node; one that says nothing of itself counts as ready.
fn is_ready(node: &Node) -> bool {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    !is_cordoned && ready.is_none_or(|condition| condition.status == "True")
}

/// A taint that keeps the pods away.
fn untolerated<'a>(node: &'a Node, tolerations: &[Toleration]) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref())?;
    // The node controller sets and lifts its own taints; a node that is not ready is told as that.
    let stays = |taint: &&Taint| taint.effect != "PreferNoSchedule" && !taint.key.starts_with("node.kubernetes.io/");
    taints.iter().filter(stays).find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let Toleration { key, operator, value, effect } = toleration;
    let is_of_effect = match effect {
        None => true,
        Some(TaintEffect::NoSchedule) => taint.effect == "NoSchedule",
        Some(TaintEffect::NoExecute) => taint.effect == "NoExecute",
        Some(TaintEffect::PreferNoSchedule) => taint.effect == "PreferNoSchedule",
    };
    let is_of_value = *operator == Some(TolerationOperator::Exists)
        || value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    *key == taint.key && is_of_effect && is_of_value
}

fn gpus_of(node: &Node) -> u64 {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    allocatable.and_then(|resources| resources.get(GPU)).and_then(|quantity| quantity.0.parse().ok()).unwrap_or(0)
}

fn told(taint: &Taint) -> String {
    let value = taint.value.as_deref().map(|value| format!("={value}")).unwrap_or_default();
    format!("{}{value}:{}", taint.key, taint.effect)
}

fn shown(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
