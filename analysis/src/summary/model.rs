//! The types of `summary.json`: campaigns, their answers, arms and runs.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use teebench_api::{campaign::Tee, files::evidence::EvidenceLevel, parity::ParityKind};

use super::{
    results::{CellName, ExperimentSummary},
    versus::Versus,
};

/// Results of one or more campaigns.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Summary {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Version of the program that made it.
    pub tool_version: String,
    /// Whether any run is of the simulator: no figure below is then a measurement.
    pub simulated: bool,
    /// The campaigns, one for each plan.
    pub campaigns: Vec<CampaignSummary>,
    /// Each further campaign compared with the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versus: Vec<Versus>,
}

/// Results of one plan, from one or more directories.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct CampaignSummary {
    /// Name of the campaign.
    pub name: String,
    /// SHA-256 of the plan's canonical JSON, in hex.
    pub plan_sha256: String,
    /// Whether any of its runs is of the simulator.
    pub simulated: bool,
    /// Where the runs came from; several when arms were run apart.
    pub sources: Vec<Source>,
    /// Start of the first attempt, as RFC 3339.
    pub started_at: Option<String>,
    /// End of the last attempt, as RFC 3339.
    pub finished_at: Option<String>,
    /// The experiment that the answers come from, when the campaign names one.
    pub headline: Option<String>,
    /// What was asked.
    pub question: String,
    /// The answers, one sentence for each factor and level.
    pub answers: Vec<Answer>,
    /// The router that others are compared with.
    pub baseline_router: Option<String>,
    /// Ratios within 1 plus and minus this share count as equal.
    pub equivalence_margin: f64,
    /// How many attempts came to what.
    pub validity: ValidityCounts,
    /// The arms.
    pub arms: Vec<ArmSummary>,
    /// What the machines of the arms are, side by side.
    pub parity: Vec<ParityRow>,
    /// The experiments.
    pub experiments: Vec<ExperimentSummary>,
    /// Every attempt, used or not.
    pub runs: Vec<RunEntry>,
    /// What else a reader must know.
    pub notes: Vec<Note>,
}

/// A directory that runs came from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the directory.
    pub label: String,
    /// Arms that were run there.
    pub arms: Vec<String>,
}

/// One sentence of the answer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Answer {
    /// What it speaks of.
    pub kind: AnswerKind,
    /// The sentence.
    pub text: String,
}

/// What an answer speaks of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// What the arms' factor costs.
    Factor,
    /// What a router gains on one arm.
    Routing,
    /// Whether a router on one arm makes good for what that arm costs.
    WinBack,
    /// There is nothing to answer with.
    None,
}

/// How many attempts came to what.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidityCounts {
    /// Runs in the plan as it stood at the end.
    pub planned: u32,
    /// Runs that count.
    pub valid: u32,
    /// Attempts that ended without support for their number.
    pub inconclusive: u32,
    /// Attempts that did not end as planned.
    pub failed: u32,
    /// Attempts stopped from outside.
    pub interrupted: u32,
    /// Attempts whose files cannot be used.
    pub unusable: u32,
    /// Attempts without `SHA256SUMS`.
    pub uncommitted: u32,
    /// Valid attempts that a later one replaced.
    pub superseded: u32,
    /// Reasons and how often each was given, the most frequent first.
    pub reasons: Vec<ReasonCount>,
}

/// A reason and how often it was given.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// One word.
    pub code: String,
    /// How often.
    pub count: u32,
}

/// One arm.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct ArmSummary {
    /// Its name.
    pub name: String,
    /// The TEE state that it declares.
    pub tee: Tee,
    /// Evidence of its valid runs, weakest first.
    pub evidence: Vec<EvidenceCount>,
    /// Whether its runs are of the simulator.
    pub simulated: bool,
    /// GPU product, or products.
    pub gpus: Vec<String>,
    /// Engine's name and version, or versions.
    pub engines: Vec<String>,
    /// The time that its machines were occupied, where it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupied: Option<Occupied>,
}

/// The time that an arm's machines were occupied: booting, loading, warming up, measuring, waiting for the other arms.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Occupied {
    /// From each start of the servers to their stop, in seconds.
    pub seconds: f64,
    /// From each start to the first token, in seconds: a cost as well, and a larger one of confidential machines.
    pub starting_seconds: f64,
    /// How often the servers were started.
    pub starts: u32,
    /// Windows of the runs that count, in seconds.
    pub measured_seconds: f64,
    /// What the arm's machines cost in that time, when it has a price.
    #[schemars(with = "Option<String>")]
    pub cost: Option<Decimal>,
    /// What they cost in an hour, idle or not.
    #[schemars(with = "Option<String>")]
    pub per_hour: Option<Decimal>,
    /// Currency of both.
    pub currency: Option<String>,
}

/// Runs of one evidence level.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceCount {
    /// The level; absent where no evidence supports the claim.
    pub level: Option<EvidenceLevel>,
    /// Runs.
    pub runs: u32,
}

/// A property of machines, arm by arm.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ParityRow {
    /// What is compared.
    pub property: String,
    /// What a difference means.
    pub kind: ParityKind,
    /// Each arm's values.
    pub arms: Vec<ParityValues>,
    /// Whether the arms differ.
    pub differs: bool,
}

/// One arm's values of a property; several when its servers differ.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ParityValues {
    /// Name of the arm.
    pub arm: String,
    /// The values.
    pub values: Vec<String>,
}

/// One attempt.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct RunEntry {
    /// Index of the source.
    pub source: usize,
    /// Path of its directory, relative to the source.
    pub path: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Slug of the condition.
    pub condition: String,
    /// Arm and router.
    #[serde(flatten)]
    pub cell: CellName,
    /// Number of the repetition.
    pub repetition: u32,
    /// Number of the attempt.
    pub attempt: u32,
    /// What came of it.
    pub state: RunState,
    /// Why it does not count.
    pub reasons: Vec<String>,
    /// Whether it is of the simulator.
    pub simulated: bool,
    /// Weakest evidence of its servers.
    pub evidence: Option<EvidenceLevel>,
    /// Output tokens per second, when it counts.
    pub output_throughput: Option<f64>,
}

/// What came of an attempt.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It counts.
    Valid,
    /// A later attempt replaced it.
    Superseded,
    /// It ended without support for its number.
    Inconclusive,
    /// It did not end as planned.
    Failed,
    /// It was stopped from outside.
    Interrupted,
    /// Its files cannot be used.
    Unusable,
    /// It is not committed.
    Uncommitted,
}

/// Something that a reader must know.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// One word for programs.
    pub code: NoteCode,
    /// A sentence for people.
    pub text: String,
}

/// What a note speaks of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum NoteCode {
    /// Figures are simulated.
    Simulated,
    /// Too few pairs for any p-value to reach 0.05.
    FewPairs,
    /// Arms did not run interleaved.
    NotInterleaved,
    /// Arrivals outran completions.
    Overload,
    /// Requests ran in waves.
    LockStep,
    /// A metric is absent.
    Absent,
    /// Requests failed.
    FailedRequests,
    /// Throughput drifts over repetitions.
    Drift,
    /// Boots are not replicated.
    BootsNotReplicated,
    /// The stopping rule looked at results.
    Looks,
    /// The arms' machines differ in what breaks the comparison.
    ParityBroken,
    /// Currencies differ, so that costs are not compared.
    Currencies,
    /// Planned runs are missing.
    Incomplete,
}
