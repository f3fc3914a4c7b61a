//! What the read port shows.

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::testing::key;

#[tokio::test]
async fn campaigns_are_listed_by_namespace_with_their_files() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    commit(&lab, "token-1", &files).await;
    uploaded(&lab, 2).await;

    let all = lab.get("/v1/campaigns").await;
    let none = lab.get("/v1/campaigns?namespace=team-b").await;
    let listing = lab.get(&format!("/v1/campaigns/{}/", key().directory())).await;

    assert_eq!(all.body, json!({"campaigns": [{"namespace": "team-a", "name": "small", "uid": "0f3c9a52"}]}));
    assert_eq!(none.body, json!({"campaigns": []}));
    assert_eq!(listing.body["sealed"], false);
    let paths: Vec<&str> =
        listing.body["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let attempt = format!("runs/{}", start(&lab.plan, 0, 1).run.attempt_path(1));
    let of_attempt = ["SHA256SUMS", "bench.json", "run.json"].map(|name| format!("{attempt}/{name}"));
    let mut expected = vec!["campaign.yaml", "decisions.jsonl", "plan.json"];
    expected.extend(of_attempt.iter().map(String::as_str));
    assert_eq!(paths, expected);
}

#[rstest]
#[case::page("report.html", StatusCode::OK)]
#[case::summary("summary.json", StatusCode::OK)]
#[case::no_such_plot("plots/nothing.svg", StatusCode::NOT_FOUND)]
#[tokio::test]
async fn a_campaign_that_runs_shows_what_is_committed(#[case] path: &str, #[case] expected: StatusCode) {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    commit(&lab, "token-1", &files).await;

    let answer = lab.get(&format!("/v1/campaigns/{}/{path}", key().directory())).await;

    assert_eq!(answer.status, expected, "{answer:?}");
    assert!(!lab.root().join(path).exists(), "a page that is made on demand is no result and is not kept");
}

#[rstest]
#[case::no_campaign("/v1/campaigns/team-a/large.00000000/")]
#[case::the_operators_own("/v1/campaigns/.operator/tls/ca.key")]
#[case::the_operators_own_in_another_way("/v1/campaigns/team-a/..%2f..%2f.operator/tls/ca.key")]
#[case::above("/v1/campaigns/team-a/small.0f3c9a52/..%2f..%2f.operator%2ftls%2fca.key")]
#[case::far_above("/v1/campaigns/team-a/small.0f3c9a52/runs/e/c/a/r/r1a1/..%2f..%2f..%2f..%2f..%2f..%2fplan.json")]
#[case::absolute("/v1/campaigns/team-a/small.0f3c9a52/%2fetc%2fpasswd")]
#[case::not_committed("/v1/campaigns/team-a/small.0f3c9a52/runs/e/c/a/r/r1a1/run.json")]
#[case::nowhere("/v2/")]
#[tokio::test]
async fn nothing_else_can_be_read(#[case] path: &str) {
    let lab = Lab::start(Limits::default()).await;

    let answer = lab.get(path).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::NOT_FOUND, "NotFound"), "{answer:?}");
}

#[rstest]
#[case(Method::PUT)]
#[case(Method::POST)]
#[case(Method::DELETE)]
#[tokio::test]
async fn nothing_can_be_written_through_the_read_port(#[case] method: Method) {
    let lab = Lab::start(Limits::default()).await;
    let path = format!("{}/v1/campaigns/{}/plan.json", lab.read, key().directory());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();

    let answer = lab.request(Request::builder().method(method).uri(path).body(body).unwrap()).await;

    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{answer:?}");
}
