//! Faults that a client meets. Those of the GPU stand in `gpu.rs`, the end of the process in `process.rs`.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use teebench_mock_vllm::server::FleetConfig;

use crate::harness::{DEADLINE, Simulator, completion, config, events, eventually, faulty, with};

#[tokio::test]
async fn a_server_that_never_gets_ready_refuses_while_others_serve() {
    let simulator = Simulator::start(faulty(&["never-ready"])).await;
    let other = Simulator::ready(config()).await;
    assert!(other.accepts(0).await && simulator.refuses(0).await);
}

#[rstest]
#[case::by_flag(FleetConfig { start_delay: Duration::from_millis(200), ..config() })]
#[case::by_fault(faulty(&["slow-start=0.2"]))]
#[tokio::test]
async fn a_slow_start_ends(#[case] config: FleetConfig) {
    let simulator = Simulator::start(config).await;
    assert!(simulator.refuses(0).await);
    eventually("the server is ready", || simulator.accepts(0)).await;
}

/// Replaces the faults of the first server.
pub async fn replace(simulator: &Simulator, faults: &[&str]) -> Response {
    let body = json!({"faults": faults});
    simulator.client.put(simulator.url(0, "/admin/faults")).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn faults_are_listed_and_replaced_while_the_server_runs() {
    let simulator = Simulator::ready(FleetConfig { admin: true, servers: 2, ..faulty(&["error-rate=1"]) }).await;
    assert_eq!(simulator.get_json("/admin/faults").await, json!({"faults": ["error-rate=1"]}));
    let request = completion("abc", 8, 1);
    assert_eq!(simulator.post("/v1/completions", &request).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(replace(&simulator, &[]).await.json::<Value>().await.unwrap(), json!({"faults": []}));
    assert_eq!(simulator.post("/v1/completions", &request).await.status(), StatusCode::OK);
    let other: Value = simulator.get_from(1, "/admin/faults").await.json().await.unwrap();
    assert_eq!(other, json!({"faults": ["error-rate=1"]}), "each server has its own");
    let refused = replace(&simulator, &["explode"]).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(simulator.get_json("/admin/faults").await, json!({"faults": []}));
}

#[tokio::test]
async fn faults_cannot_be_replaced_unless_that_is_enabled() {
    let simulator = Simulator::ready(config()).await;
    assert_eq!(replace(&simulator, &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn refused_connections_leave_open_ones_alive_and_end_with_the_fault() {
    let simulator = Simulator::ready(FleetConfig { admin: true, ..config() }).await;
    // The client keeps its connection, so the second replacement passes the shut door.
    assert_eq!(replace(&simulator, &["refuse-connections=0"]).await.status(), StatusCode::OK);
    eventually("new connections are refused", || simulator.refuses(0)).await;
    assert_eq!(replace(&simulator, &[]).await.status(), StatusCode::OK);
    eventually("new connections are taken again", || async { !simulator.refuses(0).await }).await;
}

#[tokio::test]
async fn a_slow_stream_brings_all_tokens_in_few_pieces() {
    let simulator = Simulator::ready(faulty(&["slow-stream=60"])).await;
    let request = with(completion("abc", 8, 40), &json!({"stream": true}));
    let mut response = simulator.post("/v1/completions", &request).await;
    let (mut body, mut pieces) = (Vec::new(), 0);
    while let Some(chunk) = response.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
        pieces += 1;
    }
    let (events, done) = events(std::str::from_utf8(&body).unwrap());
    assert_eq!((events.len(), done), (40, true));
    assert!(pieces < 20, "{pieces} pieces");
}

#[tokio::test]
async fn errors_at_full_rate_strike_generation_only() {
    let simulator = Simulator::ready(faulty(&["error-rate=1"])).await;
    let response = simulator.post("/v1/completions", &completion("abc", 8, 1)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], 500);
    assert_eq!(simulator.get("/health").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_truncated_stream_breaks_off_without_an_end_marker() {
    let simulator = Simulator::ready(faulty(&["truncate-stream=3"])).await;
    let request = with(completion("abc", 8, 10), &json!({"stream": true}));
    let mut response = simulator.post("/v1/completions", &request).await;
    let mut body = Vec::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let (events, done) = events(std::str::from_utf8(&body).unwrap());
    assert_eq!((events.len(), done, broken), (3, false, true));
    simulator.metric_becomes("vllm:num_requests_running", |running| running == 0.0).await;
}

#[tokio::test]
async fn a_hanging_server_accepts_and_never_answers() {
    let simulator = Simulator::ready(faulty(&["hang-from-request=2"])).await;
    let request = completion("abc", 8, 1);
    assert_eq!(simulator.post("/v1/completions", &request).await.status(), StatusCode::OK);
    let hung =
        simulator.client.post(simulator.url(0, "/v1/completions")).json(&request).timeout(Duration::from_millis(300));
    assert!(hung.send().await.unwrap_err().is_timeout());
    assert_eq!(simulator.get("/health").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_shutdown_breaks_off_what_is_under_way() {
    let mut simulator = Simulator::ready(faulty(&["hang-from-request=2"])).await;
    let request = with(completion("abc", 8, 4000), &json!({"stream": true}));
    let mut streaming = simulator.post("/v1/completions", &request).await;
    streaming.chunk().await.unwrap();
    let hung = tokio::spawn(simulator.client.post(simulator.url(0, "/v1/completions")).json(&request).send());
    simulator.shutdown.cancel();
    let outcome = tokio::time::timeout(DEADLINE, &mut simulator.serving).await.unwrap();
    outcome.unwrap().unwrap();
    let broken = loop {
        match streaming.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "a stream that was cut must not look finished");
    assert!(hung.await.unwrap().map_or(true, |response| !response.status().is_success()));
}
