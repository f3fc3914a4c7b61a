//! `/v1/completions`.

use reqwest::header::CONTENT_TYPE;
use rstest::rstest;
use serde_json::{Value, json};
use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::{ApiServerCost, EngineConfig, StepCost};
use teebench_mock_vllm::server::FleetConfig;

use crate::harness::{MODEL, Simulator, completion, config, events, streamed_text, with};

#[tokio::test]
async fn a_completion_has_vllms_fields_and_as_many_tokens_as_asked_for() {
    let simulator = Simulator::ready(config()).await;
    let reply = simulator.post_json("/v1/completions", &completion("abc", 40, 12)).await;
    let keys: Vec<&str> = reply.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "id",
        "object",
        "created",
        "model",
        "choices",
        "service_tier",
        "system_fingerprint",
        "usage",
        "kv_transfer_params",
        "metrics",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&reply["object"], &reply["model"]), (&json!("text_completion"), &json!(MODEL)));
    assert!(reply["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(
        reply["usage"],
        json!({"prompt_tokens": 40, "total_tokens": 52, "completion_tokens": 12, "prompt_tokens_details": null})
    );
    let text = reply["choices"][0]["text"].as_str().unwrap();
    assert_eq!(simulator.post_json("/tokenize", &json!({"prompt": text})).await["count"], 12);
}

#[tokio::test]
async fn a_stream_has_a_chunk_for_each_token_and_says_the_same_as_one_piece() {
    let simulator = Simulator::ready(config()).await;
    let request = completion("abc", 40, 12);
    let whole = simulator.post_json("/v1/completions", &request).await;
    let streamed = with(request, &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let response = simulator.post("/v1/completions", &streamed).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream; charset=utf-8");
    let (events, done) = events(&response.text().await.unwrap());
    assert!(done);
    let (usage, tokens) = events.split_last().unwrap();
    assert_eq!(tokens.len(), 12);
    assert_eq!(streamed_text(tokens), whole["choices"][0]["text"]);
    assert!(tokens[..11].iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    assert_eq!(tokens[11]["choices"][0]["finish_reason"], "length");
    assert!(tokens.iter().all(|event| event.get("usage").is_none() && event["id"] == usage["id"]));
    assert_eq!(usage["system_fingerprint"], whole["system_fingerprint"]);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], json!({"prompt_tokens": 40, "total_tokens": 52, "completion_tokens": 12}));
}

#[rstest]
#[case::usage_follows(true, None)]
#[case::it_is_the_last(false, Some("vllm-0.25.1+simulated-"))]
#[tokio::test]
async fn the_last_chunk_of_a_stream_bears_the_fingerprint(#[case] include_usage: bool, #[case] expected: Option<&str>) {
    let simulator = Simulator::ready(config()).await;
    let options = json!({"stream": true, "stream_options": {"include_usage": include_usage}});
    let response = simulator.post("/v1/completions", &with(completion("abc", 8, 2), &options)).await;
    let (events, _) = events(&response.text().await.unwrap());
    assert!(events[0].get("system_fingerprint").is_none());
    let fingerprint = events[1].get("system_fingerprint").map(|value| value.as_str().unwrap());
    match (fingerprint, expected) {
        (None, None) => {}
        (Some(fingerprint), Some(start)) => assert!(fingerprint.starts_with(start), "{fingerprint}"),
        (fingerprint, expected) => panic!("{fingerprint:?}, expected {expected:?}"),
    }
}

#[tokio::test]
async fn continuous_usage_counts_up_with_the_tokens() {
    let simulator = Simulator::ready(config()).await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let response = simulator.post("/v1/completions", &with(completion("abc", 8, 3), &options)).await;
    let (events, _) = events(&response.text().await.unwrap());
    let counts: Vec<&Value> = events.iter().map(|event| &event["usage"]["completion_tokens"]).collect();
    assert_eq!(counts, [1, 2, 3, 3]);
}

#[rstest]
#[case::text(json!("abcdefgh"), 1, 2)]
#[case::token_ids(json!([1, 2, 3]), 1, 3)]
#[case::texts(json!(["abcd", "efghijkl"]), 2, 3)]
#[case::lists_of_token_ids(json!([[1, 2], [3]]), 2, 3)]
#[tokio::test]
async fn a_prompt_may_have_any_of_vllms_forms(
    #[case] prompt: Value,
    #[case] choices: usize,
    #[case] prompt_tokens: u32,
) {
    let simulator = Simulator::ready(config()).await;
    let request = json!({"model": MODEL, "prompt": prompt, "max_tokens": 2, "ignore_eos": true});
    let reply = simulator.post_json("/v1/completions", &request).await;
    assert_eq!(reply["choices"].as_array().unwrap().len(), choices);
    assert_eq!(reply["usage"]["prompt_tokens"], prompt_tokens);
    assert_eq!(reply["usage"]["completion_tokens"], 2 * choices);
}

