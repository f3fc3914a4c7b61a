//! `/healthz`, `/readyz`, `/engine` and `/clock`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Probe;
use super::wire::{Clock, Engine, ErrorBody, Health, Ready};
use crate::clock;
use crate::exec::{EngineState, Readiness};

pub(super) async fn healthz(State(probe): State<Arc<Probe>>) -> (StatusCode, Json<Health>) {
    let health = Health::from(*probe.engine.borrow());
    let status = match health {
        Health::Running { pid: _ } => StatusCode::OK,
        Health::Exited { code: _ } | Health::Killed { signal: _ } => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}

pub(super) async fn readyz(State(probe): State<Arc<Probe>>) -> Response {
    let refuse = |error: String| (StatusCode::SERVICE_UNAVAILABLE, Json(ErrorBody { error })).into_response();
    if let EngineState::Ended(ending) = *probe.engine.borrow() {
        return refuse(format!("the engine {ending}"));
    }
    match probe.readiness.borrow().clone() {
        Readiness::Waiting { reason } => refuse(format!("no token was served yet: {reason}")),
        Readiness::Ready { ready_seconds } => Json(Ready { ready_seconds }).into_response(),
    }
}

pub(super) async fn engine(State(probe): State<Arc<Probe>>) -> Json<Engine> {
    let (version, blocks) = tokio::join!(probe.service.version(), probe.service.num_gpu_blocks());
    let mut unreadable = BTreeMap::new();
    let version = version.map_err(|reason| unreadable.insert("version".to_owned(), reason)).ok();
    let num_gpu_blocks = blocks.map_err(|reason| unreadable.insert("num_gpu_blocks".to_owned(), reason)).ok();
    let ready_seconds = match probe.readiness.borrow().clone() {
        Readiness::Waiting { reason } => {
            unreadable.insert("ready_seconds".to_owned(), reason);
            None
        }
        Readiness::Ready { ready_seconds } => Some(ready_seconds),
    };
    Json(Engine {
        version,
        num_gpu_blocks,
        served_model: probe.service.served_model().map(str::to_owned),
        ready_seconds,
        started_unix_ns: probe.started_unix_ns,
        alive: matches!(*probe.engine.borrow(), EngineState::Running { .. }),
        unreadable,
    })
}

pub(super) async fn clock() -> Json<Clock> {
    Json(Clock { unix_ns: clock::unix_ns() })
}
