//! `/admin/faults`: the faults of a server, listed and replaced while it runs. No part of vLLM, hence off by default.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::error::ApiError;
use super::params::read_json;
use crate::faults::Fault;
use crate::server::state::ServerState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    faults: Vec<String>,
}

pub async fn list(State(state): State<Arc<ServerState>>) -> Response {
    let faults: Vec<String> = state.settings.faults.list().iter().map(Fault::to_string).collect();
    Json(json!({"faults": faults})).into_response()
}

pub async fn replace(
    State(state): State<Arc<ServerState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Replacement { faults } = read_json(&headers, &body)?;
    let faults: Vec<Fault> = faults
        .iter()
        .map(|text| text.parse::<Fault>())
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    tracing::info!(ordinal = state.settings.ordinal, ?faults, "faults replaced");
    state.settings.faults.replace(faults);
    Ok(list(State(state)).await)
}
