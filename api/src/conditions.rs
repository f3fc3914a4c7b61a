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

/// Reasons of conditions: one CamelCase word each, for programs. Those of `Succeeded` when a campaign has ended are the
/// names of [`Outcome`](crate::plan::next::Outcome); those of `Accepted=False` and `PreflightPassed=False` come from what
/// was found.
pub mod reasons {
    /// The campaign's plan was made and fits.
    pub const PLANNED: &str = "Planned";
    /// Everything that was looked for is there.
    pub const FOUND: &str = "Found";
    /// It was not looked for, for lack of rights.
    pub const NOT_CHECKED: &str = "NotChecked";
    /// What it speaks of has not come to pass yet.
    pub const NOT_YET: &str = "NotYet";
    /// Every arm's evidence supports its claim so far.
    pub const SUPPORTED: &str = "Supported";
    /// An arm's evidence does not support its claim.
    pub const NOT_SUPPORTED: &str = "NotSupported";
    /// No arm claims a TEE.
    pub const NOTHING_CLAIMED: &str = "NothingClaimed";
    /// Results are in the store and the ConfigMap.
    pub const PUBLISHED: &str = "Published";
    /// The campaign was not accepted, and does nothing.
    pub const NOT_ACCEPTED: &str = "NotAccepted";
    /// The campaign waits for what it needs.
    pub const WAITING: &str = "Waiting";
    /// The campaign waits for machines that another has.
    pub const QUEUED: &str = "Queued";
    /// The campaign goes on.
    pub const PROGRESSING: &str = "Progressing";
    /// A person halted the campaign.
    pub const SUSPENDED: &str = "Suspended";
    /// Something that does not mend itself stopped the controller.
    pub const FAILED: &str = "ReconcileFailed";
    /// The run waits for its servers.
    pub const BOOTING: &str = "Booting";
    /// The run is executed.
    pub const RUNNING: &str = "Running";
    /// A policy can be used.
    pub const VALID: &str = "Valid";
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

/// A condition as it is found now. It changed when its status did, and not before.
#[must_use]
pub fn found(
    previous: &[Condition],
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
    at: (Option<i64>, Timestamp),
) -> Condition {
    /// The schema's bound, and with it that of Kubernetes' own conditions, is higher; a person reads no more.
    const MOST_MESSAGE: usize = 1024;
    let (observed_generation, now) = at;
    // Whole seconds, as in all conditions of Kubernetes.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let unchanged = previous.iter().find(|known| known.type_ == type_ && known.status == status);
    let message: String = message.into();
    Condition {
        type_: type_.to_owned(),
        status,
        observed_generation,
        last_transition_time: unchanged.map_or(now, |known| known.last_transition_time),
        reason: reason.to_owned(),
        message: message.chars().take(MOST_MESSAGE).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> (Option<i64>, Timestamp) {
        (Some(1), Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_condition_changed_when_its_status_did() {
        let first = found(&[], types::ACCEPTED, ConditionStatus::True, "Planned", "36 runs", at(1));
        let same =
            found(std::slice::from_ref(&first), types::ACCEPTED, ConditionStatus::True, "Planned", "40 runs", at(2));
        let other = found(std::slice::from_ref(&same), types::ACCEPTED, ConditionStatus::False, "Invalid", "", at(3));

        assert_eq!((same.last_transition_time, same.message.as_str()), (first.last_transition_time, "40 runs"));
        assert_eq!(other.last_transition_time, at(3).1);
    }
}
