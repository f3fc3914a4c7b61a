//! Building plans: grids, points, overrides, names, bytes, estimates, and what is refused.

use proptest::prelude::*;
use rstest::rstest;
use rust_decimal::Decimal;
use teebench_api::{
    campaign::{Budget, EngineSettings, FailurePolicy},
    plan::{self, Plan, RouterTarget},
};

use crate::fixtures::{Policies, Small, plan_of, sample, sample_plan};

#[test]
fn the_quickstart_reads_as_people_expect() {
    insta::assert_snapshot!(plan::text(&sample_plan("quickstart.yaml")));
}

#[test]
fn a_campaign_of_all_kinds_reads_as_people_expect() {
    insta::assert_snapshot!(plan::text(&sample_plan("whats-the-catch.yaml")));
}

#[rstest]
#[case("quickstart.yaml", 1, 6, 6, 36)]
#[case("planetserve-ablation.yaml", 3, 6, 18, 108)]
#[case("planetserve-cc.yaml", 1, 6, 6, 12)]
fn samples_have_the_runs_that_they_say(
    #[case] file: &str,
    #[case] conditions: usize,
    #[case] boots: usize,
    #[case] blocks: usize,
    #[case] runs: usize,
) {
    let plan = sample_plan(file);
    assert_eq!((plan.conditions.len(), plan.boots.len()), (conditions, boots));
    assert_eq!((plan.blocks.len(), plan.run_count()), (blocks, runs));
}

#[test]
fn the_notebook_finds_its_condition_names() {
    let plan = sample_plan("whats-the-catch.yaml");
    let names = |experiment: &str| {
        let of_it = plan.conditions.iter().filter(|condition| condition.experiment == experiment);
        of_it.map(|condition| condition.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        names("calibration"),
        [
            "Gemma3 1B-mns-512",
            "Gemma3 1B-mns-1024",
            "Llama3.1 8B-mns-256",
            "Mistral 24B-mns-128",
            "Mistral 24B-mns-32",
            "Qwen3 32B-mns-64",
            "Qwen3 32B-mns-16"
        ]
    );
    assert_eq!(names("throughput-latency"), ["Gemma3 1B", "Llama3.1 8B", "Mistral 24B", "Qwen3 32B"]);
    assert_eq!(names("saturation"), ["Llama3.1 8B_1"], "of a search only the first point is planned");
    assert_eq!(names("sequence-overhead").len(), 9);
    assert_eq!(names("sequence-overhead")[1], "input_128_output_512");
}

#[test]
fn equal_files_give_equal_bytes_and_what_may_change_later_changes_nothing() {
    let (name, spec, mut policies) = sample("planetserve-ablation.yaml");
    let plan = plan::build(&name, &spec, &policies).unwrap();
    let mut later = spec.clone();
    later.suspend = true;
    later.budget = Some(Budget { currency: String::from("USD"), maximum: String::from("5.00") });
    later.deadline_seconds = None;
    later.failure_policy = FailurePolicy { attempts_per_run: 5, maximum_failed_runs: 9 };
    let unused = policies["hr-tree"].clone();
    policies.insert(String::from("unused"), unused);
    let again = plan::build(&name, &later, &policies).unwrap();
    assert_eq!(plan.to_json(), again.to_json());
    assert_eq!(plan.digest(), again.digest());
    assert!(plan.is_of(&name, &later, &policies));
    later.seed += 1;
    assert!(!plan.is_of(&name, &later, &policies));
    assert_ne!(plan.digest(), plan::build(&name, &later, &policies).unwrap().digest());
}

#[test]
fn a_plan_survives_its_file() {
    for file in ["quickstart.yaml", "planetserve-ablation.yaml", "planetserve-cc.yaml", "whats-the-catch.yaml"] {
        let plan = sample_plan(file);
        let read = Plan::from_json(&plan.to_json()).unwrap();
        assert_eq!(read, plan);
        assert_eq!(read.digest(), plan.digest());
    }
}

#[test]
fn a_damaged_plan_is_refused_before_it_is_used() {
    let refused = |damage: fn(&mut Plan)| {
        let mut plan = sample_plan("quickstart.yaml");
        damage(&mut plan);
        Plan::from_json(&plan.to_json()).unwrap_err().to_string()
    };
    assert!(Plan::from_json(b"{}").unwrap_err().to_string().starts_with("plan.json: not a plan"));
    let dangling = "plan.json: block 1 names a condition or boot that is not there; restore the file";
    assert_eq!(refused(|plan| plan.blocks[1].condition = 1), dangling);
    assert_eq!(refused(|plan| plan.blocks[1].runs[5].boot = 6), dangling);
    assert!(refused(|plan| plan.schema_version = 2).starts_with("plan.json: has format version 2"));
}

#[rstest]
#[case(
    "0.01",
    "USD",
    Some("budget.maximum: 0.01 USD do not pay for the expected 1.95 at least; raise it or plan fewer runs")
)]
#[case("1.95", "USD", None)]
#[case("0.01", "EUR", None)]
fn a_budget_must_pay_for_the_least_that_is_expected(
    #[case] maximum: &str,
    #[case] currency: &str,
    #[case] message: Option<&str>,
) {
    let budget = Budget { currency: currency.to_owned(), maximum: maximum.to_owned() };
    let plan = sample_plan("quickstart.yaml");
    assert_eq!(plan.estimate.exceeds(&budget).as_deref(), message);
}

