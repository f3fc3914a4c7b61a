//! What a campaign needs of a cluster before servers are started. The checks are pure and the same for the operator and
//! for `teebench preflight`; only the catalogue holds a client.
//!
//! Images and the keys of Secrets are not among them: nobody here reads a Secret or a registry. A kubelet tells of both
//! when it starts the first pod.

mod catalogue;
mod machines;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use teebench_api::{campaign::ServiceRef, plan::Plan};

pub use self::{
    catalogue::{Catalogue, Looked},
    machines::{foreign_gpu_pods, gpus_requested, machines_of},
};

/// The claims' access mode with which servers on several machines can share one.
const SHARED: &str = "ReadWriteMany";

/// What is known of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its nodes; absent when they may not be read.
    pub nodes: Option<Vec<Arc<Node>>>,
    /// Pods that ask for GPUs; absent when they may not be read.
    pub gpu_pods: Option<Vec<Arc<Pod>>>,
    /// Objects that the campaign names; absent when nobody looked for them.
    pub catalogue: Option<Catalogue>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is as the campaign needs it.
    Passed(String),
    /// It may not be read, so nothing is known.
    NotChecked(String),
    /// It is missing; no server is started before it is there.
    Missing {
        /// One word for programs.
        reason: &'static str,
        /// A sentence for people, with the field and the mend.
        message: String,
    },
}

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

/// Looks at everything that a plan needs of a cluster. Pods of campaigns with these uids are known,
/// and not foreign.
#[must_use]
pub fn checks(plan: &Plan, cluster: &Cluster, known: &BTreeSet<String>) -> Vec<Check> {
    let mut checks = machines::checks(plan, cluster, known);
    if let Some(catalogue) = &cluster.catalogue {
        checks.extend(named(plan, catalogue));
    }
    checks
}

/// The checks as one.
#[must_use]
pub fn preflight(plan: &Plan, cluster: &Cluster, known: &BTreeSet<String>) -> Preflight {
    let checks = checks(plan, cluster, known);
    let missing = checks.iter().find_map(|check| match check {
        Check::Missing { reason, message } => Some(Preflight::Missing { reason, message: message.clone() }),
        Check::Passed(_) | Check::NotChecked(_) => None,
    });
    if let Some(missing) = missing {
        return missing;
    }
    if cluster.nodes.is_none() {
        return Preflight::NotChecked;
    }
    let said = checks.into_iter().filter_map(|check| match check {
        Check::Passed(said) | Check::NotChecked(said) => Some(said),
        Check::Missing { .. } => None,
    });
    Preflight::Passed(said.collect::<Vec<_>>().join(", "))
}

/// Classes, claims and Services by their names.
fn named(plan: &Plan, catalogue: &Catalogue) -> Vec<Check> {
    let mut checks = Vec::new();
    let spec = &plan.spec;
    for (index, arm) in spec.arms.iter().enumerate() {
        if let Some(name) = arm.node_pool.as_ref().and_then(|pool| pool.runtime_class_name.as_ref()) {
            let field = format!("spec.arms[{index}].nodePool.runtimeClassName");
            checks.extend(class(&catalogue.runtime_classes, name, &field, "RuntimeClass", "NoRuntimeClass"));
        }
        if let Some(named) = &arm.service_ref {
            checks.extend(service(catalogue, named, &format!("spec.arms[{index}].serviceRef")));
        }
    }
    for (index, router) in spec.routers.iter().enumerate() {
        if let Some(named) = &router.service_ref {
            checks.extend(service(catalogue, named, &format!("spec.routers[{index}].serviceRef")));
        }
    }
    if let Some(name) = spec.scheduling.as_ref().and_then(|scheduling| scheduling.priority_class_name.as_ref()) {
        let field = "spec.scheduling.priorityClassName";
        checks.extend(class(&catalogue.priority_classes, name, field, "PriorityClass", "NoPriorityClass"));
    }
    for (index, model) in spec.models.iter().enumerate() {
        let Some(cache) = &model.cache else { continue };
        if let Some(name) = cache.ephemeral.as_ref().and_then(|ephemeral| ephemeral.storage_class_name.as_ref()) {
            let field = format!("spec.models[{index}].cache.ephemeral.storageClassName");
            checks.extend(class(&catalogue.storage_classes, name, &field, "StorageClass", "NoStorageClass"));
        }
        if let Some(name) = &cache.shared_claim {
            checks.extend(claim(catalogue, name, &format!("spec.models[{index}].cache.sharedClaim")));
        }
    }
    checks
}

/// A class by its name; one that nobody looked up says nothing.
fn class<T>(
    known: &BTreeMap<String, Looked<T>>,
    name: &str,
    field: &str,
    kind: &str,
    reason: &'static str,
) -> Option<Check> {
    Some(match known.get(name)? {
        Looked::There(_) => Check::Passed(format!("{kind} {name} is there")),
        Looked::Unknown => Check::NotChecked(format!("{kind} {name} was not checked: it may not be read")),
        Looked::Absent => {
            Check::Missing { reason, message: format!("{field}: no {kind} \"{name}\"; make it or correct the name") }
        }
    })
}

fn service(catalogue: &Catalogue, named: &ServiceRef, field: &str) -> Option<Check> {
    let ServiceRef { name, port } = named;
    Some(match catalogue.services.get(name)? {
        // One that stands for a name elsewhere may list no port at all.
        Looked::There(ports) if ports.is_empty() || ports.contains(port) => {
            Check::Passed(format!("Service {name} is there"))
        }
        Looked::There(ports) => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let message = format!(
                "{field}.port: Service \"{name}\" has no port {port}; it has {}, name one of them",
                ports.join(", ")
            );
            Check::Missing { reason: "NoServicePort", message }
        }
        Looked::Unknown => Check::NotChecked(format!("Service {name} was not checked: it may not be read")),
        Looked::Absent => Check::Missing {
            reason: "NoService",
            message: format!(
                "{field}.name: no Service \"{name}\" in the campaign's namespace; make it or correct the name"
            ),
        },
    })
}

fn claim(catalogue: &Catalogue, name: &str, field: &str) -> Option<Check> {
    Some(match catalogue.claims.get(name)? {
        Looked::There(modes) if modes.iter().any(|mode| mode == SHARED) => {
            Check::Passed(format!("claim {name} can be shared"))
        }
        Looked::There(modes) => Check::Missing {
            reason: "ClaimNotShared",
            message: format!(
                "{field}: PersistentVolumeClaim \"{name}\" has the access modes {} and {SHARED} is needed; name another claim",
                modes.join(", ")
            ),
        },
        Looked::Unknown => Check::NotChecked(format!("claim {name} was not checked: it may not be read")),
        Looked::Absent => Check::Missing {
            reason: "NoClaim",
            message: format!(
                "{field}: no PersistentVolumeClaim \"{name}\" in the campaign's namespace; make it or correct the name"
            ),
        },
    })
}
