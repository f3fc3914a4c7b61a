//! The control port: begins epochs, takes the deltas of other routers, and shows what this one counts.

pub mod client;
mod health;
pub mod members;
pub mod metrics;
pub mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;
use teebench_api::files::epoch::{EpochRequest, Worker};

use self::client::Client;
use crate::epoch::{Epoch, EpochError};
use crate::shared::Shared;
use crate::sync::frame::MAXIMUM_FRAME_BYTES;
use crate::sync::wire::FrameError;
use crate::sync::{ReceiveError, peer, receive, snapshot};

/// Most bytes of an epoch's request: 4096 workers and as many peers with the longest names fit.
const MAXIMUM_EPOCH_BYTES: usize = 4 << 20;

/// The control port's side of a router.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
    client: Client,
    is_draining: Arc<AtomicBool>,
    debug_tree: bool,
}

impl Control {
    /// A control port for a router; `debug_tree` lets it show the tree.
    pub fn new(shared: Arc<Shared>, debug_tree: bool) -> Self {
        Self { shared, client: Client::new(), is_draining: Arc::default(), debug_tree }
    }

    /// Begins an epoch and what runs beside it: probes of its workers and the exchange with its peers. Must be called
    /// within the control port's runtime.
    pub fn begin(&self, request: &EpochRequest) -> Result<(), EpochError> {
        let epoch = self.shared.begin(request)?;
        tracing::info!(epoch = epoch.number, run = epoch.run, workers = epoch.workers.len(), "an epoch begins");
        self.accompany(epoch);
        Ok(())
    }

    /// Goes on with another list of workers: those that stay keep what they hold, and no request is lost. Must be called
    /// within the control port's runtime.
    pub fn change_workers(&self, workers: &[Worker]) -> Result<(), EpochError> {
        if let Some(epoch) = self.shared.change_workers(workers)? {
            tracing::info!(workers = epoch.workers.len(), "the list of servers changed");
            self.accompany(epoch);
        }
        Ok(())
    }

    fn accompany(&self, epoch: Arc<Epoch>) {
        tokio::spawn(health::probe_workers(epoch.clone(), self.client.clone()));
        tokio::spawn(peer::keep_in_step(epoch, self.client.clone()));
    }

    /// From now on the router says that it is about to end.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// The routes of the control port.
    pub fn routes(self) -> Router {
        let debug = if self.debug_tree { Router::new().route("/debug/tree", get(get_tree)) } else { Router::new() };
        debug
            .route("/workers", put(put_workers).layer(DefaultBodyLimit::max(MAXIMUM_EPOCH_BYTES)))
            .route("/epoch", put(put_epoch).get(get_epoch).layer(DefaultBodyLimit::max(MAXIMUM_EPOCH_BYTES)))
            .route("/deltas", post(post_deltas).layer(DefaultBodyLimit::max(MAXIMUM_FRAME_BYTES)))
            .route("/snapshot", get(get_snapshot))
            .merge(self.clone().metrics_routes())
            .route("/metrics.json", get(get_report))
            .with_state(self)
    }

    /// Only what a collector of metrics may see.
    pub fn metrics_routes(self) -> Router<Self> {
        Router::new().route("/metrics", get(get_metrics)).route("/healthz", get(get_health)).with_state(self)
    }
}

async fn put_epoch(State(control): State<Control>, body: Bytes) -> Response {
    let request: EpochRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("the body is no epoch: {error}")),
    };
    match control.begin(&request) {
        Ok(()) => Json(control.shared.epoch().describe()).into_response(),
        Err(error @ (EpochError::Stale { .. } | EpochError::Taken { .. })) => {
            refuse(StatusCode::CONFLICT, &error.to_string())
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// The list of workers of the epoch in force, as in the epoch's own request.
async fn put_workers(State(control): State<Control>, body: Bytes) -> Response {
    let workers: Vec<Worker> = match serde_json::from_slice(&body) {
        Ok(workers) => workers,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("the body is no list of servers: {error}")),
    };
    if control.shared.epoch().is_neutral() {
        return refuse(StatusCode::CONFLICT, "the router has no epoch yet; begin one with PUT /epoch");
    }
    match control.change_workers(&workers) {
        Ok(()) => Json(control.shared.epoch().describe()).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn get_tree(State(control): State<Control>) -> Response {
    Json(control.shared.epoch().top_prefixes()).into_response()
}

async fn get_epoch(State(control): State<Control>) -> Response {
    Json(control.shared.epoch().describe()).into_response()
}

async fn post_deltas(State(control): State<Control>, body: Bytes) -> Response {
    match receive(&control.shared.epoch(), &body) {
        Ok(receipt) => Json(receipt).into_response(),
        Err(error @ ReceiveError::OtherEpoch { .. }) => refuse(StatusCode::CONFLICT, &error.to_string()),
        Err(error @ ReceiveError::Frame(FrameError::TooLarge(_))) => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
        }
        Err(error @ ReceiveError::Frame(_)) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn get_snapshot(State(control): State<Control>) -> Response {
    let epoch = control.shared.epoch();
    // A large tree takes a good part of a second, in which deltas and epochs must not wait.
    match tokio::task::spawn_blocking(move || snapshot(&epoch)).await {
        Ok(snapshot) => ([(CONTENT_TYPE, "application/octet-stream")], snapshot).into_response(),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the snapshot failed"),
    }
}

async fn get_metrics(State(control): State<Control>) -> Response {
    match control.shared.epoch().metrics_text() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn get_report(State(control): State<Control>) -> Response {
    Json(control.shared.epoch().report()).into_response()
}

async fn get_health(State(control): State<Control>) -> Response {
    if control.is_draining.load(Ordering::Relaxed) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    "ok\n".into_response()
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message, "code": status.as_u16()}}))).into_response()
}
