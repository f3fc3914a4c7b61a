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
        data: Some(fitting(summary_json, summary_csv)),
        ..ConfigMap::default()
    }
}

/// Most bytes of a ConfigMap's data: the API server takes 1 MiB, names and labels included.
const MOST_BYTES: usize = 900 * 1024;

/// The files that fit, the table first, as a summary cut in two is none. What is left out is said in a file beside them.
fn fitting(summary_json: &str, summary_csv: &str) -> BTreeMap<String, String> {
    let mut data = BTreeMap::new();
    let mut left_out = Vec::new();
    let mut room = MOST_BYTES;
    for (name, text) in [("summary.csv", summary_csv), ("summary.json", summary_json)] {
        if text.len() <= room {
            room -= text.len();
            data.insert(name.to_owned(), text.to_owned());
        } else {
            left_out.push(format!("{name} has {} bytes and does not fit here; the results store has it\n", text.len()));
        }
    }
    if !left_out.is_empty() {
        data.insert("left-out.txt".to_owned(), left_out.concat());
    }
    data
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::both_fit(1000, 1000, &["summary.csv", "summary.json"])]
    #[case::the_summary_is_too_large(MOST_BYTES, 1000, &["left-out.txt", "summary.csv"])]
    #[case::both_are_too_large(MOST_BYTES + 1, MOST_BYTES + 1, &["left-out.txt"])]
    fn what_does_not_fit_is_left_out_whole_and_said(
        #[case] json: usize,
        #[case] csv: usize,
        #[case] expected: &[&str],
    ) {
        let data = fitting(&"j".repeat(json), &"c".repeat(csv));
        assert_eq!(data.keys().collect::<Vec<_>>(), expected);
        assert!(data.values().map(String::len).sum::<usize>() <= MOST_BYTES + 500);
        assert_eq!(data.get("left-out.txt").is_some_and(|text| text.contains("summary.json")), json >= MOST_BYTES);
    }
}
