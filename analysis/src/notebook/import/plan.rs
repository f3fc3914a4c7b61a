//! The plan that a tree's runs would have had, as far as the tree tells: what it does not tell is named unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use teebench_api::{
    campaign::{BenchmarkCampaignSpec, Dataset, EngineSettings, Tee},
    plan::{self, Block, Boot, Estimate, LoadPoint, Plan, PlannedRun, Range},
};

use super::super::tree::{Condition, Tree};

/// The one router: requests went straight to the server.
pub(super) const ROUTER: &str = "direct";

const UNKNOWN: &str = "unknown";

/// Name of a mode's arm.
pub(super) const fn arm_name(tee: Tee) -> &'static str {
    match tee {
        Tee::Disabled => "tee-off",
        Tee::Enabled => "tee-on",
        Tee::Undeclared => "undeclared",
    }
}

/// The plan of a tree, its conditions in the order of the tree's.
pub(super) fn plan_of(tree: &Tree) -> Plan {
    let experiments = unique(tree.experiments.iter().map(|experiment| slug(&experiment.name)));
    let model_names: BTreeSet<String> = conditions(tree).map(|(_, condition)| model_of(condition)).collect();
    let model_slugs = unique(model_names.iter().map(|name| slug(name)));
    let models: BTreeMap<String, String> = model_names.into_iter().zip(model_slugs).collect();
    let modes = super::modes(tree);
    let mut planned = Vec::new();
    let mut blocks = Vec::new();
    for (experiment, name) in tree.experiments.iter().zip(&experiments) {
        let slugs = unique(experiment.conditions.iter().map(|condition| slug(&condition.name)));
        for (condition, slug) in experiment.conditions.iter().zip(slugs) {
            let model = models[&model_of(condition)].clone();
            let boot = models.values().position(|known| *known == model).unwrap_or(0);
            blocks.extend(blocks_of(condition, planned.len(), boot));
            planned.push(condition_of(condition, name, slug, model, &modes));
        }
    }
    Plan {
        schema_version: 1,
        campaign: tree.root.file_name().map_or_else(|| "imported".to_owned(), |name| slug(&name.to_string_lossy())),
        seed: 0,
        spec: spec(tree, &experiments, &models, &modes),
        policies: BTreeMap::new(),
        dataset_files: BTreeMap::new(),
        conditions: planned,
        boots: models
            .values()
            .map(|model| Boot {
                model: model.clone(),
                engine: EngineSettings::default(),
                arms: modes.iter().map(|tee| arm_name(*tee).to_owned()).collect(),
                repetition: None,
            })
            .collect(),
        blocks,
        estimate: Estimate { duration_seconds: Range { minimum: 0, maximum: 0 }, cost: None, currency: None },
    }
}

fn conditions(tree: &Tree) -> impl Iterator<Item = (&str, &Condition)> {
    tree.experiments
        .iter()
        .flat_map(|experiment| experiment.conditions.iter().map(|condition| (experiment.name.as_str(), condition)))
}

fn model_of(condition: &Condition) -> String {
    let of_runs = || condition.runs.iter().find_map(|run| run.bench.account.model_id.clone());
    condition.label.model().map(str::to_owned).or_else(of_runs).unwrap_or_else(|| UNKNOWN.to_owned())
}

