//! What is read from a results tree, what is left out, and why.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::{fs, path::Path};

use rstest::rstest;
use serde_json::json;
use support::{Tree, edit, first_run};
use teebench_analysis::{
    quick_metrics,
    read::{Attempt, ReadError, campaigns, read_bench, read_benches},
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

#[rstest]
#[case::as_metadata("\"true\"", true)]
#[case::as_a_truth_value("true", true)]
#[case::denied("\"false\"", false)]
fn a_result_that_names_the_simulator_is_read(#[case] written: &str, #[case] expected: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.json");
    let text = fs::read_to_string(data("v0.32.0_custom_notdetailed.json")).unwrap();
    fs::write(&path, text.replacen('{', &format!("{{\"simulated\": {written}, "), 1)).unwrap();
    assert_eq!(read_bench(&path).unwrap().account.simulated, expected);
}

#[test]
fn appended_results_are_all_read_and_refused_where_one_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.json");
    let texts = ["v0.11.0_openai_rate10_gamma.json", "v0.32.0_openai_rampup.json"]
        .map(|name| fs::read_to_string(data(name)).unwrap());
    fs::write(&path, texts.join("\n")).unwrap();
    let completed: Vec<u64> = read_benches(&path).unwrap().iter().map(|result| result.completed).collect();
    assert_eq!(completed, [20, 20]);
    assert!(read_bench(&path).unwrap_err().to_string().contains("holds 2 results (--append-result)"));
}

#[rstest]
#[case::an_old_goodput("request_goodput", "request_goodput:")]
fn names_of_older_versions_are_known(#[case] now: &str, #[case] then: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.json");
    let text = fs::read_to_string(data("v0.11.0_openai_rate10_gamma.json")).unwrap();
    fs::write(&path, text.replace(&format!("\"{now}\""), &format!("\"{then}\""))).unwrap();
    assert_eq!(
        read_bench(&path).unwrap().request_goodput,
        read_bench(&data("v0.11.0_openai_rate10_gamma.json")).unwrap().request_goodput
    );
}

#[test]
fn a_negative_time_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.json");
    fs::copy(data("v0.32.0_openai_rampup.json"), &path).unwrap();
    edit(&path, |file| file["ttfts"][3] = json!(-0.1));
    assert!(
        read_bench(&path).unwrap_err().to_string().contains("ttfts has -0.1 at index 3; a time cannot be negative")
    );
}
