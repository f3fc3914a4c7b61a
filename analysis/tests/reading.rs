//! What is read from a results tree, what is left out, and why.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::{fs, path::Path};

use rstest::rstest;
use serde_json::json;
use support::{Tree, edit, first_run};
use teebench_analysis::{
    quick_metrics,
    read::{Attempt, ReadError, campaigns, read_bench},
    summary::{RunState, summarise},
};
use teebench_api::campaign::Metric;

fn small() -> Tree {
    Tree { repetitions: 1, requests: 3, routers: vec!["direct"], ..Tree::default() }
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn a_campaign_is_found_in_its_directory_and_one_above_and_once() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("first");
    small().write(&directory);
    for paths in [vec![directory.clone()], vec![above.path().to_owned()], vec![directory, above.path().to_owned()]] {
        let found = campaigns(&paths).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].runs.len(), 2);
        assert_eq!(found[0].label(), "first");
    }
}

#[test]
fn a_place_without_a_campaign_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = campaigns(&[empty.path().to_owned()]).unwrap_err();
    assert!(matches!(&error, ReadError::NoCampaign { path } if path == empty.path()), "{error}");
    assert!(error.to_string().contains("plan.json"));
}

#[rstest]
#[case::not_committed("SHA256SUMS", None, RunState::Uncommitted, "SHA256SUMS is missing")]
#[case::no_result_file("bench.json", None, RunState::Unusable, "bench.json: cannot be read")]
#[case::truncated("bench.json", Some("{\"num_prompts\": 3,\n\"duration\":"), RunState::Unusable, "at line 2 column")]
#[case::empty("bench.json", Some(""), RunState::Unusable, "not a valid result file")]
#[case::foreign("bench.json", Some("[1, 2]"), RunState::Unusable, "not a valid result file")]
#[case::energy("energy.json", Some("{}"), RunState::Unusable, "not a valid energy file")]
#[case::no_identity("run.json", Some("{}"), RunState::Unusable, "not a valid run file")]
fn a_run_that_cannot_be_used_is_kept_with_its_reason(
    #[case] file: &str,
    #[case] content: Option<&str>,
    #[case] state: RunState,
    #[case] reason: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    let plan = small().write(directory.path());
    let run = first_run(directory.path(), &plan, "cc-on", "direct");
    match content {
        Some(content) => fs::write(run.join(file), content).unwrap(),
        None => fs::remove_file(run.join(file)).unwrap(),
    }
    let summary = summarise(&campaigns(&[directory.path().to_owned()]).unwrap());
    let campaign = &summary.campaigns[0];
    assert_eq!((campaign.validity.planned, campaign.validity.valid), (2, 1));
    let entry = campaign.runs.iter().find(|run| run.cell.arm == "cc-on").unwrap();
    assert_eq!(entry.state, state);
    assert!(entry.reasons[0].contains(reason), "{:?}", entry.reasons);
}

#[rstest]
#[case::of_another_place("arm", json!("cc-off"), "does not belong here")]
#[case::of_another_plan("plan_sha256", json!("0000"), "belongs to the plan")]
fn a_run_of_something_else_is_refused(#[case] field: &str, #[case] value: serde_json::Value, #[case] reason: &str) {
    let directory = tempfile::tempdir().unwrap();
    let plan = small().write(directory.path());
    let run = first_run(directory.path(), &plan, "cc-on", "direct");
    edit(&run.join("run.json"), |file| file[field] = value);
    let found = campaigns(&[directory.path().to_owned()]).unwrap();
    let stored = found[0].runs.iter().find(|run| run.id.arm == "cc-on").unwrap();
    assert!(matches!(&stored.content, Attempt::Unusable { reason: found } if found.contains(reason)), "{stored:?}");
}

#[rstest]
#[case::lengths("ttfts", json!([0.1]), "ttfts has 1 entries and itls has 3")]
#[case::failures("errors", json!(["", "", "connection refused"]), "completed is 3, but 2 requests")]
#[case::half("itls", serde_json::Value::Null, "not all four")]
fn a_result_file_that_contradicts_itself_is_refused(
    #[case] field: &str,
    #[case] value: serde_json::Value,
    #[case] reason: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    let plan = small().write(directory.path());
    let path = first_run(directory.path(), &plan, "cc-on", "direct").join("bench.json");
    edit(&path, |file| file[field] = value);
    let error = read_bench(&path).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
}

#[rstest]
#[case("v0.11.0_openai_rate10_gamma.json", Some(10.0), 20)]
#[case("v0.32.0_openai_rampup.json", None, 20)]
#[case("v0.32.0_openai-chat_conc4.json", None, 12)]
#[case("v0.25.1_h200_c16.json", None, 64)]
fn files_of_vllm_are_read(#[case] name: &str, #[case] rate: Option<f64>, #[case] completed: u64) {
    let file = read_bench(&data(name)).unwrap();
    assert_eq!((file.request_rate, file.completed), (rate, completed));
    let details = file.details.unwrap();
    assert_eq!(details.len() as u64, completed);
    assert!(details.requests().all(|request| request.latency_s > request.ttft_s));
}

#[test]
fn the_planners_metrics_are_those_of_the_file() {
    let metrics = quick_metrics(&data("v0.25.1_h200_c16.json")).unwrap();
    assert!((metrics[&Metric::OutputThroughput] - 2_359.193_629_794_532).abs() < 1e-9);
    assert!((metrics[&Metric::MedianTtft] - 209.157_786_499_986_3).abs() < 1e-9);
    assert!((metrics[&Metric::MedianE2el] - 872.250_473_000_008_2).abs() < 1e-2);
    assert_eq!(metrics.len(), 5);
}

#[rstest]
#[case::all_failed("v0.32.0_allfail.json")]
#[case::not_detailed("v0.32.0_custom_notdetailed.json")]
fn metrics_that_a_file_does_not_have_are_absent(#[case] name: &str) {
    let metrics = quick_metrics(&data(name)).unwrap();
    assert!(metrics.contains_key(&Metric::OutputThroughput));
    assert!(!metrics.contains_key(&Metric::MedianTtft));
}
