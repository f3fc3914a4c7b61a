//! Campaigns to plan: the samples, and small ones in a few lines.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use serde::Deserialize;
use teebench_api::{
    campaign::{BenchmarkCampaign, BenchmarkCampaignSpec},
    plan::{self, Plan},
    policy::{RouterPolicy, RouterPolicySpec},
};

/// Policies by name.
pub type Policies = BTreeMap<String, RouterPolicySpec>;

/// Name, spec and policies of a sample.
pub fn sample(file: &str) -> (String, BenchmarkCampaignSpec, Policies) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut policies = Policies::new();
    let mut campaign = None;
    for document in serde_yaml::Deserializer::from_str(&text) {
        let value = serde_yaml::Value::deserialize(document).unwrap();
        if value["kind"] == "RouterPolicy" {
            let policy: RouterPolicy = serde_yaml::from_value(value).unwrap();
            policies.insert(policy.metadata.name.unwrap(), policy.spec);
        } else {
            campaign = Some(serde_yaml::from_value::<BenchmarkCampaign>(value).unwrap());
        }
    }
    let campaign = campaign.unwrap();
    (campaign.metadata.name.unwrap(), campaign.spec, policies)
}

/// The plan of a sample.
pub fn sample_plan(file: &str) -> Plan {
    let (name, spec, policies) = sample(file);
    plan::build(&name, &spec, &policies).unwrap()
}

/// A small campaign on the simulator: what it has, as numbers and a few lines of YAML.
pub struct Small<'a> {
    pub arms: usize,
    pub routers: usize,
    pub models: usize,
    pub restart: &'a str,
    /// Further fields of the spec.
    pub spec: &'a str,
    /// The list of experiments.
    pub experiments: &'a str,
}

impl Default for Small<'_> {
    fn default() -> Self {
        Self { arms: 2, routers: 1, models: 1, restart: "Repetition", spec: "", experiments: ONE }
    }
}

/// One condition, two repetitions.
pub const ONE: &str = "
- name: one
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {maxConcurrency: [8]}
  outputTokens: [32]
  repetitions: {minimum: 2}
";

impl Small<'_> {
    /// The campaign's spec. Arms are `arm-0`, `arm-1`, …, routers `router-0`, …, models `model-0`, ….
    pub fn spec(&self) -> BenchmarkCampaignSpec {
        let mut yaml = format!(
            "seed: 7\nengine:\n  restart: {}\n  simulator: {{profile: Tiny, maxNumSeqs: 4}}\n{}\narms:\n",
            self.restart, self.spec
        );
        for arm in 0..self.arms {
            writeln!(
                yaml,
                "- name: arm-{arm}\n  tee: Disabled\n  nodePool: {{selector: {{pool: a{arm}}}}}\n  \
                 price: {{perMachineHour: \"3.60\", currency: USD, source: test, asOf: \"2026-01-01\"}}"
            )
            .unwrap();
        }
        yaml.push_str("routers:\n");
        for router in 0..self.routers {
            writeln!(yaml, "- {{name: router-{router}, direct: {{}}}}").unwrap();
        }
        yaml.push_str("models:\n");
        for model in 0..self.models {
            writeln!(yaml, "- {{name: model-{model}, repository: a/b, revision: \"{:040}\"}}", model).unwrap();
        }
        yaml.push_str("experiments:");
        yaml.push_str(self.experiments);
        serde_yaml::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    /// Its plan.
    pub fn plan(&self) -> Plan {
        plan_of(&self.spec())
    }
}

/// The plan of a spec without policies.
pub fn plan_of(spec: &BenchmarkCampaignSpec) -> Plan {
    plan::build("small", spec, &Policies::new()).unwrap()
}