#[test]
fn lists_multiply_in_their_order_and_the_default_name_tells_what_varies() {
    let plan = Small {
        models: 2,
        experiments: "
- name: grid
  dataset: {random: {prompts: 100, inputTokens: [128, 256]}}
  load: {requestRateMilli: [500, 1500]}
  maxNumSeqs: [2, 8]
  outputTokens: [32]
",
        ..Small::default()
    }
    .plan();
    let names: Vec<&str> = plan.conditions.iter().map(|condition| condition.name.as_str()).collect();
    assert_eq!(
        names[..5],
        [
            "model-0 mns-2 rate-0.5 input-128",
            "model-0 mns-2 rate-0.5 input-256",
            "model-0 mns-2 rate-1.5 input-128",
            "model-0 mns-2 rate-1.5 input-256",
            "model-0 mns-8 rate-0.5 input-128",
        ]
    );
    assert_eq!(names.len(), 16);
    assert_eq!(plan.conditions[4].slug, "model-0-mns-8-rate-0-5-input-128");
    assert_eq!(plan.conditions[1].dataset.random.as_ref().unwrap().input_tokens, [256]);
    assert_eq!(plan.boots.len(), 6 * 4, "a boot for each repetition of each model and max-num-seqs");
}

#[test]
fn later_settings_override_earlier_ones() {
    let mut spec = Small {
        models: 2,
        experiments: "
- name: points
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  points:
  - {model: model-0, maxConcurrency: 4}
  - {model: model-1, maxConcurrency: 4}
  - {model: model-1, maxConcurrency: 4, maxNumSeqs: 64, inputTokens: 512, outputTokens: 1, prompts: 7}
  outputTokens: [32]
  repetitions: {minimum: 1}
",
        ..Small::default()
    }
    .spec();
    spec.models[1].engine = Some(EngineSettings { max_num_seqs: Some(16), ..EngineSettings::default() });
    spec.arms[1].engine = Some(EngineSettings { enforce_eager: Some(true), ..EngineSettings::default() });
    let plan = plan_of(&spec);
    let max_num_seqs = |condition| plan.engine_for(condition, "arm-0").unwrap().max_num_seqs;
    assert_eq!([max_num_seqs(0), max_num_seqs(1), max_num_seqs(2)], [Some(4), Some(16), Some(64)]);
    assert_eq!(plan.engine_for(2, "arm-0").unwrap().enforce_eager, None);
    assert_eq!(plan.boot_engine_for(2, "arm-1").unwrap().enforce_eager, Some(true));
    assert_eq!(plan.engine_for(3, "arm-0"), None);
    let point = &plan.conditions[2];
    assert_eq!((point.input_tokens, point.output_tokens, point.dataset.prompts()), (Some(512), Some(1), 7));
    assert_eq!(plan.conditions[0].dataset.prompts(), 100);
}

