//! `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::chat::{Message, render};
use super::error::ApiError;
use super::params::read_json;
use crate::engine::TokenId;
use crate::server::state::ServerState;
use crate::server::tokenizer;

#[derive(Deserialize)]
struct TokenizeRequest {
    model: Option<String>,
    return_token_strs: Option<bool>,
    #[serde(flatten)]
    text: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Prompt { prompt: String },
    Conversation { messages: Vec<Message> },
}

#[derive(Deserialize)]
struct DetokenizeRequest {
    model: Option<String>,
    tokens: Vec<u32>,
}

pub async fn tokenize(
    State(state): State<Arc<ServerState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let TokenizeRequest { model, return_token_strs, text } = read_json(&headers, &body)?;
    check_model(&state, model.as_deref())?;
    let tokens = match text {
        Text::Prompt { prompt } => tokenizer::encode(&prompt),
        Text::Conversation { messages } => render(&messages, &[]),
    };
    let strings = return_token_strs
        .unwrap_or(false)
        .then(|| tokens.iter().map(|token| tokenizer::decode(&[*token])).collect::<Vec<String>>());
    let tokens: Vec<u32> = tokens.into_iter().map(|token| token.0).collect();
    let count = tokens.len();
    let max_model_len = state.settings.max_model_len;
    Ok(Json(json!({"count": count, "max_model_len": max_model_len, "tokens": tokens, "token_strs": strings}))
        .into_response())
}

pub async fn detokenize(
    State(state): State<Arc<ServerState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let DetokenizeRequest { model, tokens } = read_json(&headers, &body)?;
    check_model(&state, model.as_deref())?;
    let tokens: Vec<TokenId> = tokens.into_iter().map(TokenId).collect();
    Ok(Json(json!({"prompt": tokenizer::decode(&tokens)})).into_response())
}

fn check_model(state: &ServerState, model: Option<&str>) -> Result<(), ApiError> {
    match model {
        Some(model) if model != state.settings.model => Err(ApiError::unknown_model(model)),
        _ => Ok(()),
    }
}
