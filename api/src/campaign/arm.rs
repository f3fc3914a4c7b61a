//! Arms: machines of one kind, with a declared TEE state and a price.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::EngineSettings;
use crate::files::evidence::EvidenceLevel;

/// Machines of one kind: a node pool, or a server that already runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.nodePool) != has(self.serviceRef)",
        "spec.arms[]: give exactly one of nodePool and serviceRef; remove the other"),
    validation = ("has(self.serviceRef) == (self.tee == 'Undeclared')",
        "spec.arms[].tee: Undeclared belongs to an arm with serviceRef, and only to it; say Enabled or Disabled otherwise"),
    validation = ("!has(self.minimumEvidence) || self.tee == 'Enabled'",
        "spec.arms[].minimumEvidence: only an arm with tee Enabled claims evidence; remove it or enable the TEE"),
    validation = ("!has(self.minimumEvidence) || self.minimumEvidence != 'Endorsed' || self.tee != 'Enabled' || has(self.endorsement)",
        "spec.arms[].endorsement: minimumEvidence Endorsed is held against reference manifests; give rimSha256"),
    validation = ("!has(self.endorsement) || self.tee == 'Enabled'",
        "spec.arms[].endorsement: only an arm with tee Enabled claims evidence; remove it or enable the TEE"),
    validation = ("!has(self.engine) || !has(self.serviceRef)",
        "spec.arms[].engine: an existing server cannot be given settings; remove engine or serviceRef")
)]
pub struct Arm {
    /// Name of the arm; files and labels use it.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The TEE state that the arm's machines are declared to have. Evidence must support it.
    pub tee: Tee,
    /// Weakest evidence that supports tee Enabled (default SelfReported).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_evidence: Option<MinimumEvidence>,
    /// What the evidence is held against beyond its signatures; needed for minimumEvidence Endorsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<Endorsement>,
    /// Machines to run servers on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_pool: Option<NodePool>,
    /// A server that already runs, in place of machines: no energy, and evidence stays Declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
    /// What a machine of this arm costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Settings that override the engine's and the model's on this arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSettings>,
    /// How several GPUs of one server are protected; needed for tee Enabled with more than one GPU a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_gpu: Option<MultiGpu>,
}

/// A declared TEE state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tee {
    /// The TEE is on.
    Enabled,
    /// The TEE is off.
    Disabled,
    /// Nothing is claimed; no TEE figure is computed from this arm.
    Undeclared,
}

impl Tee {
    /// The name, as in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::Undeclared => "Undeclared",
        }
    }
}

/// Weakest evidence that supports tee Enabled.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MinimumEvidence {
    /// The GPU's driver and the CPU say so inside the guest.
    #[default]
    SelfReported,
    /// A report signed by the GPU.
    DeviceSigned,
    /// A signed report that equals reference measurements, and the CPU's verified report.
    Endorsed,
}

impl From<MinimumEvidence> for EvidenceLevel {
    fn from(minimum: MinimumEvidence) -> Self {
        match minimum {
            MinimumEvidence::SelfReported => Self::SelfReported,
            MinimumEvidence::DeviceSigned => Self::DeviceSigned,
            MinimumEvidence::Endorsed => Self::Endorsed,
        }
    }
}

/// Reference manifests (RIM files) of the GPUs' driver and VBIOS.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Endorsement {
    /// SHA-256 of each manifest that counts, in hex: one for the driver and one for the VBIOS.
    #[schemars(length(min = 1, max = 16), inner(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$")))]
    pub rim_sha256: Vec<String>,
    /// Name of the ConfigMap with the manifests, a file each, in the campaign's namespace; a local run takes them by
    /// --references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub config_map: Option<String>,
}

/// How several GPUs of one server are protected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MultiGpu {
    /// Protected PCIe mode.
    ProtectedPcie,
}

/// Machines that an arm's servers run on.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// Labels that the nodes carry.
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub selector: BTreeMap<String, String>,
    /// Runtime class of the server pods, for instance `nvidia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub runtime_class_name: Option<String>,
    /// Taints of the nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Whether the pool may have no node yet and grows when pods wait.
    #[serde(default)]
    pub scale_from_zero: bool,
}

/// A taint that pods tolerate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.operator) || self.operator == 'Equal' || !has(self.value)",
        "spec.arms[].nodePool.tolerations[].value: belongs to operator Equal; remove it or change the operator")
)]
pub struct Toleration {
    /// Key of the taint.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// How the value is compared (default Equal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint, with operator Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint; absent tolerates all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// How a toleration compares values.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TolerationOperator {
    /// The value must be equal.
    Equal,
    /// Any value will do.
    Exists,
}

/// What a taint does to pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintEffect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away when they can.
    PreferNoSchedule,
    /// Running pods leave, too.
    NoExecute,
}

/// A Service in the campaign's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u32,
}

/// What a machine costs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// Price of one machine for one hour, as a decimal number in quotes.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]{1,12}(\.[0-9]{1,6})?$"))]
    pub per_machine_hour: String,
    /// Currency by its ISO 4217 code, for instance USD.
    #[schemars(length(min = 3, max = 3), regex(pattern = r"^[A-Z]{3}$"))]
    pub currency: String,
    /// Where the price was read.
    #[schemars(length(min = 1, max = 200))]
    pub source: String,
    /// When the price was read, as YYYY-MM-DD.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"), extend("format" = "date"))]
    pub as_of: String,
    /// Machines of this arm (default: one for each server).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub machines: Option<u32>,
}
