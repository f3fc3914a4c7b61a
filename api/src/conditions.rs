//! Conditions: their types and reasons as constants, in one place.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition types of a campaign, in the order they are settled.
pub mod types {
    /// References resolve and the plan fits the budget.
    pub const ACCEPTED: &str = "Accepted";
    /// Nodes, GPUs, images, secrets and storage are there.
    pub const PREFLIGHT_PASSED: &str = "PreflightPassed";
    /// The evidence of every arm supports its claim.
    pub const ATTESTATION_VERIFIED: &str = "AttestationVerified";
    /// Results are in the store and the ConfigMap.
    pub const RESULTS_PUBLISHED: &str = "ResultsPublished";
    /// The campaign ended, and how.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Something that needs a person holds the campaign up.
    pub const STALLED: &str = "Stalled";
    /// For tools that know only this type.
    pub const READY: &str = "Ready";
    /// A policy reached the routers.
    pub const PROGRAMMED: &str = "Programmed";
}

/// Whether a condition holds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
    Unknown,
}

/// One condition, shaped as Kubernetes' `metav1.Condition`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition speaks of.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the spec that it was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(with = "String", length(max = 64), extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// One CamelCase word for programs.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// A sentence for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}
