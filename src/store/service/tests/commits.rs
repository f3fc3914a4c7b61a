//! What is committed, and what a second commit is told.

use std::fs;

use http::{Method, StatusCode};
use rstest::rstest;
use serde_json::json;
use teebench_api::files::run::{Reason, ReasonCode, Verdict};

use super::*;
use crate::{store::Commit, testing::sha256sum};

#[tokio::test]
async fn an_uploaded_attempt_is_there_as_a_whole_and_the_operator_is_told() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    assert!(!lab.root().join("runs").exists(), "something is visible before the commit");

    let answer = commit(&lab, "token-1", &files).await;

    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["verdict"], "Valid");
    let committed = lab.campaign().committed().await.unwrap();
    assert_eq!(committed.len(), 1);
    assert_eq!(answer.body["sumsSha256"], committed[0].sums_sha256.as_str());
    let attempt = lab.root().join("runs").join(answer.body["attempt"].as_str().unwrap());
    assert_eq!(sha256sum(&attempt), Ok(()));
    assert_eq!(fs::read(attempt.join("bench.json")).unwrap(), bench_json());
    assert_eq!(*lab.pods.committed.lock().unwrap(), [1]);
    assert_eq!(staged(&lab, 1).await, 0);
    assert_eq!(lab.api_server.reviews(), 1, "a token is reviewed once in a short while");
}

#[tokio::test]
async fn the_same_commit_again_is_granted_and_another_is_not() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    let first = commit(&lab, "token-1", &files).await;

    let again = commit(&lab, "token-1", &files).await;
    let look = lab.send(Method::HEAD, &format!("/v1/blobs/{}", files[0].1), "token-1", "").await;
    let other = commit(&lab, "token-1", &files[1..]).await;
    let late = lab.send(Method::PUT, &format!("/v1/blobs/{}", "0".repeat(64)), "token-1", "late").await;

    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    assert_eq!(look.status, StatusCode::OK);
    assert_eq!((other.status, code(&other)), (StatusCode::CONFLICT, "Committed"), "{other:?}");
    assert_eq!((late.status, code(&late)), (StatusCode::CONFLICT, "Committed"), "{late:?}");
    assert_eq!(*lab.pods.committed.lock().unwrap(), [1], "the operator was told more than once");
}

#[rstest]
#[case::a_server_died(ReasonCode::ServerDied, Verdict::Failed)]
#[case::a_person_stopped_it(ReasonCode::Stopped, Verdict::Interrupted)]
#[tokio::test]
async fn an_attempt_that_was_broken_off_is_what_the_operator_says(
    #[case] reason: ReasonCode,
    #[case] verdict: Verdict,
) {
    let lab = Lab::start(Limits::default()).await;
    let message = "server small-cc-on-0 ended".to_owned();
    lab.pods.broken_off.lock().unwrap().insert(1, Reason { code: reason, message });
    let files = uploaded(&lab, 1).await;

    let answer = commit(&lab, "token-1", &files).await;
    let again = commit(&lab, "token-1", &files).await;

    assert_eq!(answer.body["verdict"], json!(verdict));
    assert_eq!(
        (again.status, &again.body),
        (StatusCode::OK, &answer.body),
        "a client whose answer was lost asks again"
    );
    let committed = lab.campaign().committed().await.unwrap().remove(0);
    assert_eq!(committed.run.validity.validity, verdict);
    assert_eq!(committed.run.validity.reasons[0].message, "server small-cc-on-0 ended");
    assert!(committed.metrics.is_empty());
    let attempt = lab.root().join("runs").join(answer.body["attempt"].as_str().unwrap());
    assert_eq!(sha256sum(&attempt), Ok(()));
}

#[tokio::test]
async fn an_attempt_that_the_operator_gave_up_takes_no_upload() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    let gone = run_file(&lab.plan, &start(&lab.plan, 0, 1), "the pod was evicted");
    lab.campaign().commit_run(&gone, None).await.unwrap();

    let answer = commit(&lab, "token-1", &files).await;

    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.body["message"].as_str().unwrap().contains("the pod was evicted"), "{answer:?}");
}

#[tokio::test]
async fn of_commits_at_once_by_pod_and_operator_one_wins() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    let gone = run_file(&lab.plan, &start(&lab.plan, 0, 1), "the operator's word");
    let campaign = lab.campaign();

    let (one, two, operator, three) = tokio::join!(
        commit(&lab, "token-1", &files),
        commit(&lab, "token-1", &files),
        campaign.commit_run(&gone, None),
        commit(&lab, "token-1", &files),
    );

    let verdict = campaign.committed().await.unwrap().remove(0).run.validity.validity;
    let by_operator = matches!(operator.unwrap(), Commit::Won(_));
    let expected = if by_operator { StatusCode::CONFLICT } else { StatusCode::OK };
    assert_eq!(verdict, if by_operator { Verdict::Failed } else { Verdict::Valid });
    assert_eq!([one.status, two.status, three.status], [expected; 3]);
    let attempt = lab.root().join("runs").join(start(&lab.plan, 0, 1).run.attempt_path(1));
    assert_eq!(sha256sum(&attempt), Ok(()));
    assert_eq!(attempt.join("bench.json").exists(), !by_operator, "files of both commits are mixed");
}

#[tokio::test]
async fn a_commit_names_exactly_the_files_that_lack() {
    let lab = Lab::start(Limits::default()).await;
    let mut files = uploaded(&lab, 1).await;
    files.push(("client.json", "c".repeat(64)));

    let answer = commit(&lab, "token-1", &files).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::PRECONDITION_FAILED, "Missing"));
    assert_eq!(answer.body["missing"], json!(["c".repeat(64)]));
    assert!(lab.campaign().committed().await.unwrap().is_empty());
}
