//! `energy.json`: energy of one run by two methods, and what stands against it.

use serde::{Deserialize, Serialize};

/// Energy of one run's window, summed over distinct GPUs. What was not measured is absent, never zero.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct EnergyFile {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Whether the GPUs are simulated.
    pub simulated: bool,
    /// What the figures cover: `gpu_board`.
    pub scope: String,
    /// Length of the window in seconds.
    pub window_seconds: f64,
    /// The two methods' verdict on each other.
    pub verdict: EnergyVerdict,
    /// Reasons for any verdict but `ok`, and for anything absent.
    pub reasons: Vec<String>,
    /// Energy by the counter's difference over the window, in joules; the primary figure.
    pub counter_joules: Option<f64>,
    /// Energy by the trapezoid of instant power over the window, in joules; the check.
    pub integral_joules: Option<f64>,
    /// Mean idle power with the model loaded, in watts, over all GPUs.
    pub idle_watts: Option<f64>,
    /// Idle power times the window, in joules.
    pub idle_joules: Option<f64>,
    /// Counter's energy less the idle energy, in joules.
    pub net_joules: Option<f64>,
    /// Joules for each output token; absent for windows under the minimum.
    pub joules_per_output_token: Option<f64>,
    /// Joules for each token in or out.
    pub joules_per_total_token: Option<f64>,
    /// Joules for each completed request.
    pub joules_per_request: Option<f64>,
    /// Share of samples with the software power cap active: load, not a fault.
    pub power_cap_share: Option<f64>,
    /// Each GPU's part.
    pub gpus: Vec<GpuEnergy>,
    /// CPU packages whose energy counters could be read; no part of the sums above.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cpu_packages: Vec<CpuPackageEnergy>,
}

/// Energy of one CPU package over the window.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct CpuPackageEnergy {
    /// Ordinal of the first server on its machine.
    pub server: u32,
    /// Name of the package, for instance `package-0`.
    pub name: String,
    /// By the counter's difference over the window, in joules; absent where its reads do not span the window.
    pub joules: Option<f64>,
}

/// One GPU's part of the energy.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct GpuEnergy {
    /// UUID of the GPU.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// Enforced power limit in watts.
    pub power_limit_watts: Option<f64>,
    /// By the counter, in joules.
    pub counter_joules: Option<f64>,
    /// By the trapezoid, in joules.
    pub integral_joules: Option<f64>,
    /// Mean idle power in watts.
    pub idle_watts: Option<f64>,
    /// Samples inside the window.
    pub samples: usize,
    /// Longest time without a sample inside the window, in seconds.
    pub longest_gap_seconds: f64,
    /// Largest power seen, in watts.
    pub peak_watts: Option<f64>,
    /// Largest temperature seen, in degrees Celsius.
    pub peak_temperature_celsius: Option<u32>,
    /// All throttle reasons seen, as NVML's bit mask.
    pub throttle_reasons: u64,
}

/// How far the two methods agree.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum EnergyVerdict {
    /// Within 5 %.
    Ok,
    /// Within 10 %.
    Warn,
    /// Further apart, or only one of them measured.
    Degraded,
    /// Nothing usable: a counter that fell, clocks that drifted, no GPU.
    Absent,
}
