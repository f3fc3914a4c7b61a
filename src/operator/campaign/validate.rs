//! Whether a campaign can be run: references resolve, a plan can be made of it, and the plan fits the budget.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use teebench_api::{
    campaign::BenchmarkCampaign,
    plan::{self, Plan},
    policy::RouterPolicySpec,
    validate::problems,
};

use super::world::World;
use crate::operator::build;

/// Why a campaign is not accepted: the reason and message of its condition `Accepted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people, with the field and the mend.
    pub message: String,
}

/// The plan that a campaign runs on: the stored one once it has begun, else the one that its spec gives now.
///
/// # Errors
/// What stands in the way, in the words of the condition `Accepted`.
pub fn accepted_plan(world: &World) -> Result<Plan, Refusal> {
    let World { campaign, policies, stored, .. } = world;
    let name = campaign.name_any();
    if let Some(stored) = stored {
        return if stored.plan.is_of(&name, &campaign.spec, &stored.plan.policies) {
            Ok(stored.plan.clone())
        } else {
            let message = "spec: it is no longer the one that was begun; delete the campaign and apply it anew";
            Err(refusal("SpecChanged", message.into()))
        };
    }
    known_policies(campaign, policies)?;
    let names: BTreeSet<String> = policies.keys().cloned().collect();
    if let Some(problem) = problems(&campaign.spec, &names).first() {
        return Err(refusal("Invalid", format!("{}: {}", problem.path, problem.message)));
    }
    let plan =
        plan::build(&name, &campaign.spec, policies).map_err(|error| refusal("Unplannable", error.to_string()))?;
    if let Err(error) = build::check(&plan) {
        return Err(refusal("NotSupported", error.to_string()));
    }
    match campaign.spec.budget.as_ref().and_then(|budget| plan.estimate.exceeds(budget)) {
        Some(message) => Err(refusal("OverBudget", message)),
        None => Ok(plan),
    }
}

fn refusal(reason: &'static str, message: String) -> Refusal {
    Refusal { reason, message }
}

fn known_policies(campaign: &BenchmarkCampaign, policies: &BTreeMap<String, RouterPolicySpec>) -> Result<(), Refusal> {
    for (index, router) in campaign.spec.routers.iter().enumerate() {
        if let Some(policy) = &router.policy_ref
            && !policies.contains_key(&policy.name)
        {
            let namespace = campaign.namespace().unwrap_or_default();
            return Err(refusal(
                "UnknownPolicy",
                format!(
                    "spec.routers[{index}].policyRef.name: no RouterPolicy \"{}\" in namespace \"{namespace}\"; apply it or correct the name",
                    policy.name
                ),
            ));
        }
    }
    Ok(())
}
