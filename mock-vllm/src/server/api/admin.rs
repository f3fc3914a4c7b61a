//! What is asked about a server rather than of its model: health, version, models, load, metrics, cache reset.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
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
    let created = unix_seconds();
    let permission = json!({
        "id": format!("modelperm-{:016x}{:016x}", state.settings.seed, state.settings.ordinal),
        "object": "model_permission", "created": created, "allow_create_engine": false, "allow_sampling": true,
        "allow_logprobs": true, "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
        "organization": "*", "group": null, "is_blocking": false,
    });
    let model = json!({
        "id": state.settings.model, "object": "model", "created": created, "owned_by": "vllm",
        "root": state.settings.model, "parent": null, "max_model_len": state.settings.max_model_len,
        "permission": [permission],
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

/// What `/reset_prefix_cache` is asked; an external cache does not exist here, so asking for its reset changes nothing.
#[derive(Deserialize)]
pub struct ResetQuery {
    #[serde(default)]
    reset_running_requests: bool,
}

/// Status 200 whether or not the cache was reset, as vLLM: before 0.26 nothing tells, from then on the body does.
pub async fn reset_prefix_cache(State(state): State<Arc<ServerState>>, Query(query): Query<ResetQuery>) -> Response {
    let (reply, success) = state.reset_prefix_cache(query.reset_running_requests);
    match reply {
        ResetReply::Empty => StatusCode::OK.into_response(),
        ResetReply::Json => Json(json!({"success": success})).into_response(),
    }
}
