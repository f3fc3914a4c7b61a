//! `/samples`, `/power.csv` and `/energy`: what lies in the rings.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use teebench_api::files::energy::EnergyFile;

use super::Probe;
use super::error::Refusal;
use super::machine::QUICK;
use crate::energy::{ClockMapping, EnergyInputs, GpuInput, Window, compute};
use crate::gpu::SourceKind;
use crate::power_csv;
use crate::sampler::{Sample, Snapshot};

/// Energy at a window's edge is interpolated between samples on either side of it.
const AROUND_NS: u64 = 5_000_000_000;

/// Name of the header that counts the seconds left out of a CSV file.
const DROPPED_ROWS: &str = "x-dropped-rows";

/// A range of one GPU's samples.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct Range {
    gpu: Option<String>,
    #[serde(default)]
    from: u64,
    #[serde(default = "forever")]
    to: u64,
}

fn forever() -> u64 {
    u64::MAX
}

pub(super) async fn samples(
    State(probe): State<Arc<Probe>>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Response, Refusal> {
    Ok(lines(snapshot(&probe, range)?))
}

/// Samples as lines of JSON.
pub(super) fn lines(snapshot: Snapshot) -> Response {
    let lines = snapshot.into_lines().map(Ok::<_, Infallible>);
    let body = Body::from_stream(futures::stream::iter(lines));
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

pub(super) async fn power_csv(
    State(probe): State<Arc<Probe>>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Response, Refusal> {
    let csv = power_csv::one_row_a_second(snapshot(&probe, range)?.iter());
    let dropped = [(DROPPED_ROWS, csv.dropped.to_string())];
    Ok(([(CONTENT_TYPE, "text/csv")], dropped, csv.text).into_response())
}

fn snapshot(probe: &Probe, range: Result<Query<Range>, QueryRejection>) -> Result<Snapshot, Refusal> {
    let Query(Range { gpu, from, to }) = range.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    let known = probe.sampler.uuids();
    let uuid = match (gpu, known.as_slice()) {
        (Some(uuid), _) => uuid,
        (None, [only]) => only.clone(),
        (None, []) => return Err(Refusal::not_found(no_gpu(probe))),
        (None, several) => {
            return Err(Refusal::bad_request(format!("gpu: give one of {}", several.join(", "))));
        }
    };
    let Some(ring) = probe.sampler.ring(&uuid) else {
        let among = if known.is_empty() { no_gpu(probe) } else { format!("there are {}", known.join(", ")) };
        return Err(Refusal::not_found(format!("gpu {uuid:?} is not sampled: {among}")));
    };
    Ok(ring.range(from, to))
}

fn no_gpu(probe: &Probe) -> String {
    match probe.machine.gpu.kind() {
        SourceKind::Absent { reason } => format!("gpu absent: {reason}"),
        SourceKind::Simulated => "the simulator has not yet written its gpu file".to_owned(),
        SourceKind::Nvml => "sampling has not yet begun".to_owned(),
    }
}

#[derive(Deserialize, Clone, Copy, Debug)]
pub(super) struct Span {
    from: u64,
    to: u64,
}

pub(super) async fn energy(
    State(probe): State<Arc<Probe>>,
    span: Result<Query<Span>, QueryRejection>,
) -> Result<Json<EnergyFile>, Refusal> {
    let Query(span) = span.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    let turn = probe.driver.clone();
    Ok(Json(turn.ask(QUICK, move || energy_of(&probe, span)).await?))
}

fn energy_of(probe: &Probe, Span { from, to }: Span) -> EnergyFile {
    let around = from.saturating_sub(AROUND_NS)..to.saturating_add(AROUND_NS);
    let inventory = probe.machine.gpu.inventory();
    let samples: Vec<Vec<Sample>> = inventory
        .gpus
        .iter()
        .map(|gpu| match probe.sampler.ring(&gpu.uuid) {
            Some(ring) => ring.range(around.start, around.end).iter().cloned().collect(),
            None => Vec::new(),
        })
        .collect();
    let gpus = inventory.gpus.into_iter().zip(&samples).map(|(identity, samples)| {
        let uuid = identity.uuid.clone();
        (uuid, GpuInput { identity, clock: ClockMapping::SAME, samples, idle_watts: None })
    });
    compute(&EnergyInputs {
        window: Window { from_unix_ns: from, to_unix_ns: to },
        gpus: gpus.collect(),
        work: None,
        minimum_window_seconds: 0.0,
        simulated: probe.machine.gpu.kind() == SourceKind::Simulated,
    })
}
