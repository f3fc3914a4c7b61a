//! Readings from a simulator's file, with the same shape and the same ways to fail as a driver's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use teebench_api::files::evidence::GpuIdentity;
use teebench_api::files::gpu::{GpuFile, SimulatedGpu};

use super::{
    Answer, ConfidentialAnswers, ConfidentialEnvironment, ConfidentialLink, ConfidentialMode, FastReading, GpuSource,
    Inventory, SignedReport, SlowReading, SourceKind, Unanswered,
};
use crate::clock;

/// A file that is older than this no longer says what the GPU does: the simulator writes it every 100 ms.
const STALE_AFTER_US: u64 = 1_000_000;

/// The GPUs of a simulator, read from its file.
#[derive(Clone, Debug)]
pub struct Simulated {
    path: PathBuf,
}

impl Simulated {
    /// A source that reads this file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn read(&self) -> Answer<GpuFile> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Unanswered::Failed(format!("simulated gpu file {}: {what}: {error}", self.path.display()))
        };
        let text = std::fs::read(&self.path).map_err(|error| failed("cannot be read", &error))?;
        // The version comes first: another version may not even parse.
        let version: Versioned = serde_json::from_slice(&text).map_err(|error| failed("is not JSON", &error))?;
        if version.version != GpuFile::VERSION {
            let expected = format!("version {} is not {}", version.version, GpuFile::VERSION);
            return Err(failed("is of another format", &expected));
        }
        serde_json::from_slice(&text).map_err(|error| failed("does not parse", &error))
    }

    fn fresh(&self, uuid: &str) -> Answer<SimulatedGpu> {
        let file = self.read()?;
        let gpu = file.gpus.into_iter().find(|gpu| gpu.uuid == uuid).ok_or_else(|| {
            Unanswered::Failed(format!("simulated gpu file {}: holds no gpu {uuid}", self.path.display()))
        })?;
        let age_us = (clock::unix_ns() / 1000).saturating_sub(gpu.updated_unix_us);
        if age_us > STALE_AFTER_US {
            return Err(Unanswered::Failed("simulated gpu file: not updated for over 1 s".to_owned()));
        }
        Ok(gpu)
    }
}

#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

impl GpuSource for Simulated {
    fn kind(&self) -> SourceKind {
        SourceKind::Simulated
    }

    fn uuids(&self) -> Vec<String> {
        self.read().map(|file| file.gpus.into_iter().map(|gpu| gpu.uuid).collect()).unwrap_or_default()
    }

    fn inventory(&self) -> Inventory {
        match self.read() {
            Ok(file) => Inventory {
                driver_version: Some(file.driver_version),
                cuda_version: Some(file.cuda_version),
                gpus: file.gpus.into_iter().map(identity).collect(),
                unreadable: BTreeMap::new(),
            },
            Err(reason) => Inventory {
                unreadable: BTreeMap::from([("gpu".to_owned(), reason.to_string())]),
                ..Inventory::default()
            },
        }
    }

    fn fast(&self, uuid: &str, counter: bool) -> FastReading {
        match self.fresh(uuid) {
            Ok(gpu) => FastReading {
                power_instant_mw: given(gpu.power_instant_mw),
                power_average_mw: given(gpu.power_average_mw),
                energy_mj: counter.then(|| given(gpu.energy_mj)),
            },
            Err(reason) => FastReading::failed(&reason, counter),
        }
    }

    fn slow(&self, uuid: &str) -> SlowReading {
        match self.fresh(uuid) {
            Ok(gpu) => SlowReading {
                utilization_gpu_percent: given(gpu.utilization_gpu_percent),
                utilization_memory_percent: given(gpu.utilization_memory_percent),
                clock_graphics_mhz: given(gpu.clock_graphics_mhz),
                clock_memory_mhz: given(gpu.clock_memory_mhz),
                temperature_celsius: given(gpu.temperature_celsius),
                throttle_reasons: Ok(gpu.throttle_reasons),
            },
            Err(reason) => SlowReading::failed(&reason),
        }
    }

