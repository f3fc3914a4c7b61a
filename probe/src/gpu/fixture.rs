//! A simulator's file for the tests of this crate.

use std::path::{Path, PathBuf};

use teebench_api::files::gpu::{ConfidentialCompute, GpuFile, SimulatedGpu};

use crate::clock;

/// UUID of the only GPU in [`gpu_file`].
pub(crate) const UUID: &str = "GPU-11111111-2222-3333-4444-555555555555";

/// A machine in production mode, with one GPU at 300 W, read at this moment.
pub(crate) fn gpu_file() -> GpuFile {
    GpuFile {
        version: GpuFile::VERSION,
        driver_version: "580.0".to_owned(),
        cuda_version: "13.0".to_owned(),
        confidential_compute: ConfidentialCompute {
            cpu_capability: 4,
            gpus_capability: 1,
            feature_enabled: true,
            environment_production: true,
            dev_tools_enabled: false,
            gpus_ready: true,
            protected_memory_mib: 95_000,
            cpuid_isolation_type: 2,
        },
        gpus: vec![SimulatedGpu {
            uuid: UUID.to_owned(),
            name: "Simulated H100 NVL".to_owned(),
            vbios_version: "96.00".to_owned(),
            memory_total_mib: 95_830,
            power_limit_mw: 400_000,
            updated_unix_us: clock::unix_ns() / 1000,
            power_instant_mw: Some(300_000),
            power_average_mw: Some(299_500),
            energy_mj: Some(1_000_000),
            utilization_gpu_percent: Some(97),
            utilization_memory_percent: Some(61),
            clock_graphics_mhz: Some(1_785),
            clock_memory_mhz: Some(2_619),
            temperature_celsius: Some(55),
            throttle_reasons: 0x4,
        }],
    }
}

/// Writes the file into a folder as the simulator does (beside, then renamed), and gives its path.
pub(crate) fn write(folder: &Path, file: &GpuFile) -> PathBuf {
    let (path, beside) = (folder.join("gpu.json"), folder.join("gpu.json.new"));
    std::fs::write(&beside, serde_json::to_vec(file).unwrap()).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    path
}
