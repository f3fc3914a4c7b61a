//! The file in which a simulated GPU shows its state, and which stands in for NVML where no GPU is.
//!
//! The writer replaces the file as a whole (write beside, rename), so a reader never sees half of it.

use serde::{Deserialize, Serialize};

/// All GPUs of one simulated machine.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GpuFile {
    /// Version of this format: 1.
    pub version: u32,
    /// Driver version as NVML would give it.
    pub driver_version: String,
    /// CUDA driver version, for instance `13.0`.
    pub cuda_version: String,
    /// Confidential-computing state of the machine.
    pub confidential_compute: ConfidentialCompute,
    /// The GPUs.
    pub gpus: Vec<SimulatedGpu>,
}

impl GpuFile {
    /// The version that this program writes and reads.
    pub const VERSION: u32 = 1;
}

/// One GPU's identity and present readings. A reading that is `None` is one that the sensor does not give.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedGpu {
    /// As NVML: `GPU-` and a UUID.
    pub uuid: String,
    /// Product name; starts with `Simulated `.
    pub name: String,
    /// VBIOS version.
    pub vbios_version: String,
    /// Memory in MiB.
    pub memory_total_mib: u64,
    /// Enforced power limit in milliwatts.
    pub power_limit_mw: u64,
    /// When the readings below were taken, in microseconds since the Unix epoch.
    pub updated_unix_us: u64,
    /// Instant power in milliwatts.
    pub power_instant_mw: Option<u64>,
    /// Power averaged over the last second, in milliwatts.
    pub power_average_mw: Option<u64>,
    /// Energy since the driver was loaded, in millijoules.
    pub energy_mj: Option<u64>,
    /// Share of the last sampling period in which a kernel ran, in percent.
    pub utilization_gpu_percent: Option<u32>,
    /// Share of the last sampling period in which memory was read or written, in percent.
    pub utilization_memory_percent: Option<u32>,
    /// Graphics clock in MHz.
    pub clock_graphics_mhz: Option<u32>,
    /// Memory clock in MHz.
    pub clock_memory_mhz: Option<u32>,
    /// Temperature in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// NVML's bit mask of clock event (throttle) reasons.
    pub throttle_reasons: u64,
}

/// NVML's answers on confidential computing.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfidentialCompute {
    /// Capability of the CPU: 0 none, 1 SEV, 2 TDX, 3 SEV-SNP, 4 SEV-SNP with vTOM.
    pub cpu_capability: u32,
    /// Capability of the GPUs: 0 none, 1 supported.
    pub gpus_capability: u32,
    /// Whether the feature is on.
    pub feature_enabled: bool,
    /// Whether the environment is production.
    pub environment_production: bool,
    /// Whether development tools are allowed.
    pub dev_tools_enabled: bool,
    /// Whether GPUs accept work.
    pub gpus_ready: bool,
    /// Protected memory in MiB.
    pub protected_memory_mib: u64,
    /// Isolation type that the CPUID leaf 0x4000000C would give: 0 none, 2 SEV-SNP, 3 TDX.
    pub cpuid_isolation_type: u32,
}
