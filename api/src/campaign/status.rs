//! What the operator reports of a campaign. Each field names the one writer that owns it.
//!
//! Every field may be absent: a status that an earlier version wrote, and one that cannot be read, would hide all
//! campaigns from the operator, which lists them at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{conditions::Condition, files::evidence::EvidenceLevel};

/// What the operator reports of a campaign.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BenchmarkCampaignStatus {
    /// The generation that the conditions speak of. Written by the campaign controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// Accepted, PreflightPassed, AttestationVerified, ResultsPublished, Succeeded, Stalled and Ready. Written by the
    /// campaign controller, all at its first pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The plan in brief. Written once, when the campaign is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// How far the campaign is. Written after every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What it has cost so far. Written after every boot and run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
    /// What was found of each arm. Written after every boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub arms: Vec<ArmStatus>,
    /// Where the results are, and the headline. Written when results are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// When the first boot began. Written once; from then on the spec is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub start_time: Option<String>,
    /// When the campaign ended. Written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub completion_time: Option<String>,
}

/// The plan in brief.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStatus {
    /// SHA-256 of the plan's canonical JSON, in hex.
    #[schemars(length(max = 64))]
    pub digest: String,
    /// Blocks planned so far.
    pub blocks: u32,
    /// Runs planned so far.
    pub runs: u32,
}

/// How far a campaign is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Finished of planned runs, for instance `14/36`.
    #[schemars(length(max = 32))]
    pub summary: String,
    /// Runs that count.
    pub valid: u32,
    /// Runs that do not count, because evidence or circumstances do not support them.
    pub inconclusive: u32,
    /// Runs that failed.
    pub failed: u32,
    /// Runs planned so far.
    pub total: u32,
    /// The run that is executed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_run: Option<String>,
    /// When the campaign will end, by what runs have taken so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub estimated_completion_time: Option<String>,
}

/// What a campaign has cost.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Spent {
    /// Amount as a decimal number.
    #[schemars(length(max = 32))]
    pub amount: String,
    /// Currency by its ISO 4217 code.
    #[schemars(length(max = 3))]
    pub currency: String,
}

/// What was found of an arm.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ArmStatus {
    /// Name of the arm.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Distinct machines of the present boot.
    pub machines: u32,
    /// Weakest evidence among its servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceLevel>,
    /// Differences from the other arms, in a sentence; empty when there are none that matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub parity: Option<String>,
}

/// Where the results are, and the headline.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Name of the ConfigMap with the summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config_map_ref: Option<String>,
    /// SHA-256 of the summary, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// Address of the results tree in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub store_url: Option<String>,
    /// The effects that the columns show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<HeadlineEffects>,
}

/// The headline's effects, each as text with its 95 % interval, for instance `-7.1% [-7.9, -6.4]`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeadlineEffects {
    /// Change of output throughput by the TEE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub throughput_loss: Option<String>,
    /// Change of the median time to first token by the TEE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ttft: Option<String>,
    /// Change of end-to-end latency by routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub routing: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_an_earlier_version_is_read() {
        let older = serde_json::json!({
            "phase": "Running", "plan": {"digest": "ab"}, "progress": {"done": 3, "valid": 2}, "spent": {"amount": "1.00"},
            "arms": [{"name": "cc-on"}], "results": {"location": "elsewhere"},
        });
        let status: BenchmarkCampaignStatus = serde_json::from_value(older).unwrap();
        assert_eq!(status.progress.map(|progress| (progress.valid, progress.total)), Some((2, 0)));
        assert_eq!((status.arms[0].name.as_str(), status.arms[0].machines), ("cc-on", 0));
    }
}
