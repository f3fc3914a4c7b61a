//! `/gpus`, `/environment` and `/evidence`: the machine is asked anew each time, on a thread that may block.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use teebench_api::files::evidence::{Environment, Evidence, NonceDocument};

use super::Probe;
use super::error::Refusal;
use super::wire::Gpus;
use crate::evidence;

type Reply<T> = Result<Json<T>, Refusal>;

pub(super) async fn gpus(State(probe): State<Arc<Probe>>) -> Reply<Gpus> {
    let gpus = blocking(move || Gpus::new(&probe.machine.gpu.kind(), probe.machine.gpu.inventory())).await?;
    Ok(Json(gpus))
}

pub(super) async fn environment(State(probe): State<Arc<Probe>>) -> Reply<Environment> {
    let engine = probe.service.version().await;
    let environment = blocking(move || {
        let machine = &probe.machine;
        machine.environment(&machine.gpu.confidential_compute(), &machine.isolation_type(), engine)
    });
    Ok(Json(environment.await?))
}

pub(super) async fn evidence(
    State(probe): State<Arc<Probe>>,
    document: Result<Json<NonceDocument>, JsonRejection>,
) -> Reply<Evidence> {
    let Json(document) = document.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    let engine = probe.service.version().await;
    let taken = blocking(move || evidence::take(&probe.machine, engine, &probe.node, &document)).await?;
    Ok(Json(taken.map_err(Refusal::bad_request)?))
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)
}
