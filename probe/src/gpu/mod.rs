//! Where GPU readings come from. Every reading is an [`Answer`]: a value, or why there is none.

mod absent;
mod choice;
#[cfg(test)]
pub(crate) mod fixture;
mod nvml;
mod nvml_cc;
mod nvml_report;
mod simulated;
mod visible;

use std::collections::BTreeMap;

use teebench_api::files::evidence::GpuIdentity;
use teebench_api::files::gpu::ConfidentialCompute;

pub use absent::Absent;
pub use choice::{GpuChoice, OpenError, open};
pub use nvml::{Nvml, NvmlOpenError};
pub use simulated::Simulated;

/// Why a reading has no value.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The device or its driver has no such reading. It cannot say, which is not the same as "off" or zero.
    #[error("not supported")]
    NotSupported,
    /// The reading exists, and this call failed.
    #[error("{0}")]
    Failed(String),
}

/// A reading, or why there is none.
pub type Answer<T> = Result<T, Unanswered>;

/// A source of readings for the GPUs that the server can see.
pub trait GpuSource: Send + Sync {
    /// What the source is.
    fn kind(&self) -> SourceKind;

    /// UUIDs of the GPUs seen so far. Empty while a simulator has not yet written its file.
    fn uuids(&self) -> Vec<String>;

    /// Driver and GPUs as they are at this moment.
    fn inventory(&self) -> Inventory;

    /// Power of one GPU, cheap enough for ten reads a second, and with `counter` its energy, which is not: on an H200
    /// power takes microseconds of the CPU, the energy counter 4 to 6 ms.
    fn fast(&self, uuid: &str, counter: bool) -> FastReading;

    /// The readings that change slowly, for one read a second.
    fn slow(&self, uuid: &str) -> SlowReading;

    /// What the driver says of confidential computing.
    fn confidential_compute(&self) -> ConfidentialAnswers;

    /// A report that the GPU signs over a nonce, 32 bytes in hex, with the certificates of its key.
    fn signed_report(&self, uuid: &str, nonce_sha256: &str) -> Answer<SignedReport>;

    /// Figures of the encrypted link that are told beside the answers and bear on no verdict.
    fn confidential_link(&self) -> ConfidentialLink;

    /// The CPU's isolation type that a simulator stands in for; `None` where the CPU itself is to be asked.
    fn simulated_isolation_type(&self) -> Option<Answer<u32>> {
        None
    }
}

/// What a source of readings is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// The driver's library.
    Nvml,
    /// A simulator's file; nothing read from it is a measurement.
    Simulated,
    /// No GPU can be read.
    Absent {
        /// Why.
        reason: String,
    },
}

impl SourceKind {
    /// The source in one word: `nvml`, `simulated` or `absent`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nvml => "nvml",
            Self::Simulated => "simulated",
            Self::Absent { reason: _ } => "absent",
        }
    }
}

/// The driver and its GPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// Driver version.
    pub driver_version: Option<String>,
    /// CUDA version of the driver, for instance `13.0`.
    pub cuda_version: Option<String>,
    /// The GPUs that the server can see.
    pub gpus: Vec<GpuIdentity>,
    /// What could not be read, and why.
    pub unreadable: BTreeMap<String, String>,
}

impl Inventory {
    /// The answer's value; without one, its reason is noted under `name`.
    fn note<T>(&mut self, name: impl Into<String>, answer: Answer<T>) -> Option<T> {
        answer.map_err(|reason| self.unreadable.insert(name.into(), reason.to_string())).ok()
    }
}

/// Power of one GPU, and its energy.
#[derive(Clone, Debug, PartialEq)]
pub struct FastReading {
    /// Instant power in milliwatts.
    pub power_instant_mw: Answer<u64>,
    /// Power averaged over the last second, in milliwatts.
    pub power_average_mw: Answer<u64>,
    /// Energy since the driver was loaded, in millijoules; `None` where it was not asked for.
    pub energy_mj: Option<Answer<u64>>,
}

impl FastReading {
    /// A reading of which every part failed for one reason.
    pub fn failed(reason: &Unanswered, counter: bool) -> Self {
        Self {
            power_instant_mw: Err(reason.clone()),
            power_average_mw: Err(reason.clone()),
            energy_mj: counter.then(|| Err(reason.clone())),
        }
    }
}

/// The readings of one GPU that change slowly.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowReading {
    /// Share of the last sampling period in which a kernel ran, in percent.
    pub utilization_gpu_percent: Answer<u32>,
    /// Share of the last sampling period in which memory was read or written, in percent.
    pub utilization_memory_percent: Answer<u32>,
    /// Graphics clock in MHz.
    pub clock_graphics_mhz: Answer<u32>,
    /// Memory clock in MHz.
    pub clock_memory_mhz: Answer<u32>,
    /// Temperature in degrees Celsius.
    pub temperature_celsius: Answer<u32>,
    /// NVML's bit mask of clock event reasons.
    pub throttle_reasons: Answer<u64>,
}

