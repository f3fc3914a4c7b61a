//! What a valid campaign may ask for and a cluster does not offer.

use teebench_api::{plan::Plan, policy::Topology};

use super::BuildError;

/// Checks a plan before anything of it is started.
///
/// # Errors
/// The first thing that it asks for and that a cluster does not offer.
pub fn check(plan: &Plan) -> Result<(), BuildError> {
    let existing = plan.spec.arms.iter().find(|arm| arm.service_ref.is_some());
    let beside = plan.policies.iter().find(|(_, policy)| policy.topology == Topology::Sidecar);
    if let (Some(arm), Some((policy, _))) = (existing, beside) {
        return Err(BuildError::NoRouterBeside { arm: arm.name.clone(), policy: policy.clone() });
    }
    for experiment in &plan.spec.experiments {
        if let Some(path) = experiment.dataset.source().and_then(|source| source.path.as_ref()) {
            return Err(BuildError::DatasetFile { experiment: experiment.name.clone(), path: path.clone() });
        }
    }
    Ok(())
}