#[test]
fn a_router_stands_for_its_target() {
    let (name, mut spec, policies) = sample("quickstart.yaml");
    spec.routers[1].policy_ref = None;
    spec.routers[1].service_ref =
        Some(teebench_api::campaign::ServiceRef { name: String::from("foreign"), port: 8080 });
    let plan = plan::build(&name, &spec, &policies).unwrap();
    assert_eq!(plan.router_target("round-robin"), Some(RouterTarget::Direct { max_in_flight_per_server: 0 }));
    assert_eq!(plan.router_target("hr-tree"), Some(RouterTarget::Foreign { url: String::from("http://foreign:8080") }));
    assert_eq!(plan.router_target("hr-tree-lb"), Some(RouterTarget::Policy(policies["hr-tree-lb"].clone())));
    assert_eq!(plan.router_target("none"), None);
}

#[rstest]
#[case::an_unknown_model(
    "{name: e, models: [model-9], dataset: {random: {prompts: 1, inputTokens: [1]}}, load: {maxConcurrency: [1]}, outputTokens: [1]}",
    r#"experiment "e": models names "model-9", which spec.models does not have; correct the name"#
)]
#[case::an_unknown_arm(
    "{name: e, arms: [arm-9], dataset: {random: {prompts: 1, inputTokens: [1]}}, load: {maxConcurrency: [1]}, outputTokens: [1]}",
    r#"experiment "e": arms names "arm-9", which spec.arms does not have; correct the name"#
)]
#[case::no_load(
    "{name: e, dataset: {random: {prompts: 1, inputTokens: [1]}}, outputTokens: [1]}",
    r#"experiment "e": load: give requestRateMilli, maxConcurrency or saturation, or give points"#
)]
#[case::no_prompt_length(
    "{name: e, dataset: {random: {prompts: 1}}, load: {maxConcurrency: [1]}, outputTokens: [1]}",
    r#"experiment "e": dataset.random.inputTokens is missing; give it in the experiment or in every point"#
)]
#[case::no_output_length(
    "{name: e, dataset: {random: {prompts: 1, inputTokens: [1]}}, load: {maxConcurrency: [1]}}",
    r#"experiment "e": outputTokens is missing; give it in the experiment or in every point"#
)]
#[case::one_name_for_two_conditions(
    "{name: e, conditionName: x, dataset: {random: {prompts: 1, inputTokens: [1]}}, load: {maxConcurrency: [1, 2]}, outputTokens: [1]}",
    r#"experiment "e": conditionName: two conditions are called "x"; put in a field that differs"#
)]
#[case::one_name_for_all_points_of_a_search(
    "{name: e, conditionName: x, dataset: {random: {prompts: 1, inputTokens: [1]}}, load: {saturation: {maximumConcurrency: 8}}, outputTokens: [1]}",
    r#"experiment "e": conditionName: two conditions are called "x"; put in a field that differs"#
)]
#[case::an_unknown_field_in_a_name(
    "{name: e, conditionName: '{size}', dataset: {random: {prompts: 1, inputTokens: [1]}}, load: {maxConcurrency: [1]}, outputTokens: [1]}",
    r#"experiment "e": conditionName: there is no field {size}; choose from {displayName}, {model}, {maxNumSeqs}, {concurrency}, {rate}, {input} and {output}"#
)]
#[case::too_many_runs(
    "{name: e, dataset: {random: {prompts: 1, inputTokens: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}}, load: {maxConcurrency: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}, outputTokens: [1], repetitions: {minimum: 100}}",
    r#"experiment "e": the campaign comes to more than 20000 runs; shorten lists or repetitions"#
)]
fn a_bad_experiment_is_refused_with_the_mend(#[case] experiment: &str, #[case] message: &str) {
    let spec = Small { experiments: &format!("\n- {experiment}\n"), ..Small::default() }.spec();
    assert_eq!(plan::build("small", &spec, &Policies::new()).unwrap_err().to_string(), message);
}