#[tokio::test]
async fn a_text_and_its_token_ids_are_one_prompt() {
    let simulator = Simulator::ready(config()).await;
    let text = completion("hello there, ", 64, 2);
    let tokens = simulator.post_json("/tokenize", &json!({"prompt": text["prompt"]})).await["tokens"].clone();
    let first = simulator.post_json("/v1/completions", &text).await;
    let second = simulator.post_json("/v1/completions", &with(text, &json!({"prompt": tokens}))).await;
    assert_eq!(first["choices"], second["choices"]);
    assert!(simulator.metric("vllm:prefix_cache_hits_total").await >= 48.0);
}

#[tokio::test]
async fn several_answers_to_a_prompt_differ_and_are_numbered() {
    let simulator = Simulator::ready(config()).await;
    let reply = simulator.post_json("/v1/completions", &with(completion("abc", 20, 8), &json!({"n": 3}))).await;
    let choices = reply["choices"].as_array().unwrap();
    let indices: Vec<&Value> = choices.iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    assert_eq!(reply["usage"]["completion_tokens"], 24);
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_before_it() {
    let simulator = Simulator::ready(config()).await;
    let request = completion("abc", 20, 30);
    let whole = simulator.post_json("/v1/completions", &request).await;
    let text = whole["choices"][0]["text"].as_str().unwrap();
    let stop = &text[41..47];
    let expected = &text[..text.find(stop).unwrap()];
    let request = with(request, &json!({"stop": [stop]}));
    let stopped = simulator.post_json("/v1/completions", &request).await;
    let choice = &stopped["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(expected), &json!("stop")));
    assert_eq!(choice["stop_reason"], stop);
    let streamed = with(request, &json!({"stream": true}));
    let (events, done) = events(&simulator.post("/v1/completions", &streamed).await.text().await.unwrap());
    assert!(done);
    assert_eq!(streamed_text(&events), expected);
    assert_eq!(events.last().unwrap()["choices"][0]["stop_reason"], stop);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer_on_any_server() {
    let simulator = Simulator::ready(FleetConfig { servers: 2, ..config() }).await;
    let request = completion("abc", 20, 8);
    let mut answers = Vec::new();
    for server in 0..2 {
        let url = simulator.url(server, "/v1/completions");
        let reply: Value = simulator.client.post(url).json(&request).send().await.unwrap().json().await.unwrap();
        answers.push(reply["choices"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    let other = simulator.post_json("/v1/completions", &with(request, &json!({"seed": 5}))).await;
    assert_ne!(other["choices"], answers[0]);
}

#[tokio::test]
async fn without_ignore_eos_an_answer_may_end_by_itself() {
    let engine = EngineConfig { max_num_seqs: 64, ..config().engine };
    let simulator = Simulator::ready(FleetConfig { engine, ..config() }).await;
    let request = with(completion("abc", 8, 40), &json!({"ignore_eos": false, "n": 60}));
    let reply = simulator.post_json("/v1/completions", &request).await;
    let reasons: Vec<&Value> =
        reply["choices"].as_array().unwrap().iter().map(|choice| &choice["finish_reason"]).collect();
    assert!(reasons.contains(&&json!("stop")) && reasons.contains(&&json!("length")), "{reasons:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let simulator = Simulator::ready(config()).await;
    let request = with(completion("abc", 8, 4000), &json!({"stream": true}));
    let mut response = simulator.post("/v1/completions", &request).await;
    assert!(response.chunk().await.unwrap().is_some());
    assert_eq!(simulator.metric("vllm:num_requests_running").await, 1.0);
    assert_eq!(simulator.get_json("/load").await["server_load"], 1);
    drop(response);
    simulator.metric_becomes("vllm:num_requests_running", |running| running == 0.0).await;
    simulator.metric_becomes("vllm:kv_cache_usage_perc", |usage| usage == 0.0).await;
    let text = simulator.get("/metrics").await.text().await.unwrap();
    assert!(text.contains(r#"finished_reason="abort",model_name="tiny-model"} 1"#), "{text}");
}

#[tokio::test]
async fn a_server_that_is_slower_than_its_engine_joins_tokens_into_chunks_and_loses_none() {
    let api_server = ApiServerCost { per_chunk_us: 20_000.0, ..ApiServerCost::NONE };
    let cost = StepCost { base_us: 1000.0, api_server, ..Profile::Tiny.figures().cost };
    let simulator = Simulator::ready(FleetConfig { step_cost: Some(cost), ..config() }).await;
    let request = completion("abc", 40, 24);
    let whole = simulator.post_json("/v1/completions", &request).await;
    let streamed = with(request, &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (events, done) = events(&simulator.post("/v1/completions", &streamed).await.text().await.unwrap());
    assert!(done);
    let (usage, chunks) = events.split_last().unwrap();
    assert!(chunks.len() < 12, "{} chunks for 24 tokens", chunks.len());
    assert_eq!(streamed_text(chunks), whole["choices"][0]["text"]);
    assert_eq!(usage["usage"]["completion_tokens"], 24);
    assert_eq!(chunks[chunks.len() - 1]["choices"][0]["finish_reason"], "length");
}
