//! What a campaign needs of the cluster before servers are started.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use teebench_api::{campaign::NodePool, plan::Plan};

/// The resource that a GPU is to the scheduler.
const GPU: &str = "nvidia.com/gpu";

/// What was found before servers are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Nothing stands in the way.
    Passed(String),
    /// The nodes may not be read, so nothing is known.
    NotChecked,
    /// Something is missing; no server is started before it is there.
    Missing {
        /// One word for programs.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// Looks whether every arm has nodes, and GPUs on them.
#[must_use]
pub fn preflight(plan: &Plan, nodes: Option<&[Arc<Node>]>) -> Preflight {
    let Some(nodes) = nodes else { return Preflight::NotChecked };
    let mut found = Vec::new();
    for (index, arm) in plan.spec.arms.iter().enumerate() {
        let Some(NodePool { selector, runtime_class_name: _, tolerations: _, scale_from_zero }) = &arm.node_pool else {
            continue;
        };
        let of_arm: Vec<&Arc<Node>> = nodes.iter().filter(|node| has_labels(node, selector)).collect();
        if *scale_from_zero {
            found.push(format!("{} scales from zero", arm.name));
            continue;
        }
        if of_arm.is_empty() {
            let message = format!(
                "spec.arms[{index}].nodePool.selector: no node has the labels {}; add nodes, correct the selector, or set scaleFromZero",
                shown(selector)
            );
            return Preflight::Missing { reason: "NoNodes", message };
        }
        let needed = gpus_needed(plan, &arm.name);
        let there: u64 = of_arm.iter().map(|node| gpus_of(node)).sum();
        if there < needed {
            let message = format!(
                "spec.arms[{index}].nodePool.selector: its {} nodes have {there} {GPU} to allocate and {needed} are needed; add nodes or lower replicas",
                of_arm.len()
            );
            return Preflight::Missing { reason: "TooFewGpus", message };
        }
        found.push(format!("{} has {} of {} nodes", arm.name, of_arm.len(), nodes.len()));
    }
    Preflight::Passed(found.join(", "))
}

/// GPUs that an arm's servers ask for at once; simulated servers ask for none.
fn gpus_needed(plan: &Plan, arm: &str) -> u64 {
    if plan.simulated() {
        return 0;
    }
    let each =
        (0..plan.boots.len()).filter_map(|boot| plan.boot_engine_for(boot, arm)).map(|engine| engine.gpus_per_server());
    u64::from(plan.replicas()) * u64::from(each.max().unwrap_or(1))
}

fn has_labels(node: &Node, selector: &BTreeMap<String, String>) -> bool {
    let labels = node.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn gpus_of(node: &Node) -> u64 {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    allocatable.and_then(|resources| resources.get(GPU)).and_then(|quantity| quantity.0.parse().ok()).unwrap_or(0)
}

fn shown(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
