//! Lists of workers that change while requests run: none is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use support::{Conversation, Router, Upstream, completion, eventually, streaming, within};

async fn put_workers(router: &Router, urls: &[(&str, &str)]) -> StatusCode {
    let workers: Vec<Value> = urls.iter().map(|(id, url)| json!({"id": id, "url": url})).collect();
    router.control(Method::PUT, "/workers", Bytes::from(Value::from(workers).to_string())).await.0
}

#[tokio::test]
async fn a_worker_that_stays_keeps_what_it_holds_and_one_that_left_gets_nothing() {
    let (first, second, third) =
        (Upstream::saying("first").await, Upstream::saying("second").await, Upstream::saying("third").await);
    let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {"loadBalancing": "None"}});
    let router = Router::with(policy, &[&first.url, &second.url]).await;
    let prompt = "a prompt that is long enough to be a chunk ".repeat(20);
    let holder = router.complete(&prompt).await;
    let (stays, leaves) = if holder == "first" { (&first, &second) } else { (&second, &first) };
    let stays_as = if holder == "first" { "w0" } else { "w1" };

    assert_eq!(put_workers(&router, &[("another", &third.url), (stays_as, &stays.url)]).await, StatusCode::OK);
    let before = leaves.requests().len();
    for _ in 0..4 {
        assert_eq!(router.complete(&prompt).await, holder);
    }
    for number in 0..20 {
        router.complete(&format!("{number} {prompt}")).await;
    }
    assert_eq!(leaves.requests().len(), before);
    assert!(!third.requests().is_empty());
}

#[tokio::test]
async fn a_stream_of_a_worker_that_leaves_goes_on_and_those_that_wait_take_another() {
    let (old, mut started) = streaming().await;
    let new = Upstream::saying("new").await;
    let router = Router::with(json!({"mode": "LeastLoaded", "maxInFlightPerServer": 1}), &[&old.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let first = client.post("/v1/completions", completion("first")).await;
    let stream = within("the stream", started.recv()).await.unwrap();

    let data = router.data.clone();
    let second = tokio::spawn(async move {
        let mut client = Conversation::with(&data).await;
        client.post("/v1/completions", completion("second")).await.collect().await.unwrap().to_bytes()
    });
    let waiting = async || router.control(Method::GET, "/metrics", Bytes::new()).await.1.to_string();
    eventually("the second to wait", waiting, |metrics| metrics.contains("teebench_router_waiting 1")).await;

    assert_eq!(put_workers(&router, &[("new", &new.url)]).await, StatusCode::OK);
    assert_eq!(within("the second", second).await.unwrap(), "new");
    stream.send(Ok(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
    drop(stream);
    assert_eq!(within("the first", first.collect()).await.unwrap().to_bytes(), "data: 1\n\n");
}

#[tokio::test]
async fn a_slot_taken_before_a_change_is_free_after_its_request() {
    let (upstream, mut started) = streaming().await;
    let other = Upstream::saying("other").await;
    let policy = json!({"mode": "RoundRobin", "maxInFlightPerServer": 1});
    let router = Router::with(policy, &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let first = client.post("/v1/completions", completion("first")).await;
    let stream = within("the stream", started.recv()).await.unwrap();
    assert_eq!(put_workers(&router, &[("w0", &upstream.url), ("b", &other.url)]).await, StatusCode::OK);
    for _ in 0..3 {
        assert_eq!(router.complete("while the first is busy").await, "other");
    }
    drop(stream);
    first.collect().await.unwrap();
    let in_flight = async || router.worker(0).await.in_flight;
    eventually("the slot", in_flight, |in_flight| *in_flight == 0).await;
}

#[tokio::test]
async fn a_list_that_is_wrong_changes_nothing() {
    let upstream = Upstream::saying("still").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    assert_eq!(put_workers(&router, &[]).await, StatusCode::BAD_REQUEST);
    assert_eq!(put_workers(&router, &[("a", "https://a")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(router.complete("hello").await, "still");
    assert_eq!(put_workers(&Router::neutral(), &[("a", "http://a")]).await, StatusCode::CONFLICT);
}

#[tokio::test]
async fn the_tree_is_shown_without_a_word_of_the_prompts() {
    let upstream = Upstream::saying("yes").await;
    let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {}});
    let router = Router::with(policy, &[&upstream.url]).await;
    for own in 0..4 {
        router.complete(&format!("{}{own}", "secret words ".repeat(60))).await;
    }
    let (status, tree) = router.control(Method::GET, "/debug/tree", Bytes::new()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(tree[0]["recentRequests"], 4);
    assert_eq!(tree[0]["holders"][0], "w0");
    assert!(router.metrics().await.saved_tokens > 0);
}
