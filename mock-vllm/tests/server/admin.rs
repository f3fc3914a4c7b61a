//! Health, version, models, tokens, cache reset.

use std::time::Duration;

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use teebench_mock_vllm::server::{BindError, Fleet, FleetConfig};

use crate::harness::{MODEL, Simulator, completion, config, events, faulty, with};

const RESET: &str = "/reset_prefix_cache?reset_external=true";

#[tokio::test]
async fn while_loading_connections_are_refused_and_the_port_is_held() {
    let simulator = Simulator::start(FleetConfig { start_delay: Duration::from_secs(3600), ..config() }).await;
    assert!(simulator.refuses(0).await);
    let taken = FleetConfig { port: simulator.addresses[0].port(), ..config() };
    assert!(matches!(Fleet::bind(taken).await, Err(BindError::Listen { .. })));
}

#[tokio::test]
async fn a_ready_server_says_who_it_is() {
    let simulator = Simulator::ready(config()).await;
    assert_eq!(simulator.get_json("/version").await, json!({"version": "0.25.1+simulated"}));
    let models = simulator.get_json("/v1/models").await;
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!(MODEL)));
    assert_eq!(models["data"][0]["max_model_len"], 4096);
    assert_eq!(models["data"][0]["permission"][0]["object"], "model_permission");
    assert_eq!(simulator.get_json("/load").await, json!({"server_load": 0}));
}

#[tokio::test]
async fn text_survives_tokenising() {
    let simulator = Simulator::ready(config()).await;
    let text = "two words, and ünïcödé";
    let tokenized = simulator.post_json("/tokenize", &json!({"model": MODEL, "prompt": text})).await;
    assert_eq!(tokenized["count"], tokenized["tokens"].as_array().unwrap().len());
    assert_eq!(tokenized["max_model_len"], 4096);
    assert_eq!(tokenized["token_strs"], Value::Null);
    let strings = simulator.post_json("/tokenize", &json!({"prompt": "abcdef", "return_token_strs": true})).await;
    assert_eq!(strings["token_strs"], json!(["abcd", "ef"]));
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

#[tokio::test]
async fn a_reset_that_may_preempt_empties_the_cache_under_a_running_request_which_still_gets_all_its_tokens() {
    let simulator = Simulator::ready(FleetConfig { version: "0.26.0".to_owned(), ..config() }).await;
    let request = with(completion("abc", 160, 400), &json!({"stream": true}));
    let mut running = simulator.post("/v1/completions", &request).await;
    let first = running.chunk().await.unwrap().unwrap();
    let path = "/reset_prefix_cache?reset_running_requests=true";
    assert_eq!(simulator.post_json(path, &Value::Null).await, json!({"success": true}));
    let mut body = first.to_vec();
    while let Some(chunk) = running.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    let (events, done) = events(std::str::from_utf8(&body).unwrap());
    assert_eq!((events.len(), done), (400, true));
    assert_eq!(simulator.metric("vllm:num_preemptions_total").await, 1.0);
}
