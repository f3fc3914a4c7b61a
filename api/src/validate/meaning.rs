//! What no schema and no rule of the API server can say: references with the nearest name, condition names, and engine
//! settings after all overrides. The operator asks the same of a campaign that it reads from the API server.

use std::collections::BTreeSet;

use super::{names, settings, words};
use crate::campaign::BenchmarkCampaignSpec;

/// Something in a campaign that contradicts the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, for instance `spec.experiments[2].load`.
    pub path: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// The checks, in the order of the fields they speak of.
const CHECKS: &[fn(&BenchmarkCampaignSpec, &mut Vec<Problem>)] = &[
    settings::contradictions,
    settings::several_gpus,
    references,
    names::placeholders,
    names::doubles,
    settings::lengths,
];

/// Everything in a campaign that contradicts the rest of it; nothing for a sound one. `policies` are the names of the
/// RouterPolicies that it may refer to.
#[must_use]
pub fn problems(spec: &BenchmarkCampaignSpec, policies: &BTreeSet<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    policy_references(spec, policies, &mut problems);
    for check in CHECKS {
        check(spec, &mut problems);
    }
    problems
}

fn policy_references(spec: &BenchmarkCampaignSpec, policies: &BTreeSet<String>, problems: &mut Vec<Problem>) {
    for (index, router) in spec.routers.iter().enumerate() {
        if let Some(reference) = &router.policy_ref
            && !policies.contains(&reference.name)
        {
            let near = suggestion(&reference.name, policies.iter().map(String::as_str));
            problems.push(Problem::new(
                format!("spec.routers[{index}].policyRef.name"),
                format!("names a RouterPolicy that is not there; correct the name or add the policy{near}"),
            ));
        }
    }
}

fn references(spec: &BenchmarkCampaignSpec, problems: &mut Vec<Problem>) {
    let models: Vec<&str> = spec.models.iter().map(|model| model.name.as_str()).collect();
    let routers: Vec<&str> = spec.routers.iter().map(|router| router.name.as_str()).collect();
    let arms: Vec<&str> = spec.arms.iter().map(|arm| arm.name.as_str()).collect();
    let experiments: Vec<&str> = spec.experiments.iter().map(|experiment| experiment.name.as_str()).collect();
    // In the words of the definition's rules, which can say neither which item of a list they mean nor what is near.
    let mut check = |path: String, name: &str, known: &[&str], words: &str| {
        if !known.contains(&name) {
            let near = suggestion(name, known.iter().copied());
            problems.push(Problem::new(path, format!("{words}{near}")));
        }
    };
    let model = "names a model that spec.models does not have; correct the name or add the model";
    let router = "names a router that spec.routers does not have; correct the name or add the router";
    let arm = "names an arm that spec.arms does not have; correct the name or add the arm";
    for (index, experiment) in spec.experiments.iter().enumerate() {
        let at = format!("spec.experiments[{index}]");
        for (index, point) in experiment.points.iter().enumerate() {
            check(format!("{at}.points[{index}].model"), &point.model, &models, model);
        }
        for (index, name) in experiment.models.iter().enumerate() {
            check(format!("{at}.models[{index}]"), name, &models, model);
        }
        for (index, name) in experiment.routers.iter().enumerate() {
            check(format!("{at}.routers[{index}]"), name, &routers, router);
        }
        for (index, name) in experiment.arms.iter().enumerate() {
            check(format!("{at}.arms[{index}]"), name, &arms, arm);
        }
    }
    if let Some(headline) = &spec.headline {
        let words = "names an experiment that spec.experiments does not have; correct the name";
        check("spec.headline.experiment".into(), &headline.experiment, &experiments, words);
    }
}

/// Ends the mend of a wrong name, when one is near.
fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    words::nearest(name, known).map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"))
}
