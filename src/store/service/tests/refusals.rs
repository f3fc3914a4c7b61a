//! What is refused: foreign tokens, foreign attempts, paths that lead elsewhere, too much.

use std::time::Duration;

use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Empty};
use rstest::rstest;
use serde_json::{Value, json};
use teebench_api::files::run::RunFile;

use super::*;
use tokio_util::sync::CancellationToken;

use crate::{
    measure::{Patience, UploadTarget, upload},
    store::sha256_hex,
};

#[rstest]
#[case::unknown("token-of-nobody", json!(null), "invalid bearer token")]
#[case::another_audience("t", json!({"authenticated": false, "error": "token audiences [\"api\"] is invalid"}), "audiences")]
#[case::audience_unchecked("t", json!({"authenticated": true, "user": user("load-1", "uid-1")}), "audience teebench-results")]
#[case::not_of_a_pod("t", json!({"authenticated": true, "audiences": ["teebench-results"],
    "user": {"username": "system:serviceaccount:team-a:teebench-load"}}), "not bound to a pod")]
#[case::a_person("t", json!({"authenticated": true, "audiences": ["teebench-results"],
    "user": {"username": "jane", "extra": user("load-1", "uid-1")["extra"]}}), "not bound to a pod")]
#[tokio::test]
async fn a_token_that_is_not_a_load_pods_is_refused(#[case] token: &str, #[case] review: Value, #[case] why: &str) {
    let lab = Lab::start(Limits::default()).await;
    if !review.is_null() {
        lab.api_server.token(token, review);
    }

    let answer = lab.send(Method::POST, "/v1/commit", token, "").await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::UNAUTHORIZED, "Unauthenticated"));
    assert!(answer.body["message"].as_str().unwrap().contains(why), "{answer:?}");
}

#[rstest]
#[case::another_pod("load-99", "uid-99")]
#[case::an_earlier_pod_of_the_name("load-1", "uid-of-an-earlier-pod")]
#[tokio::test]
async fn a_pod_that_executes_no_attempt_is_refused(#[case] pod: &str, #[case] uid: &str) {
    let lab = Lab::start(Limits::default()).await;
    let review = json!({"authenticated": true, "audiences": ["teebench-results"], "user": user(pod, uid)});
    lab.api_server.token("t", review);

    let answer = lab.send(Method::PUT, &format!("/v1/blobs/{}", sha256_hex(b"x")), "t", "x").await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::FORBIDDEN, "NotALoadPod"), "{answer:?}");
}

#[rstest]
#[case::none(None)]
#[case::no_bearer(Some("Basic dXNlcjpwYXNz"))]
#[tokio::test]
async fn a_request_without_a_token_is_refused_and_asks_nobody(#[case] header: Option<&str>) {
    let lab = Lab::start(Limits::default()).await;
    let mut request = Request::post(format!("{}/v1/commit", lab.upload));
    if let Some(header) = header {
        request = request.header(AUTHORIZATION, header);
    }

    let answer = lab.request(request.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap()).await;

    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(lab.api_server.reviews(), 0);
}

#[tokio::test]
async fn before_the_pods_are_known_nobody_is_refused_for_good() {
    let lab = Lab::start(Limits::default()).await;
    lab.pods.unready.store(true, std::sync::atomic::Ordering::SeqCst);

    let answer = lab.send(Method::POST, "/v1/commit", "token-1", "").await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "Unavailable"), "{answer:?}");
}

#[rstest]
#[case::another_run(|run: &mut RunFile| run.run.arm = "cc-on-2".to_owned(), "run.json is of")]
#[case::another_attempt(|run: &mut RunFile| run.attempt = 2, "run.json is of")]
#[case::another_epoch(|run: &mut RunFile| run.epoch = 7, "epoch 7")]
#[case::another_campaign(|run: &mut RunFile| run.campaign = "large".to_owned(), "of campaign large")]
#[case::another_plan(|run: &mut RunFile| run.plan_sha256 = "0".repeat(64), "of the plan 000")]
#[tokio::test]
async fn the_files_of_another_attempt_are_refused(#[case] change: fn(&mut RunFile), #[case] why: &str) {
    let lab = Lab::start(Limits::default()).await;
    let mut run = valid_run(&lab.plan, &start(&lab.plan, 0, 1));
    change(&mut run);
    let sum = lab.put("token-1", &run_json(&run)).await;

    let answer = lab.commit("token-1", &[("run.json", &sum)]).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, "OtherAttempt"));
    assert!(answer.body["message"].as_str().unwrap().contains(why), "{answer:?}");
    assert!(lab.campaign().committed().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_token_of_another_run_reaches_only_its_own_files() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;

    let answer = commit(&lab, "token-2", &files).await;
    let look = lab.send(Method::HEAD, &format!("/v1/blobs/{}", files[0].1), "token-2", "").await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::PRECONDITION_FAILED, "Missing"), "{answer:?}");
    assert_eq!(look.status, StatusCode::NOT_FOUND);
}

