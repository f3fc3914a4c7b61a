//! Models and how requests reach the servers.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{arm::ServiceRef, engine::EngineSettings};

/// A model, pinned to one revision.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name of the model; files and labels use it.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// What plots and the notebook tree show, for instance `Llama3.1 8B` (default: the name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9 ._()+-]*$"))]
    pub display_name: Option<String>,
    /// Repository on the hub, as `owner/name`.
    #[schemars(
        length(min = 3, max = 200),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    )]
    pub repository: String,
    /// Commit of the repository: 40 hex digits, so that all boots load the same weights.
    #[schemars(length(min = 40, max = 40), regex(pattern = r"^[0-9a-f]{40}$"))]
    pub revision: String,
    /// Secret with the hub's token, for gated models; only the download sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyRef>,
    /// Where the weights are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Settings that override the engine's for this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSettings>,
}

impl Model {
    /// What people read.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.name)
    }
}

/// A key of a Secret in the campaign's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

/// Where weights are kept; give exactly one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.sharedClaim) != has(self.ephemeral)",
        "spec.models[].cache: give exactly one of sharedClaim and ephemeral; remove the other")
)]
pub struct Cache {
    /// Name of a ReadWriteMany claim that all servers share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub shared_claim: Option<String>,
    /// A volume of each server's own, filled anew at every boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<EphemeralCache>,
}

/// A volume of each server's own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EphemeralCache {
    /// Storage class of the volume (default: the cluster's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub storage_class_name: Option<String>,
    /// Size, for instance `100Gi`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub size: String,
}

/// How requests reach the servers; give exactly one of `direct`, `policyRef` and `serviceRef`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(has(self.direct) ? 1 : 0) + (has(self.policyRef) ? 1 : 0) + (has(self.serviceRef) ? 1 : 0) == 1",
        "spec.routers[]: give exactly one of direct, policyRef and serviceRef; remove the others")
)]
pub struct Router {
    /// Name of the router; files and labels use it.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The load generator itself takes the servers in turn: no proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// A RouterPolicy in the campaign's namespace, or a document of the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// A foreign router's Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
}

/// Requests go straight to the servers, in turn.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Direct {
    /// Most requests in flight to one server at a time; 0 means unbounded.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65536))]
    pub max_in_flight_per_server: u32,
}

/// Names a RouterPolicy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Name of the RouterPolicy.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
}
