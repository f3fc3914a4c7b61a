//! Error shapes and codes of vLLM.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{MODEL, Simulator, config};

#[rstest]
#[case::unknown_model("/v1/completions", json!({"model": "x", "prompt": "a"}), 404, "NotFoundError", "The model `x` does not")]
#[case::unknown_model_in_chat("/v1/chat/completions", json!({"model": "x", "messages": []}), 404, "NotFoundError", "The model")]
#[case::unknown_model_of_tokens("/tokenize", json!({"model": "x", "prompt": "a"}), 404, "NotFoundError", "The model `x`")]
#[case::empty_prompt("/v1/completions", json!({"model": MODEL, "prompt": ""}), 400, "Bad Request", "Either prompt or prompt_embeds must")]
#[case::no_prompt("/v1/completions", json!({"model": MODEL}), 400, "Bad Request", "Either prompt or prompt_embeds must")]
#[case::no_prompts("/v1/completions", json!({"model": MODEL, "prompt": []}), 400, "BadRequestError", "The decoder prompt cannot")]
#[case::no_messages("/v1/chat/completions", json!({"model": MODEL, "messages": []}), 400, "BadRequestError", "messages must hold")]
#[case::no_output("/v1/completions", json!({"model": MODEL, "prompt": "a", "max_tokens": 0}), 400, "BadRequestError", "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)")]
#[case::too_long("/v1/completions", json!({"model": MODEL, "prompt": "a", "max_tokens": 4096}), 400, "BadRequestError", "This model's maximum context length is 4096 tokens. However, you requested 4096 output tokens")]
#[case::long_prompt("/v1/chat/completions", json!({"model": MODEL, "messages": [{"role": "user", "content": "x".repeat(20_000)}]}), 400, "BadRequestError", "This model's maximum context length is 4096")]
#[case::negative("/v1/completions", json!({"model": MODEL, "prompt": "a", "max_tokens": -1}), 400, "Bad Request", "invalid request body")]
#[case::no_choices("/v1/completions", json!({"model": MODEL, "prompt": "a", "n": 0}), 400, "BadRequestError", "n must be at least 1, got 0.")]
#[case::too_many_choices("/v1/completions", json!({"model": MODEL, "prompt": "a", "n": 20_000}), 400, "BadRequestError", "n must be at most 16384, got 20000.")]
#[case::greedy_choices("/v1/completions", json!({"model": MODEL, "prompt": "a", "n": 2, "temperature": 0}), 400, "BadRequestError", "n must be 1 when using greedy sampling, got 2.")]
#[case::cold("/v1/completions", json!({"model": MODEL, "prompt": "a", "temperature": -1}), 400, "BadRequestError", "temperature must be non-negative, got -1.")]
#[case::hot("/v1/completions", json!({"model": MODEL, "prompt": "a", "temperature": 3}), 400, "BadRequestError", "temperature must be in [0, 2], got 3.")]
#[case::minimum_above_maximum("/v1/completions", json!({"model": MODEL, "prompt": "a", "min_tokens": 17}), 400, "BadRequestError", "min_tokens must be less than or equal to max_tokens=16, got 17.")]
#[case::empty_stop("/v1/completions", json!({"model": MODEL, "prompt": "a", "stop": ["b", ""]}), 400, "BadRequestError", "stop cannot contain an empty string.")]
#[case::empty_salt("/v1/completions", json!({"model": MODEL, "prompt": "a", "cache_salt": ""}), 400, "Bad Request", "Parameter 'cache_salt' must be")]
#[case::longer_than_the_model("/v1/completions", json!({"model": MODEL, "prompt": "a", "max_tokens": 5000}), 400, "BadRequestError", "max_tokens=5000 cannot be greater than max_model_len=max_total_tokens=4096.")]
#[case::options_without_stream("/v1/completions", json!({"model": MODEL, "prompt": "a", "stream_options": {}}), 400, "Bad Request", "Stream options can only")]
#[tokio::test]
async fn a_bad_request_is_answered_in_vllms_shape(
    #[case] path: &str,
    #[case] body: Value,
    #[case] code: u16,
    #[case] kind: &str,
    #[case] message: &str,
) {
    let simulator = Simulator::ready(config()).await;
    let response = simulator.post(path, &body).await;
    assert_eq!(response.status().as_u16(), code);
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!(code)));
    assert!(error.as_object().unwrap().contains_key("param"));
    assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
}

#[rstest]
#[case::cut("application/json", "{\"model\"", "invalid request body")]
#[case::other_type("text/plain", "{}", "['Unsupported Media Type: Only 'application/json' is allowed']")]
#[tokio::test]
async fn a_body_that_is_no_json_is_a_bad_request(
    #[case] content_type: &str,
    #[case] body: &'static str,
    #[case] message: &str,
) {
    let simulator = Simulator::ready(config()).await;
    let request = simulator.client.post(simulator.url(0, "/v1/completions")).header(CONTENT_TYPE, content_type);
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_as_by_fastapi() {
    let simulator = Simulator::ready(config()).await;
    let missing = simulator.get("/v2/completions").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(missing.json::<Value>().await.unwrap(), json!({"detail": "Not Found"}));
    let wrong = simulator.get("/v1/completions").await;
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.json::<Value>().await.unwrap(), json!({"detail": "Method Not Allowed"}));
}
