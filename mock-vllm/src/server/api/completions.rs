//! `/v1/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

use super::chunk::Endpoint;
use super::error::ApiError;
use super::generate::{GenerateRequest, serve};
use super::params::{Params, read_json};
use crate::engine::TokenId;
use crate::server::state::ServerState;
use crate::server::tokenizer;

#[derive(Deserialize)]
struct CompletionRequest {
    prompt: Option<Prompts>,
    #[serde(flatten)]
    params: Params,
}

/// All forms that vLLM takes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

impl Prompts {
    fn into_tokens(self) -> Vec<Vec<TokenId>> {
        let ids = |tokens: Vec<u32>| tokens.into_iter().map(TokenId).collect();
        match self {
            Self::Text(text) => vec![tokenizer::encode(&text)],
            Self::Tokens(tokens) => vec![ids(tokens)],
            Self::Texts(texts) => texts.iter().map(|text| tokenizer::encode(text)).collect(),
            Self::TokenLists(lists) => lists.into_iter().map(ids).collect(),
        }
    }
}

pub async fn handle(State(state): State<Arc<ServerState>>, headers: HeaderMap, body: Bytes) -> Response {
    serve(state, |state| read(state, &headers, &body)).await
}

fn read(state: &ServerState, headers: &HeaderMap, body: &[u8]) -> Result<GenerateRequest, ApiError> {
    let CompletionRequest { prompt, params } = read_json(headers, body)?;
    let prompt =
        prompt.filter(|prompt| !matches!(prompt, Prompts::Text(text) if text.is_empty())).ok_or_else(|| {
            ApiError::invalid_body(Some("prompt"), "Either prompt or prompt_embeds must be provided and non-empty.")
        })?;
    params.validate(&state.settings.model)?;
    Ok(GenerateRequest { endpoint: Endpoint::Completions, prompts: prompt.into_tokens(), params })
}
