//! `/metrics`: the last readings of each GPU and what the sampler counted, in Prometheus' text format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::Probe;
use super::error::Refusal;
use crate::exec::EngineState;
use crate::sampler::{Sample, Totals};

pub(super) async fn metrics(State(probe): State<Arc<Probe>>) -> Result<Response, Refusal> {
    let rings = probe.sampler.uuids().into_iter();
    let totals = rings.filter_map(|uuid| Some((probe.sampler.ring(&uuid)?.totals(), uuid)));
    let running = matches!(*probe.engine.borrow(), EngineState::Running { pid: _ });
    let names = probe.packages.names().unwrap_or_default().into_iter();
    let packages = names.filter_map(|name| Some((probe.packages.ring(&name)?.totals().latest.energy_mj?, name)));
    let packages = packages.map(|(millijoules, name)| (name, millijoules));
    let totals = totals.map(|(totals, uuid)| (uuid, totals));
    let text = encode(totals, packages, running).map_err(Refusal::internal)?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// The registry is made for each scrape: the rings hold the numbers, and a reading that is absent has no series.
fn encode(
    totals: impl Iterator<Item = (String, Totals)>,
    packages: impl Iterator<Item = (String, u64)>,
    running: bool,
) -> prometheus::Result<Vec<u8>> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str| {
        let vector = GaugeVec::new(Opts::new(name, help), &["gpu"])?;
        registry.register(Box::new(vector.clone())).map(|()| vector)
    };
    let counter = |name: &str, help: &str| {
        let vector = IntCounterVec::new(Opts::new(name, help), &["gpu"])?;
        registry.register(Box::new(vector.clone())).map(|()| vector)
    };
    let power = gauge("teebench_probe_gpu_power_watts", "Instant power of the GPU's board.")?;
    let energy =
        gauge("teebench_probe_gpu_energy_joules", "Energy counter of the GPU's board since its driver loaded.")?;
    let temperature = gauge("teebench_probe_gpu_temperature_celsius", "Temperature of the GPU.")?;
    let samples = counter("teebench_probe_samples_total", "Samples taken.")?;
    let gaps = counter("teebench_probe_gaps_total", "Samples in which a call failed.")?;
    let up = IntGauge::new("teebench_probe_engine_up", "1 while the engine runs, 0 after its end.")?;
    registry.register(Box::new(up.clone()))?;
    up.set(i64::from(running));

    for (uuid, Totals { samples: taken, gaps: failed, latest }) in totals {
        let gpu = [uuid.as_str()];
        let Sample { power_instant_mw, energy_mj, temperature_celsius, .. } = latest;
        if let Some(milliwatts) = power_instant_mw {
            power.with_label_values(&gpu).set(milliwatts as f64 / 1e3);
        }
        if let Some(millijoules) = energy_mj {
            energy.with_label_values(&gpu).set(millijoules as f64 / 1e3);
        }
        if let Some(celsius) = temperature_celsius {
            temperature.with_label_values(&gpu).set(f64::from(celsius));
        }
        samples.with_label_values(&gpu).inc_by(taken);
        gaps.with_label_values(&gpu).inc_by(failed);
    }
    let cpu =
        Opts::new("teebench_probe_cpu_package_energy_joules", "Energy of the CPU package since the probe started.");
    let cpu = GaugeVec::new(cpu, &["package"])?;
    registry.register(Box::new(cpu.clone()))?;
    for (name, millijoules) in packages {
        cpu.with_label_values(&[name.as_str()]).set(millijoules as f64 / 1e3);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_reading_has_no_series_and_a_present_one_has_base_units() {
        let latest = Sample { power_instant_mw: Some(250_500), temperature_celsius: Some(55), ..Sample::default() };
        let totals = Totals { samples: 7, gaps: 2, latest };
        let packages = [("package-0".to_owned(), 9_250)].into_iter();
        let text = encode([("GPU-a".to_owned(), totals)].into_iter(), packages, true).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            "teebench_probe_gpu_power_watts{gpu=\"GPU-a\"} 250.5",
            "teebench_probe_gpu_temperature_celsius{gpu=\"GPU-a\"} 55",
            "teebench_probe_samples_total{gpu=\"GPU-a\"} 7",
            "teebench_probe_gaps_total{gpu=\"GPU-a\"} 2",
            "teebench_probe_engine_up 1",
            "teebench_probe_cpu_package_energy_joules{package=\"package-0\"} 9.25",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gpu_energy_joules{"), "{text}");
    }
}
