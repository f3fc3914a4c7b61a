//! The reference manifests of an arm: in the load pod they are mounted from the ConfigMap that the campaign names.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Volume};
use teebench_api::{files::inputs::RunInputs, plan::Plan};

/// Name of the volume.
pub(super) const REFERENCES: &str = "references";
/// Where it is mounted.
pub(super) const DIRECTORY: &str = "/references";

/// Where the load pod finds the manifests of an arm; nothing for one that names no ConfigMap.
#[must_use]
pub fn directory(plan: &Plan, arm: &str) -> Option<String> {
    plan.arm(arm)?.endorsement.as_ref()?.config_map.as_ref().map(|_| DIRECTORY.to_owned())
}

/// The volume with the manifests.
pub(super) fn volume(inputs: &RunInputs) -> Option<Volume> {
    let name = inputs.references.as_ref()?.config_map.clone()?;
    let source = ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() };
    Some(Volume { name: REFERENCES.to_owned(), config_map: Some(source), ..Volume::default() })
}
