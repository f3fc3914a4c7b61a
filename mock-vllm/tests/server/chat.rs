//! `/v1/chat/completions`.

use serde_json::{Value, json};

use crate::harness::{MODEL, Simulator, config, events, with};

fn request(max_tokens: u32) -> Value {
    json!({
        "model": MODEL,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "max_completion_tokens": max_tokens,
        "ignore_eos": true,
        "temperature": 0.7,
    })
}

#[tokio::test]
async fn a_stream_opens_with_the_role_and_then_brings_the_answer() {
    let simulator = Simulator::ready(config()).await;
    let whole = simulator.post_json("/v1/chat/completions", &request(6)).await;
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["message"]["role"]),
        (&json!("chat.completion"), &json!("assistant"))
    );
    let streamed = with(request(6), &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let response = simulator.post("/v1/chat/completions", &streamed).await;
    let (events, done) = events(&response.text().await.unwrap());
    assert!(done);
    assert_eq!(events.len(), 8);
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert!(events[1].get("usage").is_none(), "chunks leave the usage out until the end");
    assert!(whole["choices"][0]["message"].get("tool_calls").is_none(), "no tool was called");
    let text: String =
        events[1..7].iter().map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"]);
    assert_eq!(events[6]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[7]["usage"]["completion_tokens"], 6);
    assert_eq!(events[7]["usage"]["prompt_tokens"], whole["usage"]["prompt_tokens"]);
}

#[tokio::test]
async fn the_prompt_is_what_tokenize_says() {
    let simulator = Simulator::ready(config()).await;
    let tokenized = simulator.post_json("/tokenize", &json!({"messages": request(1)["messages"]})).await;
    let reply = simulator.post_json("/v1/chat/completions", &request(1)).await;
    assert_eq!(tokenized["count"], reply["usage"]["prompt_tokens"]);
}

#[tokio::test]
async fn a_conversation_that_goes_on_finds_its_beginning_in_the_cache() {
    let simulator = Simulator::ready(config()).await;
    let mut conversation = request(40);
    let reply = simulator.post_json("/v1/chat/completions", &conversation).await;
    let messages = conversation["messages"].as_array_mut().unwrap();
    messages.push(reply["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "more"}));
    simulator.post("/v1/chat/completions", &conversation).await;
    assert!(simulator.metric("vllm:prefix_cache_hits_total").await >= 32.0);
}

#[tokio::test]
async fn all_answers_are_opened_before_the_first_token() {
    let simulator = Simulator::ready(config()).await;
    let streamed = with(request(3), &json!({"stream": true, "n": 3}));
    let response = simulator.post("/v1/chat/completions", &streamed).await;
    let (events, _) = events(&response.text().await.unwrap());
    let roles: Vec<bool> = events.iter().map(|event| event["choices"][0]["delta"].get("role").is_some()).collect();
    assert_eq!(roles, [[true; 3].as_slice(), &[false; 9]].concat());
}
