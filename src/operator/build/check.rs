//! What a valid campaign may ask for and a cluster does not offer.

use teebench_api::plan::Plan;

use super::BuildError;

/// Checks a plan before anything of it is started.
///
/// # Errors
/// The first thing that it asks for and that a cluster does not offer.
pub fn check(plan: &Plan) -> Result<(), BuildError> {
    let replicas = plan.spec.load_generator.replicas;
    if replicas > 1 {
        return Err(BuildError::LoadReplicas(replicas));
    }
    if let Some(arm) = plan.spec.arms.iter().find(|arm| arm.service_ref.is_some()) {
        return Err(BuildError::ExistingServers(arm.name.clone()));
    }
    for experiment in &plan.spec.experiments {
        if let Some(path) = experiment.dataset.source().and_then(|source| source.path.as_ref()) {
            return Err(BuildError::DatasetFile { experiment: experiment.name.clone(), path: path.clone() });
        }
    }
    Ok(())
}
