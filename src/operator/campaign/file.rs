//! What a campaign leaves for people: the file that gives its plan anew, and the ConfigMap with its summary.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Resource, ResourceExt, core::ObjectMeta};
use serde_json::{Value, json};
use teebench_api::{campaign::BenchmarkCampaign, plan::Plan, policy::RouterPolicy};

use crate::operator::{
    labels::{self, Component},
    names,
};

/// The campaign and the policies of its plan as one file, which `teebench run` takes as well.
#[must_use]
pub fn campaign_yaml(campaign: &BenchmarkCampaign, plan: &Plan) -> Vec<u8> {
    let document = |kind: &str, name: &str, spec: Value| {
        let value = json!({"apiVersion": RouterPolicy::api_version(&()), "kind": kind, "metadata": {"name": name}, "spec": spec});
        serde_yaml::to_string(&value).expect("JSON values are valid YAML")
    };
    let mut documents = vec![document("BenchmarkCampaign", &campaign.name_any(), json!(campaign.spec))];
    documents.extend(plan.policies.iter().map(|(name, policy)| document("RouterPolicy", name, json!(policy))));
    documents.join("---\n").into_bytes()
}

/// The ConfigMap with a campaign's summary. It goes with the campaign; the store keeps what it holds.
#[must_use]
pub fn results_config_map(campaign: &BenchmarkCampaign, summary_json: &str, summary_csv: &str) -> ConfigMap {
    let name = campaign.name_any();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::results(&name)),
            namespace: campaign.namespace(),
            labels: Some(labels::common(&name, &campaign.uid().unwrap_or_default(), Component::Results)),
            owner_references: campaign.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            ("summary.json".to_owned(), summary_json.to_owned()),
            ("summary.csv".to_owned(), summary_csv.to_owned()),
        ])),
        ..ConfigMap::default()
    }
}