    fn confidential_compute(&self) -> ConfidentialAnswers {
        match self.read() {
            Ok(file) => {
                let said = file.confidential_compute;
                ConfidentialAnswers {
                    cpu_capability: Ok(said.cpu_capability),
                    gpus_capable: Ok(said.gpus_capability != 0),
                    mode: Ok(if said.feature_enabled { ConfidentialMode::On } else { ConfidentialMode::Off }),
                    environment: Ok(match (said.environment_production, said.feature_enabled) {
                        (true, _) => ConfidentialEnvironment::Production,
                        (false, true) => ConfidentialEnvironment::Simulation,
                        (false, false) => ConfidentialEnvironment::Unavailable,
                    }),
                    dev_tools: Ok(said.dev_tools_enabled),
                    gpus_ready: Ok(said.gpus_ready),
                    protected_memory_mib: Ok(said.protected_memory_mib),
                }
            }
            Err(reason) => ConfidentialAnswers::failed(&reason),
        }
    }

    fn signed_report(&self, _uuid: &str, _nonce_sha256: &str) -> Answer<SignedReport> {
        Err(Unanswered::Failed("a simulated gpu signs nothing".to_owned()))
    }

    fn confidential_link(&self) -> ConfidentialLink {
        ConfidentialLink::failed(&Unanswered::NotSupported)
    }

    fn simulated_isolation_type(&self) -> Option<Answer<u32>> {
        Some(self.read().map(|file| file.confidential_compute.cpuid_isolation_type))
    }
}

fn identity(gpu: SimulatedGpu) -> GpuIdentity {
    GpuIdentity {
        uuid: gpu.uuid,
        name: gpu.name,
        vbios_version: Some(gpu.vbios_version),
        memory_total_mib: Some(gpu.memory_total_mib),
        power_limit_mw: Some(gpu.power_limit_mw),
        power_limit_default_mw: None,
        clock_graphics_max_mhz: None,
        clock_memory_max_mhz: None,
    }
}

fn given<T>(reading: Option<T>) -> Answer<T> {
    reading.ok_or(Unanswered::NotSupported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::fixture;

    #[test]
    fn a_fresh_file_is_read_and_an_absent_sensor_is_not_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = fixture::gpu_file();
        file.gpus[0].power_average_mw = None;
        let source = Simulated::new(fixture::write(folder.path(), &file));
        assert_eq!(source.uuids(), [fixture::UUID]);
        let fast = source.fast(fixture::UUID, false);
        assert_eq!(fast.power_instant_mw, Ok(300_000));
        assert_eq!((fast.power_average_mw, fast.energy_mj), (Err(Unanswered::NotSupported), None));
        assert_eq!(source.fast(fixture::UUID, true).energy_mj, Some(Ok(1_000_000)));
        assert_eq!(source.inventory().gpus[0].power_limit_mw, Some(400_000));
        assert_eq!(source.simulated_isolation_type(), Some(Ok(2)));
    }

    #[test]
    fn a_file_that_is_no_longer_updated_gives_no_reading() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = fixture::gpu_file();
        file.gpus[0].updated_unix_us -= 1_100_000;
        let source = Simulated::new(fixture::write(folder.path(), &file));
        let Some(Err(Unanswered::Failed(reason))) = source.fast(fixture::UUID, true).energy_mj else { panic!("read") };
        assert!(reason.contains("not updated for over 1 s"), "{reason}");
        assert_eq!(source.slow(fixture::UUID).temperature_celsius, Err(Unanswered::Failed(reason)));
    }

    #[test]
    fn a_file_of_another_version_or_none_is_named_in_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.json");
        let source = Simulated::new(&path);
        assert!(source.uuids().is_empty());
        assert!(source.inventory().unreadable["gpu"].contains("cannot be read"));
        std::fs::write(&path, r#"{"version": 2}"#).unwrap();
        assert!(source.inventory().unreadable["gpu"].contains("version 2 is not 1"));
        assert!(source.confidential_compute().mode.unwrap_err().to_string().contains("version 2 is not 1"));
    }
}
