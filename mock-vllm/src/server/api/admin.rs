//! What is asked about a server rather than of its model: health, version, models, load, metrics, cache reset.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::error::ApiError;
use crate::faults::ResetReply;
use crate::server::state::{ServerState, unix_seconds};

pub async fn health() -> StatusCode {
    StatusCode::OK
}

pub async fn version(State(state): State<Arc<ServerState>>) -> Response {
    Json(json!({"version": state.settings.version})).into_response()
}

pub async fn models(State(state): State<Arc<ServerState>>) -> Response {
    let model = json!({
        "id": state.settings.model, "object": "model", "created": unix_seconds(), "owned_by": "vllm",
        "root": state.settings.model, "parent": null, "max_model_len": state.settings.max_model_len, "permission": [],
    });
    Json(json!({"object": "list", "data": [model]})).into_response()
}

pub async fn load(State(state): State<Arc<ServerState>>) -> Response {
    Json(json!({"server_load": state.in_progress()})).into_response()
}

pub async fn metrics(State(state): State<Arc<ServerState>>) -> Response {
    let engine = &state.settings.engine;
    match engine.metrics().render(&engine.snapshot()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => ApiError::internal(&format!("cannot write metrics: {error}")).into_response(),
    }
}

/// Status 200 whether or not the cache was reset, as vLLM: before 0.26 nothing tells, from then on the body does.
pub async fn reset_prefix_cache(State(state): State<Arc<ServerState>>) -> Response {
    let (reply, success) = state.reset_prefix_cache();
    match reply {
        ResetReply::Empty => StatusCode::OK.into_response(),
        ResetReply::Json => Json(json!({"success": success})).into_response(),
    }
}
