//! The store as the controllers use it: begun, appended to, committed, published; through crashes.

mod remote;

use std::fs;

use jiff::Timestamp;
use rstest::rstest;
use teebench_api::{campaign::Metric, files::run::Verdict, plan::next::Decision};

use super::*;
use crate::{
    store::ledger::{Entry, Event},
    testing::{bench_json, key, planned, run_file, sha256sum, start, valid_run},
};

fn open(dir: &std::path::Path) -> ResultsStore {
    ResultsStore::open(&format!("file://{}", dir.display())).unwrap()
}

fn decision(generation: u32) -> Decision {
    Decision::BootFailed { boot: 0, generation, reason: "no GPU".to_owned() }
}

fn entry(boot: usize) -> Entry {
    Entry { boot, generation: 1, arm: "cc-on".into(), event: Event::Started, at: Timestamp::UNIX_EPOCH }
}

#[rstest]
#[case::relative("results", "give it like file:///results")]
#[case::another_kind("gs://bucket/results", "gs stores are not built in")]
#[case::no_bucket("s3:///results", "no name after s3://")]
#[case::no_account("az://container/results", "AZURE_ variables")]
#[case::host("file://host/results", "file:///DIR")]
#[case::not_makeable("file:///proc/no/such", "cannot be made")]
fn an_address_that_is_no_directory_is_refused_with_its_mend(#[case] url: &str, #[case] mend: &str) {
    let error = ResultsStore::open(url).unwrap_err();

    assert!(!error.is_retryable());
    assert!(error.to_string().contains(mend), "{error}");
}

#[tokio::test]
async fn a_campaign_is_begun_once_and_never_for_another_plan() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    let plan = planned();
    campaign.begin(&plan, b"a: 1\n").await.unwrap();
    campaign.append_decision(&decision(1)).await.unwrap();

    campaign.begin(&plan, b"a: 2\n").await.unwrap();

    assert_eq!(campaign.plan().await.unwrap(), Some(plan.clone()));
    assert_eq!(campaign.plan_sha256().await.unwrap(), plan.digest());
    assert_eq!(campaign.decisions(&plan).await.unwrap(), [decision(1)]);
    let mut other = plan;
    other.seed += 1;
    let error = campaign.begin(&other, b"").await.unwrap_err();
    assert!(matches!(error, StoreError::OtherPlan { .. }) && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn lines_that_are_appended_at_once_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    campaign.begin(&planned(), b"").await.unwrap();

    let appends = (0..20).map(|boot| {
        let campaign = campaign.clone();
        async move { campaign.append_ledger(&entry(boot)).await }
    });
    futures::future::try_join_all(appends).await.unwrap();

    let mut boots: Vec<usize> = campaign.ledger().await.unwrap().iter().map(|entry| entry.boot).collect();
    boots.sort_unstable();
    assert_eq!(boots, (0..20).collect::<Vec<_>>());
}

#[rstest]
#[case::a_line_cut_off("{\"decision\":\"BootFa")]
#[case::nothing("")]
#[tokio::test]
async fn what_a_crash_left_of_a_line_is_not_appended_to(#[case] left: &str) {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    let plan = planned();
    campaign.begin(&plan, b"").await.unwrap();
    let path = dir.path().join(key().directory()).join("decisions.jsonl");
    fs::write(&path, format!("{}{left}", decision(1).to_line())).unwrap();
    // What the store itself writes before it renames.
    fs::write(path.with_file_name("decisions.jsonl#1"), left).unwrap();

    campaign.append_decision(&decision(2)).await.unwrap();

    assert_eq!(campaign.decisions(&plan).await.unwrap(), [decision(1), decision(2)]);
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text, format!("{}{}", decision(1).to_line(), decision(2).to_line()));
}

#[tokio::test]
async fn the_first_commit_stands_and_the_second_is_told_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    let plan = planned();
    campaign.begin(&plan, b"").await.unwrap();
    let start = start(&plan, 0, 1);

    let first = campaign.commit_run(&run_file(&plan, &start, "the first"), Some(b"{}")).await.unwrap();
    let second = campaign.commit_run(&run_file(&plan, &start, "the second"), None).await.unwrap();

    assert!(matches!(first, Commit::Won(_)));
    let Commit::Lost(committed) = second else { panic!("both commits won") };
    assert_eq!(committed.run.validity.reasons[0].message, "the first");
    let all = campaign.committed().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].outcome().epoch, 1);
    assert_eq!(all[0].outcome().verdict, Verdict::Failed);
    let attempt = dir.path().join(key().directory()).join("runs").join(start.run.attempt_path(1));
    assert_eq!(sha256sum(&attempt), Ok(()));
    assert!(attempt.join("inputs.json").exists());
}

