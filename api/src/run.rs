//! The `BenchmarkRun` custom resource: one run of a campaign's plan, created and owned by the operator.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    campaign::Tee,
    conditions::Condition,
    files::{
        evidence::EvidenceLevel,
        run::{ReasonCode, Verdict},
    },
};

/// One run of a campaign's plan, frozen: what runs, where and as which attempt. The operator creates it; nobody edits it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "teebench.dev",
    version = "v1alpha1",
    kind = "BenchmarkRun",
    plural = "benchmarkruns",
    shortname = "br",
    category = "teebench",
    namespaced,
    status = "BenchmarkRunStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"CONDITION","type":"string","jsonPath":".spec.condition"}"#,
    printcolumn = r#"{"name":"ARM","type":"string","jsonPath":".spec.arm"}"#,
    printcolumn = r#"{"name":"ROUTER","type":"string","jsonPath":".spec.router"}"#,
    printcolumn = r#"{"name":"REP","type":"integer","jsonPath":".spec.repetition"}"#,
    printcolumn = r#"{"name":"STATE","type":"string","jsonPath":".status.conditions[?(@.type==\"Succeeded\")].reason"}"#,
    printcolumn = r#"{"name":"TOK/S","type":"string","jsonPath":".status.columns.tokensPerSecond"}"#,
    printcolumn = r#"{"name":"TTFT P50","type":"string","jsonPath":".status.columns.ttftP50"}"#,
    printcolumn = r#"{"name":"J/TOKEN","type":"string","jsonPath":".status.columns.joulesPerToken"}"#,
    printcolumn = r#"{"name":"EVIDENCE","type":"string","jsonPath":".status.evidence.level"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self == oldSelf",
        "spec: the inputs of a run never change; raise spec.failurePolicy.attemptsPerRun of the campaign to run again")
)]
pub struct BenchmarkRunSpec {
    /// Name of the campaign.
    #[schemars(length(min = 1, max = 40))]
    pub campaign: String,
    /// SHA-256 of the plan's canonical JSON, in hex.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub plan_sha256: String,
    /// Name of the experiment.
    #[schemars(length(min = 1, max = 40))]
    pub experiment: String,
    /// Slug of the condition in its experiment.
    #[schemars(length(min = 1, max = 253))]
    pub condition: String,
    /// Name of the arm.
    #[schemars(length(min = 1, max = 20))]
    pub arm: String,
    /// TEE state that the arm declares.
    pub tee: Tee,
    /// Name of the router.
    #[schemars(length(min = 1, max = 20))]
    pub router: String,
    /// Number of the repetition, from 1.
    #[schemars(range(min = 1, max = 100))]
    pub repetition: u32,
    /// Number of the attempt, from 1.
    #[schemars(range(min = 1, max = 1000))]
    pub attempt: u32,
    /// Ordinal of the attempt in the campaign, from 1; the routers' epoch.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub epoch: i64,
    /// Ordinal of the block, from 0.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub block: u32,
    /// Ordinal of the boot, from 0.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub boot: u32,
    /// Seed of prompts and arrival times in decimal digits; text, because it may need all of 64 bits.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]{1,20}$"))]
    pub seed: String,
    /// Whether the engine is simulated.
    pub simulated: bool,
}

/// What became of a run. Written by the operator alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BenchmarkRunStatus {
    /// Succeeded, with its reason, and Ready. Written at every step of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// First send to last completion. Written when the load generator has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<RunWindow>,
    /// What was measured. Written when the bundle is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<RunMetrics>,
    /// The same for people. Written with the metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<RunColumns>,
    /// What supports the arm's declared TEE state. Written when the bundle is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<RunEvidence>,
    /// Whether the run counts. Written when the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity: Option<Verdict>,
    /// Why it does not count. Written with the validity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub reasons: Vec<RunReason>,
    /// Where its files are. Written when the bundle is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<RunResults>,
}

/// A stretch of time on the load generator's clock.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunWindow {
    /// When the first request was sent.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub start_time: String,
    /// When the last response was complete.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub end_time: String,
}

/// What was measured, in whole units; the result file has the exact numbers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RunMetrics {
    /// Requests that were answered in full.
    #[schemars(range(max = 1_000_000_000))]
    pub completed_requests: u32,
    /// Requests that were not.
    #[schemars(range(max = 1_000_000_000))]
    pub failed_requests: u32,
    /// Prompt tokens of the answered requests.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub input_tokens: i64,
    /// Output tokens of the answered requests.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub output_tokens: i64,
    /// Output tokens per 1,000 seconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub output_throughput_milli: i64,
    /// Answered requests per 1,000 seconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub request_throughput_milli: i64,
    /// Median time to first token in microseconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub ttft_p50_microseconds: i64,
    /// 99th percentile of the time to first token in microseconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub ttft_p99_microseconds: i64,
    /// Median inter-token latency in microseconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub itl_p50_microseconds: i64,
    /// 99th percentile of the inter-token latency in microseconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub itl_p99_microseconds: i64,
    /// Median end-to-end latency in microseconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub e2el_p50_microseconds: i64,
    /// 99th percentile of the end-to-end latency in microseconds.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub e2el_p99_microseconds: i64,
    /// Share of prompt tokens found in prefix caches, in permille; absent when no server reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub prefix_cache_hit_permille: Option<u32>,
    /// Energy of the GPUs over the window in millijoules; absent when it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub gpu_energy_millijoules: Option<i64>,
    /// GPU energy of one output token in microjoules; absent for windows too short to state it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub gpu_energy_per_token_microjoules: Option<i64>,
}

/// What the columns of `kubectl get` show, as text with its unit where the heading has none.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunColumns {
    /// Output tokens per second, for instance `812.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub tokens_per_second: Option<String>,
    /// Median time to first token, for instance `84 ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub ttft_p50: Option<String>,
    /// GPU energy of one output token in joules, for instance `0.351`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub joules_per_token: Option<String>,
}

/// What supports the arm's declared TEE state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunEvidence {
    /// Weakest evidence among the servers.
    pub level: EvidenceLevel,
    /// SHA-256 over the servers' evidence files in path order, in hex.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// Why a run does not count.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunReason {
    /// One word for programs.
    pub code: ReasonCode,
    /// A sentence for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Where a run's files are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunResults {
    /// Directory in the campaign's results tree.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// SHA-256 of the run's `SHA256SUMS`, in hex, which covers every file of the run.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}
