//! Bodies that the server writes and the client reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use teebench_api::files::evidence::GpuIdentity;

use crate::exec::{Ending, EngineState};
use crate::gpu::{Inventory, SourceKind};

/// Answer of `/clock`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Clock {
    /// The probe's wall clock in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

/// Answer of `/gpus`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct Gpus {
    /// `nvml`, `simulated` or `absent`.
    pub source: String,
    /// Whether the readings are a simulator's.
    pub simulated: bool,
    /// Why there is no GPU, or not yet.
    pub reason: Option<String>,
    /// The GPUs that the engine sees.
    pub gpus: Vec<GpuIdentity>,
}

impl Gpus {
    pub(crate) fn new(kind: &SourceKind, inventory: Inventory) -> Self {
        Self {
            source: kind.word().to_owned(),
            simulated: *kind == SourceKind::Simulated,
            reason: inventory.unreadable.get("gpu").cloned(),
            gpus: inventory.gpus,
        }
    }
}

/// Answer of `/cpu`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct CpuPackages {
    /// Names of the CPU packages whose energy counters are read.
    pub packages: Vec<String>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// Answer of `/healthz`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(tag = "engine", rename_all = "snake_case")]
pub enum Health {
    /// The engine runs.
    Running {
        /// Its process id.
        pid: i32,
    },
    /// It ended.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// It was killed.
    Killed {
        /// The signal's number.
        signal: i32,
    },
}

impl From<EngineState> for Health {
    fn from(state: EngineState) -> Self {
        match state {
            EngineState::Running { pid } => Self::Running { pid },
            EngineState::Ended(Ending::Exited(code)) => Self::Exited { code },
            EngineState::Ended(Ending::Killed(signal)) => Self::Killed { signal },
        }
    }
}

/// Answer of `/engine`: what the executor needs to know of an engine that it may not ask itself.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct Engine {
    /// The program's name and version, when the engine tells it.
    pub version: Option<String>,
    /// KV blocks of its pool, when the engine tells them.
    pub num_gpu_blocks: Option<u64>,
    /// Name by which it serves its model, when the probe was told.
    pub served_model: Option<String>,
    /// Seconds from its start to its first served token; absent before that.
    pub ready_seconds: Option<f64>,
    /// When it was started, in nanoseconds since the Unix epoch on the probe's clock; it differs after a restart.
    pub started_unix_ns: u64,
    /// Whether it runs.
    pub alive: bool,
    /// What is not known, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<String, String>,
}

/// Answer of `/readyz` when the engine is ready.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct Ready {
    /// Seconds from the engine's start to its first served token.
    pub ready_seconds: f64,
}

/// Answer of `/logs`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Logs {
    /// The logs, by name.
    pub logs: Vec<LogFile>,
}

/// One of the logs beside the probe.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct LogFile {
    /// Its name in the log folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Body of a refusal.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct ErrorBody {
    /// What was wrong, and the mend.
    pub error: String,
}