#[tokio::test]
async fn of_commits_by_several_programs_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let plan = planned();
    let start = start(&plan, 0, 1);
    // Stores of their own have locks of their own, as two programs have.
    let stores: Vec<CampaignStore> = (0..6).map(|_| open(dir.path()).campaign(&key())).collect();
    stores[0].begin(&plan, b"").await.unwrap();

    let commits = stores.iter().enumerate().map(|(index, campaign)| {
        let run = run_file(&plan, &start, &format!("program {index}"));
        async move { campaign.commit_run(&run, None).await }
    });
    let commits = futures::future::join_all(commits).await;

    let won = commits.iter().filter(|commit| matches!(commit, Ok(Commit::Won(_)))).count();
    assert_eq!(won, 1, "{commits:?}");
}

#[tokio::test]
async fn what_a_crash_left_of_a_commit_is_neither_shown_nor_kept() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    let plan = planned();
    campaign.begin(&plan, b"").await.unwrap();
    let start = start(&plan, 0, 1);
    let attempt = dir.path().join(key().directory()).join("runs").join(start.run.attempt_path(1));
    fs::create_dir_all(attempt.join("servers/0")).unwrap();
    fs::write(attempt.join("servers/0/vllm-metrics.json"), "{}").unwrap();
    fs::write(attempt.join("run.json"), "{").unwrap();

    assert!(campaign.committed().await.unwrap().is_empty());
    let listed = campaign.listing().await.unwrap().unwrap();
    assert!(listed.files.iter().all(|file| !file.path.starts_with("runs/")), "{listed:?}");

    campaign.commit_run(&run_file(&plan, &start, "gone"), None).await.unwrap();

    assert!(!attempt.join("servers").exists());
    assert_eq!(sha256sum(&attempt), Ok(()));
}

#[tokio::test]
async fn metrics_of_a_valid_attempt_are_those_that_decisions_rest_on() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    let plan = planned();
    campaign.begin(&plan, b"").await.unwrap();
    let start = start(&plan, 0, 1);

    stage_and_commit(&campaign, &plan, &start).await;

    let outcome = campaign.committed_attempt(&start.run, 1).await.unwrap().unwrap().outcome();
    assert_eq!(outcome.verdict, Verdict::Valid);
    assert!(outcome.metrics[&Metric::OutputThroughput] > 0.0, "{:?}", outcome.metrics);
}

#[tokio::test]
async fn a_published_campaign_is_sealed_until_something_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    let root = dir.path().join(key().directory());
    let plan = planned();
    campaign.begin(&plan, b"").await.unwrap();
    for index in 0..plan.run_count() - 1 {
        stage_and_commit(&campaign, &plan, &start(&plan, index, index as u64 + 1)).await;
    }

    let published = campaign.publish().await.unwrap();

    assert_eq!(sha256sum(&root), Ok(()));
    assert_eq!(fs::read_to_string(root.join("summary.json")).unwrap(), published.summary_json);
    assert_eq!(published.digest, crate::store::sha256_hex(published.summary_json.as_bytes()));
    assert!(published.summary_csv.contains("output_throughput"), "{}", published.summary_csv);
    assert!(fs::read_to_string(root.join("report.html")).unwrap().contains("<svg"));
    assert!(campaign.listing().await.unwrap().unwrap().sealed);

    let last = start(&plan, plan.run_count() - 1, 99);
    campaign.commit_run(&run_file(&plan, &last, "late"), None).await.unwrap();

    let listing = campaign.listing().await.unwrap().unwrap();
    assert!(!listing.sealed && listing.files.iter().all(|file| file.path != "SHA256SUMS"));
    campaign.publish().await.unwrap();
    assert_eq!(sha256sum(&root), Ok(()));
}

#[tokio::test]
async fn a_campaign_without_an_attempt_can_be_published() {
    let dir = tempfile::tempdir().unwrap();
    let campaign = open(dir.path()).campaign(&key());
    campaign.begin(&planned(), b"").await.unwrap();

    let published = campaign.publish().await.unwrap();

    assert!(published.summary_json.contains("\"small\""), "{}", published.summary_json);
}

#[tokio::test]
async fn bytes_are_those_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let campaign = store.campaign(&key());
    campaign.begin(&planned(), b"12345").await.unwrap();

    let files = fs::read_dir(dir.path().join(key().directory())).unwrap();
    let expected: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();

    assert_eq!(store.bytes().await.unwrap(), expected);
}

async fn stage_and_commit(
    campaign: &CampaignStore,
    plan: &teebench_api::plan::Plan,
    start: &teebench_api::plan::next::Start,
) {
    let contents = [("run.json", run_json(&valid_run(plan, start))), ("bench.json", bench_json().to_vec())];
    let staging = campaign.staging(&start.run, start.attempt);
    let mut files = crate::store::RunFiles::default();
    for (name, content) in contents {
        let sum = crate::store::sha256_hex(&content);
        let mut writer = staging.writer(&sum).await.unwrap();
        writer.write(content.into()).await.unwrap();
        assert!(matches!(writer.finish().await.unwrap(), Finished::Stored { .. }));
        files.set(name, sum);
    }
    let commit = campaign.commit_staged(&start.run, start.attempt, files, None).await.unwrap();
    assert!(matches!(commit, Commit::Won(_)));
    assert_eq!(staging.held().await.unwrap(), (0, 0));
}
