//! The control port: when an epoch begins, and that nothing of the one before is left.

mod support;

use bytes::Bytes;
use http::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use teebench_router::limits::Limits;
use teebench_router::serve::{Config, StartError, start};

use support::{Router, Upstream, epoch, eventually, prompt};

fn tree() -> Value {
    json!({"mode": "HashRadixTree", "hashRadixTree": {}})
}

#[tokio::test]
async fn an_epoch_empties_tree_counters_and_loads() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let router = Router::with(tree(), &[&one.url, &two.url]).await;
    for _ in 0..2 {
        router.complete(&prompt("shared", "own")).await;
    }
    let metrics = eventually(
        "the end of both",
        async || router.metrics().await,
        |metrics| metrics.workers.iter().all(|worker| worker.in_flight == 0),
    )
    .await;
    assert_eq!((metrics.requests, metrics.hits, metrics.tree_nodes, metrics.decisions), (2, 1, 6, 2));
    assert_eq!((metrics.prompt_chunks, metrics.held_chunks), (12, 6));
    assert!(metrics.tree_bytes > 0);

    for number in [1, 1, 7] {
        let (status, state) = router.begin(&epoch(number, tree(), &[&one.url, &two.url], &[])).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(state, json!({"epoch": number, "run": "ablation/r1", "workers": 2, "treeNodes": 0}));
        let metrics = router.metrics().await;
        assert_eq!((metrics.epoch, metrics.requests, metrics.hits, metrics.tree_nodes), (number, 0, 0, 0));
        router.complete(&prompt("shared", "own")).await;
        assert_eq!(router.metrics().await.hits, 0, "the first of its epoch");
    }
}

#[tokio::test]
async fn an_earlier_epoch_or_another_run_of_its_number_is_refused() {
    let upstream = Upstream::saying("one").await;
    let router = Router::neutral();
    let (_, state) = router.control(Method::GET, "/epoch", Bytes::new()).await;
    assert_eq!(state, json!({"epoch": 0, "run": "", "workers": 0, "treeNodes": 0}));
    assert_eq!(router.begin(&epoch(5, tree(), &[&upstream.url], &[])).await.0, StatusCode::OK);
    let (status, refusal) = router.begin(&epoch(4, tree(), &[&upstream.url], &[])).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(refusal["error"]["message"], "epoch: 4 is below the current 5; give a later number");
    let mut other = epoch(5, tree(), &[&upstream.url], &[]);
    other["run"] = "another".into();
    assert_eq!(router.begin(&other).await.0, StatusCode::CONFLICT);
    let (_, state) = router.control(Method::GET, "/epoch", Bytes::new()).await;
    assert_eq!((&state["epoch"], &state["run"]), (&json!(5), &json!("ablation/r1")));
}

#[rstest]
#[case::no_workers("/workers", json!([]), "workers: 0 are listed")]
#[case::worker_twice("/workers/1/id", json!("w0"), "workers[].id: \"w0\"")]
#[case::https("/workers/0/url", json!("https://a:1"), "workers[].url: \"https://a:1\"")]
#[case::a_path("/workers/0/url", json!("http://a:1/v1"), "workers[].url")]
#[case::a_password("/workers/0/url", json!("http://u:p@a:1"), "workers[].url")]
#[case::peer("/peers", json!([{"id": "p", "url": "peer"}]), "peers[].url: \"peer\"")]
#[case::policy("/policy/hashRadixTree/hashBits", json!(4), "policy.hashRadixTree.hashBits: 4")]
#[case::unknown_field("/extra", json!(1), "the body is no epoch: unknown field `extra`")]
#[tokio::test]
async fn a_bad_epoch_is_refused_by_field_and_changes_nothing(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] message: &str,
) {
    let router = Router::with(tree(), &["http://127.0.0.1:1", "http://127.0.0.1:2"]).await;
    let mut bad = epoch(2, tree(), &["http://127.0.0.1:1", "http://127.0.0.1:2"], &[]);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match bad.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(field.into(), value)),
        other => panic!("{other} is no object"),
    }
    let (status, refusal) = router.begin(&bad).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let said = refusal["error"]["message"].as_str().unwrap();
    assert!(said.starts_with(message), "{said}");
    assert_eq!(router.metrics().await.epoch, 1);
}

#[tokio::test]
async fn metrics_tell_of_workers_tree_and_decisions() {
    let upstream = Upstream::saying("one").await;
    let router = Router::with(tree(), &[&upstream.url]).await;
    router.complete(&prompt("shared", "own")).await;
    let (status, text) = router.control(Method::GET, "/metrics", Bytes::new()).await;
    assert_eq!(status, StatusCode::OK);
    let text = text.as_str().unwrap();
    for line in [
        "teebench_router_requests_total{worker=\"w0\"} 1",
        "teebench_router_hits_total{worker=\"w0\"} 0",
        "teebench_router_tree_nodes 6",
        "teebench_router_decision_seconds_count 1",
        "teebench_router_hit_depth_chunks_sum 0",
        "teebench_router_sync_gaps_total 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert_eq!(router.control(Method::GET, "/healthz", Bytes::new()).await.0, StatusCode::OK);
}

#[rstest]
#[case::data(true)]
#[case::control(false)]
#[tokio::test]
async fn a_taken_port_is_named(#[case] is_data: bool, #[values(1, 3)] threads: usize) {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = start(&Config {
        host: "127.0.0.1".into(),
        port: if is_data { port } else { 0 },
        control_port: if is_data { 0 } else { port },
        prometheus_port: None,
        threads,
        limits: Limits::default(),
        epoch: None,
        watched: None,
        debug_tree: false,
        access_log: false,
    })
    .unwrap_err();
    let StartError::Listen { option, port: named, .. } = error else { panic!("{error}") };
    assert_eq!((option, named), (if is_data { "--port" } else { "--control-port" }, port));
}