#[test]
fn a_bad_campaign_is_refused_with_the_mend() {
    let (name, spec, policies) = sample("quickstart.yaml");
    let error = |spec, policies: &Policies| plan::build(&name, &spec, policies).unwrap_err().to_string();
    assert_eq!(
        error(spec.clone(), &Policies::new()),
        r#"router "hr-tree": policyRef names RouterPolicy "hr-tree", which is not there; add it to the file or apply it"#
    );
    let mut both = spec.clone();
    both.engine.simulator = None;
    assert_eq!(error(both, &policies), "engine: give exactly one of vllm and simulator");
    let mut negative = spec.clone();
    negative.seed = -1;
    assert_eq!(error(negative, &policies), "seed: -1 is negative; give 0 or more");
    let mut undone = spec;
    undone.arms[1].engine = Some(EngineSettings { max_num_seqs: Some(2), ..EngineSettings::default() });
    undone.experiments[0].max_num_seqs = vec![4, 8];
    assert_eq!(
        error(undone, &policies),
        r#"arm "cc-on": engine.maxNumSeqs would undo the maxNumSeqs that experiment "ablation" tries; remove one of them"#
    );
}

proptest! {
    #[test]
    fn an_estimate_holds_what_the_file_alone_says(
        rate in 100_u32..100_000, prompts in 1_u32..5000, repetitions in 1_u32..13, more in 0_u32..4, idle in 0_u32..60,
    ) {
        let until = if more == 0 { String::new() } else {
            format!(", maximum: {}, until: {{metric: OutputThroughput, ratioHalfWidthPermille: 10}}", repetitions + more)
        };
        let experiments = format!("
- name: one
  dataset: {{random: {{prompts: {prompts}, inputTokens: [128]}}}}
  load: {{requestRateMilli: [{rate}]}}
  outputTokens: [32]
  repetitions: {{minimum: {repetitions}{until}}}
");
        let spec = format!("energy: {{idleSeconds: {idle}}}");
        let plan = Small { spec: &spec, experiments: &experiments, ..Small::default() }.plan();
        let seconds = plan.estimate.duration_seconds;
        let runs = plan.run_count() as f64;
        let arrivals = f64::from(prompts) * 1000.0 / f64::from(rate);
        let known = (runs * arrivals + plan.boots.len() as f64 * f64::from(idle)).floor();
        prop_assert!(seconds.minimum as f64 >= known, "{} of {known}", seconds.minimum);
        prop_assert!(seconds.maximum > seconds.minimum);
        let cost = plan.estimate.cost.unwrap();
        prop_assert!(cost.minimum <= cost.maximum);
        // Two arms of one machine each at 3.60 an hour: 0.2 cents a second.
        prop_assert!(cost.minimum <= Decimal::new(2, 3) * Decimal::from(seconds.minimum + plan.boots.len() as u64 + 1));
    }
}

#[test]
fn without_prices_in_one_currency_no_money_is_stated() {
    let mut spec = Small::default().spec();
    spec.arms[0].price.as_mut().unwrap().currency = String::from("EUR");
    let plan = plan_of(&spec);
    assert_eq!((plan.estimate.cost, plan.estimate.currency.clone()), (None, None));
    assert!(plan::text(&plan).contains("expected money  unknown"));
}
