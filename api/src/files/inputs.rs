//! The frozen inputs of one attempt: all that the load generator needs, so that it asks nobody anything.

use serde::{Deserialize, Serialize};

use crate::{
    campaign::{Dataset, Energy, MinimumEvidence, Slo, Tee},
    plan::{LoadPoint, RouterTarget, RunId},
};

/// What one attempt does and with whom.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunInputs {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Name of the campaign.
    pub campaign: String,
    /// SHA-256 of the plan's canonical JSON, in hex.
    pub plan_sha256: String,
    /// The run.
    pub run: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Ordinal of the attempt in the campaign, from 1; the routers' epochs follow from it.
    pub epoch: u64,
    /// Ordinal of the block.
    pub block: usize,
    /// Ordinal of the boot.
    pub boot: usize,
    /// How often servers were started so far for that boot, from 1.
    pub boot_generation: u32,
    /// Seed of prompts and arrivals.
    pub seed: u64,
    /// 32 random bytes drawn by the executor for this attempt, in hex.
    pub salt: String,
    /// Whether the engine is simulated.
    pub simulated: bool,
    /// TEE state that the arm declares.
    pub tee: Tee,
    /// Weakest evidence that supports tee Enabled.
    pub minimum_evidence: MinimumEvidence,
    /// Reference manifests that the GPUs' reports are held against; absent where the arm names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<ReferenceInput>,
    /// Name by which the servers know the model.
    pub served_model: String,
    /// Where prompts come from.
    pub dataset: Dataset,
    /// The file of a data set that is read from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_file: Option<DatasetInput>,
    /// Seed of the order in which repetitions go through that file, each where the one before ended.
    #[serde(default)]
    pub dataset_seed: u64,
    /// How requests arrive.
    pub load: LoadPoint,
    /// Output tokens of each request; absent where the data set's file says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// Requests before the window.
    pub warmup_requests: u32,
    /// Service-level objectives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// How requests reach the servers.
    pub target: RouterTarget,
    /// The servers; request i enters at server i mod N.
    pub servers: Vec<ServerInput>,
    /// The gateways before them, in their order. Where there are none, a policy of topology Gateway enters at the
    /// routers beside the first servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayInput>,
    /// Differences between arms, found at the boot, that break the comparison; they make the run Inconclusive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parity_broken: Vec<String>,
    /// How energy is measured.
    pub energy: Energy,
    /// Whether generated texts are kept.
    pub keep_texts: bool,
    /// Longest time in seconds for the whole attempt.
    pub deadline_seconds: u64,
}

/// The file of a data set, where the load generator finds it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DatasetInput {
    /// Its path on the load generator's machine.
    pub path: String,
    /// SHA-256 that its bytes must have, in hex; absent when nobody has read it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Reference manifests, where the load generator finds them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceInput {
    /// The directory of the manifests on the load generator's machine.
    pub directory: String,
    /// Name of the ConfigMap that is mounted there, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
    /// SHA-256 in hex that each must have, as the arm pins them.
    pub rim_sha256: Vec<String>,
}

/// One server of an attempt.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServerInput {
    /// Its ordinal in the arm, from 0.
    pub ordinal: u32,
    /// Pod uid, or process identity; another one fails the run.
    pub uid: String,
    /// Base address of its engine.
    pub engine_url: String,
    /// Base address of its probe; absent for a server that is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_url: Option<String>,
    /// Base address of its router's data port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_url: Option<String>,
    /// Base address of its router's control port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_control_url: Option<String>,
    /// Seconds from start to the first served token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_seconds: Option<f64>,
    /// SHA-256 of the engine's command line less addresses and ports, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags_sha256: Option<String>,
    /// What the weights are, where they are not those of the model's repository and revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Where the engine idled with the model loaded, on the executor's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<super::run::Window>,
    /// What its machine's CPU signed since it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<super::evidence::CpuEvidence>,
}

/// One router in front of the servers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayInput {
    /// Base address of its data port.
    pub router_url: String,
    /// Base address of its control port.
    pub control_url: String,
}
