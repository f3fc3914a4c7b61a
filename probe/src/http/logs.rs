//! `/logs` and `/logs/NAME`: what the log folder holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Probe;
use super::error::Refusal;
use super::machine::blocking;
use super::wire::Logs;

/// Where a part begins.
#[derive(Deserialize, Clone, Copy, Debug)]
pub(super) struct From {
    #[serde(default)]
    from: u64,
}

pub(super) async fn list(State(probe): State<Arc<Probe>>) -> Result<Json<Logs>, Refusal> {
    let logs = blocking(move || probe.logs.list()).await?.map_err(Refusal::internal)?;
    Ok(Json(Logs { logs }))
}

pub(super) async fn part(
    State(probe): State<Arc<Probe>>,
    Path(name): Path<String>,
    from: Result<Query<From>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(From { from }) = from.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    let no_log = Refusal::not_found(format!("log {name:?}: not in the log folder; /logs tells what is"));
    let part = blocking(move || probe.logs.part(&name, from)).await?.map_err(Refusal::internal)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], part.ok_or(no_log)?).into_response())
}
