//! Who owns what is made for a campaign: when the campaign goes, so does all of it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use teebench_api::campaign::BenchmarkCampaign;

/// The campaign that owns an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Name of the campaign.
    pub name: &'a str,
    /// Its namespace, in which all its objects are.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

impl Owner<'_> {
    /// Metadata of an object that goes when the campaign goes.
    pub(super) fn metadata(&self, name: String, labels: BTreeMap<String, String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: BenchmarkCampaign::api_version(&()).into_owned(),
            kind: BenchmarkCampaign::kind(&()).into_owned(),
            name: self.name.to_owned(),
            uid: self.uid.to_owned(),
            controller: Some(true),
            // A foreground deletion of the campaign waits until nothing of it runs any more.
            block_owner_deletion: Some(true),
        }
    }
}
