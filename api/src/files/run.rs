//! `run.json`: what an attempt was, on which machines, and whether it counts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::{Environment, EvidenceLevel};
use crate::{
    campaign::Tee,
    plan::{RouterTarget, RunId},
};

/// One attempt of one run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct RunFile {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Version of the program.
    pub tool_version: String,
    /// Name of the campaign.
    pub campaign: String,
    /// SHA-256 of the plan's canonical JSON, in hex.
    pub plan_sha256: String,
    /// The run.
    #[serde(flatten)]
    pub run: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Ordinal of the attempt in the campaign, from 1; the routers' epochs follow from it.
    pub epoch: u64,
    /// Ordinal of the block, from 0.
    pub block: usize,
    /// Ordinal of the boot, from 0.
    pub boot: usize,
    /// How often servers were started so far for that boot, from 1: a repeated boot is another boot.
    pub boot_generation: u32,
    /// Seed of prompts and arrivals.
    pub seed: u64,
    /// SHA-256 of the file that the prompts came from, in hex: runs with the same digest and seed sent the same prompts.
    /// Absent for a generated data set, which the seed alone determines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_sha256: Option<String>,
    /// Whether the engine is simulated.
    pub simulated: bool,
    /// TEE state that the arm declares.
    pub tee: Tee,
    /// How requests reached the servers.
    pub target: RouterTarget,
    /// When the attempt began: resets and warm-up included.
    pub started_at: Timestamp,
    /// When the attempt ended.
    pub finished_at: Timestamp,
    /// First send to last completion; absent when nothing was sent.
    pub window: Option<Window>,
    /// The servers.
    pub servers: Vec<ServerRecord>,
    /// Weakest evidence among the servers that supports the arm's claim; absent when none does.
    pub evidence_level: Option<EvidenceLevel>,
    /// Whether the run counts.
    #[serde(flatten)]
    pub validity: Validity,
    /// Last lines of the log of what failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// A stretch of time on the load generator's clock, in nanoseconds since the Unix epoch.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Window {
    /// First send.
    pub start_unix_ns: u64,
    /// Last completion.
    pub end_unix_ns: u64,
}

impl Window {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a window of nanoseconds fits 53 bits for 104 days")]
        let nanoseconds = self.end_unix_ns.saturating_sub(self.start_unix_ns) as f64;
        nanoseconds / 1e9
    }
}

/// One server of a run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct ServerRecord {
    /// Its ordinal in the arm, from 0.
    pub ordinal: u32,
    /// Pod uid, or process identity: another one is another server.
    pub uid: String,
    /// Base address of its engine.
    pub engine_url: String,
    /// Engine's name and version.
    pub engine: Option<String>,
    /// Seconds from start to the first served token.
    pub ready_seconds: Option<f64>,
    /// KV blocks of its pool.
    pub num_gpu_blocks: Option<u64>,
    /// SHA-256 of the engine's command line less addresses and ports, in hex.
    pub flags_sha256: Option<String>,
    /// What the weights are, where they are not those of the model's repository and revision: `dummy`, and the digest
    /// of the directory that they were read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The machine.
    pub environment: Environment,
    /// Prompt tokens looked up in the prefix cache during the window.
    pub prefix_cache_queries: Option<u64>,
    /// Prompt tokens found in it.
    pub prefix_cache_hits: Option<u64>,
    /// Sequences preempted during the window.
    pub preemptions: Option<u64>,
}

/// Whether a run counts, and why not.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Validity {
    /// The verdict.
    pub validity: Verdict,
    /// Reasons for any verdict but `Valid`.
    pub reasons: Vec<Reason>,
}

impl Validity {
    /// Of an attempt that was broken off: interrupted if somebody stopped it, inconclusive if others used its machines,
    /// failed otherwise.
    #[must_use]
    pub fn broken_off(reason: Reason) -> Self {
        let validity = match reason.code {
            ReasonCode::Stopped => Verdict::Interrupted,
            ReasonCode::ForeignGpuUse => Verdict::Inconclusive,
            _ => Verdict::Failed,
        };
        Self { validity, reasons: vec![reason] }
    }
}

/// Whether a run counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It counts.
    Valid,
    /// It ended, but evidence or circumstances do not support its number.
    Inconclusive,
    /// It did not end as planned.
    Failed,
    /// It was stopped from outside; costs no attempt.
    Interrupted,
}

/// Why a run does not count.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Reason {
    /// One word for programs.
    pub code: ReasonCode,
    /// A sentence for people.
    pub message: String,
}

/// Why a run does not count, in one word.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReasonCode {
    /// Evidence is missing, weaker than demanded, or contradicts the arm.
    Evidence,
    /// The load generator was late or short of CPU.
    ClientBottleneck,
    /// A GPU slowed down for heat or for its power supply.
    Throttled,
    /// A server restarted or its machine did.
    ServerRestarted,
    /// Caches could not be shown to be empty.
    CachesNotReset,
    /// The arms differ in more than the factor.
    ParityBroken,
    /// Other programs used the GPU.
    ForeignGpuUse,
    /// A real engine with simulated evidence.
    SimulatedEvidence,
    /// Servers did not become ready.
    NotReady,
    /// A server ended.
    ServerDied,
    /// The load generator failed.
    LoadFailed,
    /// Requests failed.
    RequestsFailed,
    /// A router failed or refused its epoch.
    RouterFailed,
    /// Files could not be written.
    Storage,
    /// The run took longer than its deadline.
    DeadlineExceeded,
    /// A person or the system stopped it.
    Stopped,
}
