//! Health, version, models, tokens, cache reset.

use std::time::Duration;

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use teebench_mock_vllm::server::FleetConfig;

use crate::harness::{MODEL, Simulator, completion, config, faulty, with};

const RESET: &str = "/reset_prefix_cache?reset_external=true";

#[tokio::test]
async fn while_loading_everything_is_unavailable() {
    let simulator = Simulator::start(FleetConfig { start_delay: Duration::from_secs(3600), ..config() }).await;
    for path in ["/health", "/v1/models", "/metrics"] {
        assert_eq!(simulator.get(path).await.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let refused = simulator.post("/v1/completions", &completion("a", 4, 1)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_ready_server_says_who_it_is() {
    let simulator = Simulator::ready(config()).await;
    assert_eq!(simulator.get_json("/version").await, json!({"version": "0.25.1+simulated"}));
    let models = simulator.get_json("/v1/models").await;
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!(MODEL)));
    assert_eq!(models["data"][0]["max_model_len"], 4096);
    assert_eq!(simulator.get_json("/load").await, json!({"server_load": 0}));
}

#[tokio::test]
async fn text_survives_tokenising() {
    let simulator = Simulator::ready(config()).await;
    let text = "two words, and ünïcödé";
    let tokenized = simulator.post_json("/tokenize", &json!({"model": MODEL, "prompt": text})).await;
    assert_eq!(tokenized["count"], tokenized["tokens"].as_array().unwrap().len());
    assert_eq!(tokenized["max_model_len"], 4096);
    let text_again = simulator.post_json("/detokenize", &json!({"tokens": tokenized["tokens"]})).await;
    assert_eq!(text_again, json!({"prompt": text}));
}

/// Sends a prompt, resets, sends it again: what the reset answered, and the tokens that hit.
async fn reset_between_visits(simulator: &Simulator) -> (StatusCode, String, f64) {
    simulator.post("/v1/completions", &completion("abc", 160, 1)).await.bytes().await.unwrap();
    let response = simulator.post(RESET, &Value::Null).await;
    let (status, body) = (response.status(), response.text().await.unwrap());
    simulator.post("/v1/completions", &completion("abc", 160, 1)).await.bytes().await.unwrap();
    (status, body, simulator.metric("vllm:prefix_cache_hits_total").await)
}

#[rstest]
#[case::older(&[], "0.25.1", "", 0.0)]
#[case::newer(&[], "0.26.0", r#"{"success":true}"#, 0.0)]
#[case::refused_silently(&["reset-refused=empty"], "0.26.0", "", 144.0)]
#[case::refused_openly(&["reset-refused=json"], "0.25.1", r#"{"success":false}"#, 144.0)]
#[case::claimed_and_not_done(&["reset-not-done"], "0.26.0", r#"{"success":true}"#, 144.0)]
#[tokio::test]
async fn a_reset_is_answered_as_its_version_does_and_done_unless_a_fault_forbids(
    #[case] faults: &[&str],
    #[case] version: &str,
    #[case] expected_body: &str,
    #[case] expected_hits: f64,
) {
    let simulator = Simulator::ready(FleetConfig { version: version.to_owned(), ..faulty(faults) }).await;
    let (status, body, hits) = reset_between_visits(&simulator).await;
    assert_eq!((status, body.as_str(), hits), (StatusCode::OK, expected_body, expected_hits));
}

#[tokio::test]
async fn a_reset_is_refused_while_a_request_runs() {
    let simulator = Simulator::ready(FleetConfig { version: "0.26.0".to_owned(), ..config() }).await;
    let request = with(completion("abc", 160, 3000), &json!({"stream": true}));
    let mut running = simulator.post("/v1/completions", &request).await;
    running.chunk().await.unwrap();
    assert_eq!(simulator.post_json(RESET, &Value::Null).await, json!({"success": false}));
    drop(running);
    simulator.metric_becomes("vllm:num_requests_running", |running| running == 0.0).await;
    assert_eq!(simulator.post_json(RESET, &Value::Null).await, json!({"success": true}));
}
