//! `/gpus`, `/environment` and `/evidence`: the machine is asked anew each time, on a thread that may block.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use teebench_api::files::evidence::{Environment, Evidence, NonceDocument};

use super::Probe;
use super::error::Refusal;
use super::wire::Gpus;
use crate::evidence;

/// A question takes milliseconds. The operator gives up after five seconds, two of which the engine may take to tell its
/// version, so that it hears the reason.
pub(super) const QUICK: Duration = Duration::from_secs(2);
/// A GPU takes a second or so to sign a report, and a machine has up to eight.
const SIGNING: Duration = Duration::from_secs(45);

type Reply<T> = Result<Json<T>, Refusal>;

pub(super) async fn gpus(State(probe): State<Arc<Probe>>) -> Reply<Gpus> {
    let turn = probe.driver.clone();
    let asked = turn.ask(QUICK, move || Gpus::new(&probe.machine.gpu.kind(), probe.machine.gpu.inventory()));
    Ok(Json(asked.await?))
}

pub(super) async fn environment(State(probe): State<Arc<Probe>>) -> Reply<Environment> {
    let engine = probe.service.version().await;
    let turn = probe.driver.clone();
    let environment = turn.ask(QUICK, move || {
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
    let turn = probe.driver.clone();
    let taken = turn.ask(SIGNING, move || evidence::take(&probe.machine, engine, &probe.node, &document));
    Ok(Json(taken.await?.map_err(Refusal::bad_request)?))
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)
}