impl SlowReading {
    /// A reading of which every part failed for one reason.
    pub fn failed(reason: &Unanswered) -> Self {
        Self {
            utilization_gpu_percent: Err(reason.clone()),
            utilization_memory_percent: Err(reason.clone()),
            clock_graphics_mhz: Err(reason.clone()),
            clock_memory_mhz: Err(reason.clone()),
            temperature_celsius: Err(reason.clone()),
            throttle_reasons: Err(reason.clone()),
        }
    }
}

/// A GPU's report as its driver gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReport {
    /// The report, as [`crate::attestation`] reads it.
    pub report: Vec<u8>,
    /// Certificates in PEM, leaf first.
    pub chain: Vec<u8>,
}

/// Figures of the encrypted link between CPU and GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfidentialLink {
    /// Protected memory in use by all GPUs, in MiB.
    pub protected_memory_used_mib: Answer<u64>,
    /// Exponent of the attacker's advantage at which keys are changed.
    pub key_rotation_attacker_advantage: Answer<u64>,
}

impl ConfidentialLink {
    /// Figures of which each failed for one reason.
    pub fn failed(reason: &Unanswered) -> Self {
        Self { protected_memory_used_mib: Err(reason.clone()), key_rotation_attacker_advantage: Err(reason.clone()) }
    }
}

/// The confidential-computing mode that the driver reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfidentialMode {
    /// Off.
    Off,
    /// On, for a single GPU or with NVLink encryption.
    On,
    /// Protected PCIe: several GPUs and their switches as one protected unit.
    ProtectedPcie,
}

/// The environment that the driver runs its confidential mode in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfidentialEnvironment {
    /// None; so it is where the mode is off.
    Unavailable,
    /// A simulation by the vendor.
    Simulation,
    /// Production.
    Production,
}

/// What the driver says of confidential computing, question by question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfidentialAnswers {
    /// Capability of the CPU: 0 none, 1 SEV, 2 TDX, 3 SEV-SNP, 4 SEV-SNP with vTOM.
    pub cpu_capability: Answer<u32>,
    /// Whether the GPUs have the feature at all.
    pub gpus_capable: Answer<bool>,
    /// Whether it is on.
    pub mode: Answer<ConfidentialMode>,
    /// The environment that it is on in.
    pub environment: Answer<ConfidentialEnvironment>,
    /// Whether development tools are allowed, which lets an outsider look in.
    pub dev_tools: Answer<bool>,
    /// Whether the GPUs accept work.
    pub gpus_ready: Answer<bool>,
    /// Protected memory of all GPUs, in MiB.
    pub protected_memory_mib: Answer<u64>,
}

impl ConfidentialAnswers {
    /// Answers of which each failed for one reason.
    pub fn failed(reason: &Unanswered) -> Self {
        Self {
            cpu_capability: Err(reason.clone()),
            gpus_capable: Err(reason.clone()),
            mode: Err(reason.clone()),
            environment: Err(reason.clone()),
            dev_tools: Err(reason.clone()),
            gpus_ready: Err(reason.clone()),
            protected_memory_mib: Err(reason.clone()),
        }
    }

    /// Every question without an answer, by name, with the reason.
    pub fn unanswered(&self) -> BTreeMap<&'static str, Unanswered> {
        let Self { cpu_capability, gpus_capable, mode, environment, dev_tools, gpus_ready, protected_memory_mib } =
            self;
        [
            ("cpu capability", cpu_capability.as_ref().err()),
            ("gpus capability", gpus_capable.as_ref().err()),
            ("feature", mode.as_ref().err()),
            ("environment", environment.as_ref().err()),
            ("dev tools", dev_tools.as_ref().err()),
            ("gpus ready", gpus_ready.as_ref().err()),
            ("protected memory", protected_memory_mib.as_ref().err()),
        ]
        .into_iter()
        .filter_map(|(name, reason)| Some((name, reason?.clone())))
        .collect()
    }

    /// The answers as the evidence file holds them; `None` unless every question was answered, since the file has no
    /// place for "cannot say".
    pub fn complete(&self, cpuid_isolation_type: u32) -> Option<ConfidentialCompute> {
        let Self { cpu_capability, gpus_capable, mode, environment, dev_tools, gpus_ready, protected_memory_mib } =
            self.clone();
        Some(ConfidentialCompute {
            cpu_capability: cpu_capability.ok()?,
            gpus_capability: u32::from(gpus_capable.ok()?),
            feature_enabled: mode.ok()? != ConfidentialMode::Off,
            environment_production: environment.ok()? == ConfidentialEnvironment::Production,
            dev_tools_enabled: dev_tools.ok()?,
            gpus_ready: gpus_ready.ok()?,
            protected_memory_mib: protected_memory_mib.ok()?,
            cpuid_isolation_type,
        })
    }
}
