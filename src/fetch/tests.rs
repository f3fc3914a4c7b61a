//! Fetching from a real results service, through an API server's proxy that is played over HTTP.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    store::{campaigns::run_json, service::Limits},
    testing::{Lab, bench_json, key, run_file, sha256sum, start, valid_run},
};

/// A service with a campaign of which every attempt is committed, and that is published.
async fn published() -> Lab {
    let lab = Lab::start(Limits::default()).await;
    for number in 1..lab.plan.run_count() {
        commit(&lab, number).await;
    }
    let last = lab.plan.run_count();
    let failed = run_file(&lab.plan, &start(&lab.plan, last - 1, last as u64), "the pod was evicted");
    lab.campaign().commit_run(&failed, Some(b"{}")).await.unwrap();
    lab.campaign().publish().await.unwrap();
    lab.api_server.set_campaign("team-a", "small", Some(&key().uid));
    lab
}

async fn commit(lab: &Lab, number: usize) {
    let token = format!("token-{number}");
    let run = run_json(&valid_run(&lab.plan, &start(&lab.plan, number - 1, number as u64)));
    let (run, bench) = (lab.put(&token, &run).await, lab.put(&token, bench_json()).await);
    let power = lab.put(&token, b"timestamp, power.draw [W]\n").await;
    let answer =
        lab.commit(&token, &[("bench.json", &bench), ("run.json", &run), ("servers/0/power-GPU-1.csv", &power)]).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

fn results(lab: &Lab) -> Results {
    Results::new(lab.api_server.client.clone(), "teebench-system", "teebench-results")
}

fn order(out: &Path) -> Order {
    Order { namespace: "team-a".into(), campaign: "small".into(), uid: None, out: out.to_owned() }
}

#[tokio::test]
async fn what_is_fetched_is_the_tree_in_the_store() {
    let lab = published().await;
    let out = tempfile::tempdir().unwrap();

    let fetched = fetch(&results(&lab), &order(out.path())).await.unwrap();

    assert!(fetched.sealed);
    let there = tree(&out.path().join("small"));
    assert_eq!(there.keys().collect::<Vec<_>>(), tree(&lab.root()).keys().collect::<Vec<_>>());
    assert_eq!(there, tree(&lab.root()));
    assert_eq!(fetched.copied, there.len());
    assert_eq!(sha256sum(&out.path().join("small")), Ok(()));
    for sums in there.keys().filter(|path| path.starts_with("runs") && path.ends_with("SHA256SUMS")) {
        assert_eq!(sha256sum(out.path().join("small").join(sums).parent().unwrap()), Ok(()));
    }
    let campaigns = teebench_analysis::read::campaigns(&[out.path().to_owned()]).unwrap();
    assert_eq!(campaigns[0].runs.len(), lab.plan.run_count());
    let summary = teebench_analysis::summary::summarise(&campaigns);
    assert_eq!(summary.campaigns[0].name, "small");
}

#[tokio::test]
async fn files_that_are_there_are_not_copied_again_and_damaged_ones_are() {
    let lab = published().await;
    let out = tempfile::tempdir().unwrap();
    let first = fetch(&results(&lab), &order(out.path())).await.unwrap();
    let report = out.path().join("small/report.html");
    let length = fs::metadata(&report).unwrap().len();
    fs::write(&report, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    fs::remove_file(out.path().join("small/summary.json")).unwrap();

    let second = fetch(&results(&lab), &order(out.path())).await.unwrap();

    assert_eq!((second.copied, second.kept), (2, first.copied - 2));
    assert_eq!(tree(&out.path().join("small")), tree(&lab.root()));
}

#[tokio::test]
async fn a_copy_that_breaks_off_is_begun_again() {
    let lab = published().await;
    let out = tempfile::tempdir().unwrap();
    let results = results(&lab);
    fetch(&results, &order(out.path())).await.unwrap();
    fs::remove_file(out.path().join("small/report.html")).unwrap();
    lab.api_server.cut_files(1);

    let fetched = fetch(&results, &order(out.path())).await.unwrap();

    assert_eq!(fetched.copied, 1);
    assert_eq!(tree(&out.path().join("small")), tree(&lab.root()));
}

#[tokio::test]
async fn a_running_campaign_is_fetched_without_its_own_sums_until_it_is_sealed() {
    let lab = Lab::start(Limits::default()).await;
    lab.api_server.set_campaign("team-a", "small", Some(&key().uid));
    commit(&lab, 1).await;
    lab.campaign().publish().await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let sealed = fetch(&results(&lab), &order(out.path())).await.unwrap();
    commit(&lab, 2).await;

    let running = fetch(&results(&lab), &order(out.path())).await.unwrap();

    assert!(sealed.sealed && !running.sealed);
    assert_eq!(running.copied, 4, "the new attempt has three files and their sums");
    assert!(!out.path().join("small/SHA256SUMS").exists(), "sums that no longer hold are left");
    lab.campaign().publish().await.unwrap();
    assert!(fetch(&results(&lab), &order(out.path())).await.unwrap().sealed);
    assert_eq!(sha256sum(&out.path().join("small")), Ok(()));
}

#[tokio::test]
async fn results_outlive_their_campaign() {
    let lab = published().await;
    lab.api_server.set_campaign("team-a", "small", None);
    let out = tempfile::tempdir().unwrap();

    fetch(&results(&lab), &order(out.path())).await.unwrap();

    assert_eq!(tree(&out.path().join("small")), tree(&lab.root()));
}

#[tokio::test]
async fn results_of_a_new_campaign_are_not_mixed_with_those_of_an_old_one() {
    let lab = published().await;
    let out = tempfile::tempdir().unwrap();
    fs::create_dir_all(out.path().join("small")).unwrap();
    fs::write(out.path().join("small/plan.json"), "{}").unwrap();

    let error = fetch(&results(&lab), &order(out.path())).await.unwrap_err();

    assert!(error.is_bad_input() && error.to_string().contains("choose another --out"), "{error}");
    assert_eq!(tree(&out.path().join("small")).len(), 1);
}

#[tokio::test]
async fn a_campaign_that_has_not_begun_is_told_so() {
    let lab = Lab::start(Limits::default()).await;
    lab.api_server.set_campaign("team-a", "small", Some("99999999-6a1e-4d0b-9c55-5d1f5f0a7b11"));
    let out = tempfile::tempdir().unwrap();

    let error = fetch(&results(&lab), &order(out.path())).await.unwrap_err();

    assert!(error.to_string().contains("nothing of it yet"), "{error}");
}

#[tokio::test]
async fn a_cluster_without_the_operator_is_told_so() {
    let lab = Lab::start(Limits::default()).await;
    let results = Results::new(lab.api_server.client.clone(), "elsewhere", "teebench-results");
    let out = tempfile::tempdir().unwrap();

    let error = fetch(&results, &order(out.path())).await.unwrap_err();

    assert!(error.to_string().contains("404"), "{error}");
}

/// Files below a directory with their content.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    files
}
