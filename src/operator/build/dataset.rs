//! The file of a run's data set: in the load pod it is mounted from where the campaign says it lies.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, Volume};
use teebench_api::{
    campaign::{
        Dataset,
        dataset::{ClaimFile, ConfigMapFile, FileSource},
    },
    plan::{Plan, next::Start},
};

/// Name of the volume.
pub(super) const DATASET: &str = "dataset";
/// Where it is mounted.
pub(super) const DATASET_DIR: &str = "/dataset";

/// Where the load pod of an attempt finds the file of its data set; nothing for data sets that are generated.
#[must_use]
pub fn dataset_path(plan: &Plan, start: &Start) -> Option<String> {
    let condition = plan.conditions.get(plan.blocks.get(start.block)?.condition)?;
    let FileSource { path: _, config_map, claim, sha256: _ } = condition.dataset.source()?;
    let key = config_map.as_ref().map(|file| &file.key);
    let path = key.or_else(|| claim.as_ref().map(|file| &file.path))?;
    Some(format!("{DATASET_DIR}/{path}"))
}

/// The volume with the file of a data set.
pub(super) fn volume(dataset: &Dataset) -> Option<Volume> {
    // A path of one machine was refused before the campaign was accepted.
    let FileSource { path: _, config_map, claim, sha256: _ } = dataset.source()?;
    let volume = Volume { name: DATASET.to_owned(), ..Volume::default() };
    if let Some(ConfigMapFile { name, key }) = config_map {
        let item = KeyToPath { key: key.clone(), path: key.clone(), mode: None };
        let source =
            ConfigMapVolumeSource { name: name.clone(), items: Some(vec![item]), ..ConfigMapVolumeSource::default() };
        return Some(Volume { config_map: Some(source), ..volume });
    }
    let ClaimFile { name, path: _ } = claim.as_ref()?;
    let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: Some(true) };
    Some(Volume { persistent_volume_claim: Some(source), ..volume })
}
