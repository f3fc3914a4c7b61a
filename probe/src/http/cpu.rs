//! `/cpu` and `/cpu/samples`: the energy counters of the CPU's packages.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::Probe;
use super::error::Refusal;
use super::samples::lines;
use super::wire::CpuPackages;

pub(super) async fn packages(State(probe): State<Arc<Probe>>) -> Json<CpuPackages> {
    Json(match probe.packages.names() {
        Ok(packages) => CpuPackages { packages, reason: None },
        Err(reason) => CpuPackages { packages: Vec::new(), reason: Some(reason) },
    })
}

/// A range of one package's samples.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct Range {
    package: String,
    #[serde(default)]
    from: u64,
    to: Option<u64>,
}

pub(super) async fn samples(
    State(probe): State<Arc<Probe>>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Range { package, from, to }) = range.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    let Some(ring) = probe.packages.ring(&package) else {
        let among = match probe.packages.names() {
            Ok(names) => format!("there are {}", names.join(", ")),
            Err(reason) => reason,
        };
        return Err(Refusal::not_found(format!("package {package:?} is not sampled: {among}")));
    };
    Ok(lines(ring.range(from, to.unwrap_or(u64::MAX))))
}