fn spec(
    tree: &Tree,
    experiments: &[String],
    models: &BTreeMap<String, String>,
    modes: &[Tee],
) -> BenchmarkCampaignSpec {
    let models: Vec<_> = models
        .iter()
        .map(|(name, slug)| json!({"name": slug, "displayName": name, "repository": UNKNOWN, "revision": UNKNOWN}))
        .collect();
    let arms: Vec<_> = modes.iter().map(|tee| json!({"name": arm_name(*tee), "tee": tee})).collect();
    let experiments: Vec<_> = tree
        .experiments
        .iter()
        .zip(experiments)
        .map(|(experiment, name)| {
            let repetitions = experiment.runs().map(|run| run.repetition).max().unwrap_or(1);
            let prompts = experiment.runs().map(|run| run.bench.num_prompts).max().unwrap_or(0);
            json!({"name": name, "directory": experiment.name, "dataset": {"random": {"prompts": prompts}},
                "repetitions": {"minimum": repetitions}})
        })
        .collect();
    serde_json::from_value(json!({
        "seed": 0, "engine": {"vllm": {"image": UNKNOWN}, "restart": "Campaign"}, "models": models, "arms": arms,
        "comparison": {"factor": "Tee"}, "routers": [{"name": ROUTER, "direct": {}}], "experiments": experiments
    }))
    .expect("every field that a spec demands is written above")
}

fn condition_of(
    condition: &Condition,
    experiment: &str,
    slug: String,
    model: String,
    modes: &[Tee],
) -> plan::Condition {
    let first = condition.runs.first().map(|run| &run.bench);
    let mean = |tokens: u64, requests: u64| u32::try_from(tokens.checked_div(requests)?).ok();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate that was sent is positive and small"
    )]
    let milli = |value: f64| (value * 1e3).round() as u32;
    let prompts = first.map_or(0, |bench| bench.num_prompts);
    let lengths = condition.label.lengths();
    plan::Condition {
        experiment: experiment.to_owned(),
        slug,
        name: condition.name.clone(),
        model,
        engine: EngineSettings { max_num_seqs: condition.label.max_num_seqs(), ..EngineSettings::default() },
        dataset: serde_json::from_value::<Dataset>(json!({"random": {"prompts": prompts}}))
            .expect("a random data set needs no more than its prompts"),
        load: LoadPoint {
            request_rate_milli: first.and_then(|bench| bench.request_rate).map(milli),
            burstiness_milli: first.and_then(|bench| bench.account.burstiness).map_or(1000, milli),
            max_concurrency: first.and_then(|bench| bench.max_concurrency).and_then(|limit| u32::try_from(limit).ok()),
        },
        input_tokens: lengths.map(|lengths| lengths.0).or_else(|| mean(first?.total_input_tokens, first?.completed)),
        output_tokens: lengths.map(|lengths| lengths.1).or_else(|| mean(first?.total_output_tokens, first?.completed)),
        warmup_requests: 0,
        slo: None,
        arms: modes
            .iter()
            .filter(|tee| condition.of(**tee).next().is_some())
            .map(|tee| arm_name(*tee).to_owned())
            .collect(),
        routers: vec![ROUTER.to_owned()],
        search: None,
    }
}

/// A block for each repetition that any mode has.
fn blocks_of(condition: &Condition, index: usize, boot: usize) -> Vec<Block> {
    let repetitions: BTreeSet<u32> = condition.runs.iter().map(|run| run.repetition).collect();
    let of = |repetition: u32| {
        condition
            .runs
            .iter()
            .filter(|run| run.repetition == repetition)
            .map(|run| PlannedRun { arm: arm_name(run.tee).to_owned(), router: ROUTER.to_owned(), boot })
            .collect()
    };
    repetitions
        .into_iter()
        .map(|repetition| Block { condition: index, repetition, seed: 0, runs: of(repetition) })
        .collect()
}

/// Lower-case letters, digits and dashes.
fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { UNKNOWN.to_owned() } else { slug.to_owned() }
}

/// The names, with a number behind those that came before.
fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut given: Vec<String> = Vec::new();
    for name in names {
        let mut candidate = name.clone();
        for number in 2.. {
            if !given.contains(&candidate) {
                break;
            }
            candidate = format!("{name}-{number}");
        }
        given.push(candidate);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_slugs_and_stay_apart() {
        let slugs = unique(["Llama3.1 8B", "llama3-1 8b", "---"].into_iter().map(slug));
        assert_eq!(slugs, ["llama3-1-8b", "llama3-1-8b-2", "unknown"]);
    }
}