#[rstest]
#[case::above("../../../../../../escaped.json")]
#[case::absolute("/tmp/escaped.json")]
#[case::hidden(".escaped.json")]
#[case::the_commit_itself("SHA256SUMS")]
#[case::another_attempts("runs/x/escaped.json")]
#[case::control("a\u{1b}.json")]
#[tokio::test]
async fn a_path_that_leads_elsewhere_is_refused(#[case] path: &str) {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;

    let answer = lab.commit("token-1", &[("run.json", &files[1].1), (path, &files[0].1)]).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, "BadList"), "{answer:?}");
    assert!(answer.body["message"].as_str().unwrap().contains("line 2"), "{answer:?}");
    assert!(lab.campaign().committed().await.unwrap().is_empty());
}

#[rstest]
#[case::above("..%2f..%2fplan.json")]
#[case::short("abc")]
#[case::upper_case("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
#[tokio::test]
async fn a_file_has_no_name_but_its_sum(#[case] name: &str) {
    let lab = Lab::start(Limits::default()).await;

    let answer = lab.send(Method::PUT, &format!("/v1/blobs/{name}"), "token-1", "x").await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, "BadRequest"), "{answer:?}");
}

#[tokio::test]
async fn content_with_another_sum_is_not_kept() {
    let lab = Lab::start(Limits::default()).await;

    let answer = lab.send(Method::PUT, &format!("/v1/blobs/{}", sha256_hex(b"one")), "token-1", "two").await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, "OtherContent"), "{answer:?}");
    assert!(answer.body["message"].as_str().unwrap().contains(&sha256_hex(b"two")), "{answer:?}");
    assert_eq!(staged(&lab, 1).await, 0);
}

#[rstest]
#[case::a_large_file(Limits { blob_bytes: 9, ..Limits::default() }, "a file may have 9")]
#[case::a_large_attempt(Limits { attempt_bytes: 15, ..Limits::default() }, "with 10 more it has over 15")]
#[case::many_files(Limits { attempt_files: 1, ..Limits::default() }, "as many as it may have")]
#[tokio::test]
async fn too_much_is_refused(#[case] limits: Limits, #[case] why: &str) {
    let lab = Lab::start(limits).await;
    lab.put("token-1", b"123456789").await;
    let content = b"0123456789";
    let path = format!("/v1/blobs/{}", sha256_hex(content));

    let answer = lab.send(Method::PUT, &path, "token-1", content.as_slice()).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"), "{answer:?}");
    assert!(answer.body["message"].as_str().unwrap().contains(why), "{answer:?}");
    assert_eq!(staged(&lab, 1).await, 1);
    let other = lab.send(Method::PUT, &format!("/v1/blobs/{}", sha256_hex(b"1")), "token-2", "1").await;
    assert_eq!(other.status, StatusCode::CREATED, "another attempt pays for it: {other:?}");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_why() {
    let lab = Lab::start(Limits { blob_bytes: 1 << 20, ..Limits::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bench.json");
    std::fs::File::create(&path).unwrap().set_len(24 << 20).unwrap();
    std::fs::write(dir.path().join("run.json"), "{}").unwrap();
    std::fs::write(dir.path().join("token"), "token-1").unwrap();
    let token_file = dir.path().join("token");
    let target = UploadTarget { url: lab.upload.clone(), ca_file: lab.ca_file.clone(), token_file };

    // One try alone: what is lost with the connection is not told another time.
    let once = Patience { first_pause: Duration::from_secs(600), ..Patience::default() };

    let stop = CancellationToken::new();
    let refused = tokio::time::timeout(Duration::from_secs(120), upload(&target, dir.path(), once, &stop)).await;

    let error = refused.expect("the answer was lost").unwrap_err();
    assert!(error.to_string().contains("a file may have 1048576"), "{error}");
}

#[tokio::test]
async fn a_refused_file_gives_its_room_back() {
    let lab = Lab::start(Limits { attempt_bytes: 10, ..Limits::default() }).await;
    let wrong = lab.send(Method::PUT, &format!("/v1/blobs/{}", sha256_hex(b"one")), "token-1", "0123456789").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);

    lab.put("token-1", b"9876543210").await;

    assert_eq!(staged(&lab, 1).await, 1);
}

fn user(pod: &str, uid: &str) -> Value {
    json!({"username": "system:serviceaccount:team-a:teebench-load", "extra": {
        "authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": [uid]}})
}
