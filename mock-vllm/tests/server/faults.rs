//! Faults that a client meets. Those of the GPU stand in `gpu.rs`, the end of the process in `process.rs`.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use teebench_mock_vllm::server::FleetConfig;

use crate::harness::{DEADLINE, Simulator, completion, config, events, eventually, faulty, with};

#[tokio::test]
async fn a_server_that_never_gets_ready_stays_unavailable() {
    let simulator = Simulator::start(faulty(&["never-ready"])).await;
    assert_eq!(simulator.get("/health").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_slow_start_ends() {
    let simulator = Simulator::start(FleetConfig { start_delay: Duration::from_millis(200), ..config() }).await;
    assert_eq!(simulator.get("/health").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    eventually("the server is ready", || async { simulator.get("/health").await.status() == StatusCode::OK }).await;
}

#[tokio::test]
async fn errors_at_full_rate_strike_generation_only() {
    let simulator = Simulator::ready(faulty(&["error-rate=1"])).await;
    let response = simulator.post("/v1/completions", &completion("abc", 8, 1)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["error"]["code"], 500);
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
