//! `/healthz` and `/clock`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Probe;
use super::wire::{Clock, Health};
use crate::clock;

pub(super) async fn healthz(State(probe): State<Arc<Probe>>) -> (StatusCode, Json<Health>) {
    let health = Health::from(*probe.engine.borrow());
    let status = match health {
        Health::Running { pid: _ } => StatusCode::OK,
        Health::Exited { code: _ } | Health::Killed { signal: _ } => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}

pub(super) async fn clock() -> Json<Clock> {
    Json(Clock { unix_ns: clock::unix_ns() })
}
