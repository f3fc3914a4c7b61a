//! Plans on the files of data sets: what is known of a file is in the plan, and what cannot be run is refused.

use std::collections::BTreeMap;

use rstest::rstest;
use teebench_api::{
    campaign::EngineSettings,
    plan::{self, DatasetFile, Plan, PlanError},
};

use super::fixtures::{Policies, Small};

const TRACE: &str = "
- name: replay
  dataset: {trace: {path: t.jsonl, prompts: 100}}
  repetitions: {minimum: 3}
";

fn file() -> DatasetFile {
    DatasetFile {
        sha256: "a".repeat(64),
        requests: 100,
        mean_prompt_tokens: 500,
        mean_output_tokens: Some(20),
        longest_prompt_tokens: Some(3000),
        longest_tokens: Some(3100),
        arrivals_milliseconds: Some(90_000),
    }
}

fn planned(experiments: &str, max_model_len: Option<u32>, file: DatasetFile) -> Result<Plan, PlanError> {
    let mut spec = Small { experiments, ..Small::default() }.spec();
    let settings = EngineSettings { max_model_len, ..EngineSettings::default() };
    spec.models[0].engine = Some(settings);
    let name = spec.experiments[0].name.clone();
    plan::build_with_files("small", &spec, &Policies::new(), &BTreeMap::from([(name, file)]))
}

#[test]
fn a_trace_takes_at_least_its_recorded_time_for_each_run() {
    let plan = planned(TRACE, None, file()).unwrap();
    let recorded_seconds = 90 * plan.run_count() as u64;
    assert!(plan.estimate.duration_seconds.minimum >= recorded_seconds, "{:?}", plan.estimate);
    let unread = Small { experiments: TRACE, ..Small::default() }.plan();
    assert!(unread.estimate.duration_seconds.minimum < recorded_seconds);
    let text = plan::text(&plan);
    assert!(text.contains("file sha256 aaaaaaaaaaaa…: 100 requests, on average 500 tokens in and 20 out"), "{text}");
    assert!(text.contains("at the times of its trace, 1 times as fast"), "{text}");
}

#[test]
fn longer_requests_of_a_file_take_longer() {
    let custom = "
- name: own
  dataset: {custom: {path: c.jsonl, prompts: 100}}
  load: {maxConcurrency: [8]}
";
    let long = DatasetFile { mean_output_tokens: Some(2000), ..file() };
    let seconds = |file| planned(custom, None, file).unwrap().estimate.duration_seconds;
    assert!(seconds(long).minimum > seconds(file()).maximum / 10);
    assert!(seconds(DatasetFile { mean_prompt_tokens: 50_000, ..file() }).minimum > seconds(file()).minimum);
}

#[test]
fn another_content_is_another_plan() {
    let changed = DatasetFile { sha256: "b".repeat(64), ..file() };
    assert_ne!(planned(TRACE, None, file()).unwrap().digest(), planned(TRACE, None, changed).unwrap().digest());
}

#[test]
fn repetitions_go_through_one_order_of_the_file_and_send_prompts_of_their_own() {
    let plan = planned(TRACE, None, file()).unwrap();
    let order = plan.dataset_seed(0).unwrap();
    assert!(plan.blocks.iter().all(|block| block.seed != order));
    assert_eq!(plan.blocks.iter().map(|block| block.seed).collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert_eq!(plan.dataset_seed(1), None);
}

#[rstest]
#[case::too_few(
    TRACE, None, DatasetFile { requests: 99, ..file() },
    r#"experiment "replay": dataset: its file has 99 requests and prompts is 100"#
)]
#[case::nothing_to_repeat(
    "\n- name: own\n  dataset: {custom: {path: c.jsonl, prompts: 1, oversample: true}}\n  load: {maxConcurrency: [8]}\n",
    None, DatasetFile { requests: 0, ..file() }, "its file has 0 requests"
)]
#[case::too_long(TRACE, Some(3099), file(), "take up to 3100 tokens, and maxModelLen of model \"model-0\" is 3099")]
#[case::too_long_with_the_campaigns_outputs(
    "\n- name: replay\n  dataset: {trace: {path: t.jsonl, prompts: 100}}\n  outputTokens: [200]\n",
    Some(3199),
    file(),
    "take up to 3200 tokens"
)]
#[case::of_another_digest(
    "\n- name: replay\n  dataset: {trace: {path: t.jsonl, sha256: cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc, prompts: 1}}\n",
    None,
    file(),
    "its file has SHA-256 aaaa"
)]
fn a_file_that_cannot_be_run_is_refused(
    #[case] experiments: &str,
    #[case] max_model_len: Option<u32>,
    #[case] file: DatasetFile,
    #[case] words: &str,
) {
    let error = planned(experiments, max_model_len, file).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_short_file_that_may_repeat_and_a_length_that_fits_are_taken() {
    let repeated = "\n- name: own\n  dataset: {custom: {path: c.jsonl, prompts: 500, oversample: true}}\n  load: {maxConcurrency: [8]}\n";
    assert!(planned(repeated, Some(3100), file()).is_ok());
}
