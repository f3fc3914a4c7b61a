//! The bytes of `plan.json`: written, digested, read back, compared with a campaign.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    SCHEMA_VERSION,
    error::PlanFileError,
    model::{Block, Plan},
};
use crate::{
    campaign::{BenchmarkCampaignSpec, FailurePolicy},
    policy::RouterPolicySpec,
};

impl Plan {
    /// The plan as canonical JSON (RFC 8785): the bytes of `plan.json`. Equal plans give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a plan has string keys, integers and no other numbers")
    }

    /// SHA-256 of [`Plan::to_json`], in hex. Runs and evidence are bound to the digest of the plan as it was built,
    /// not to that of an effective plan.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.to_json()))
    }

    /// Reads `plan.json`.
    ///
    /// # Errors
    /// It is no plan, of another version, or names conditions or boots by indices that it does not have.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PlanFileError> {
        let plan: Self = serde_json::from_slice(bytes).map_err(PlanFileError::Malformed)?;
        if plan.schema_version != SCHEMA_VERSION {
            return Err(PlanFileError::Version { found: plan.schema_version, known: SCHEMA_VERSION });
        }
        let (conditions, boots) = (plan.conditions.len(), plan.boots.len());
        let dangles = |block: &Block| block.condition >= conditions || block.runs.iter().any(|run| run.boot >= boots);
        match plan.blocks.iter().position(dangles) {
            Some(block) => Err(PlanFileError::Dangling(block)),
            None => Ok(plan),
        }
    }

    /// Whether the plan was built from this campaign, what may change after the start aside.
    #[must_use]
    pub fn is_of(
        &self,
        name: &str,
        spec: &BenchmarkCampaignSpec,
        policies: &BTreeMap<String, RouterPolicySpec>,
    ) -> bool {
        self.campaign == name && self.spec == frozen(spec) && self.policies == used_policies(spec, policies)
    }
}

/// The spec with all that may change after the start at its default, so that such a change is no change of the plan.
pub(super) fn frozen(spec: &BenchmarkCampaignSpec) -> BenchmarkCampaignSpec {
    BenchmarkCampaignSpec {
        suspend: false,
        cancel: false,
        failure_policy: FailurePolicy::default(),
        budget: None,
        deadline_seconds: None,
        ttl_seconds_after_finished: None,
        ..spec.clone()
    }
}

/// The policies that routers name; others in the same file are none of the campaign's.
pub(super) fn used_policies(
    spec: &BenchmarkCampaignSpec,
    policies: &BTreeMap<String, RouterPolicySpec>,
) -> BTreeMap<String, RouterPolicySpec> {
    spec.routers
        .iter()
        .filter_map(|router| router.policy_ref.as_ref())
        .filter_map(|policy| policies.get_key_value(&policy.name))
        .map(|(name, policy)| (name.clone(), policy.clone()))
        .collect()
}
