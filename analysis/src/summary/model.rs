//! The types of `summary.json`.

use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use teebench_api::{
    campaign::{Tee, Until},
    files::evidence::EvidenceLevel,
};

use crate::metrics::Measure;

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

/// What a difference between arms means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ParityKind {
    /// It breaks the comparison.
    Breaks,
    /// It would break the comparison, but the campaign allows it.
    Allowed,
    /// The factor explains it.
    Explained,
    /// It is listed, and that is all.
    Listed,
}

/// One arm's values of a property; several when its servers differ.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ParityValues {
    /// Name of the arm.
    pub arm: String,
    /// The values.
    pub values: Vec<String>,
}

/// One experiment.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct ExperimentSummary {
    /// Its name.
    pub name: String,
    /// Comparisons in the declared primary family, over which p-values are corrected by Holm's method.
    pub primary_family: u32,
    /// The stopping rule, when repetitions depend on results.
    pub until: Option<Until>,
    /// Its conditions.
    pub conditions: Vec<ConditionSummary>,
}

/// One condition: model, engine settings and load.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct ConditionSummary {
    /// Its directory name.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// What the model is called for people.
    pub model: String,
    /// How requests arrive, in words.
    pub load: String,
    /// Arms by routers.
    pub cells: Vec<Cell>,
    /// Comparisons of cells.
    pub contrasts: Vec<Contrast>,
    /// What a reader must know of these figures.
    pub notes: Vec<Note>,
}

/// One arm with one router.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Cell {
    /// Which.
    #[serde(flatten)]
    pub name: CellName,
    /// Runs that count.
    pub runs: u32,
    /// Its metrics.
    pub metrics: Vec<MetricSummary>,
    /// Its cost, when the arm has a price.
    pub money: Option<CellMoney>,
    /// Runs in which arrivals outran completions.
    pub overloaded_runs: u32,
    /// Median over runs of how much longer the last quarter's requests took than the first quarter's (open loop only).
    pub latency_growth: Option<f64>,
    /// Output throughput's trend over repetitions.
    pub drift: Option<Drift>,
}

/// Names an arm with a router.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellName {
    /// Name of the arm.
    pub arm: String,
    /// Name of the router.
    pub router: String,
}

impl fmt::Display for CellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.arm, self.router)
    }
}

/// One metric of a cell, over its runs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct MetricSummary {
    /// The metric.
    pub metric: Measure,
    /// Its unit; empty for counts.
    pub unit: String,
    /// Runs that have it.
    pub n: u32,
    /// Median over runs.
    pub median: Option<f64>,
    /// The median's interval; absent under six runs.
    pub interval: Option<Bounds>,
    /// Each run's value, by source and repetition.
    pub values: Vec<f64>,
    /// Why runs have no value.
    pub absent: Option<String>,
}

/// An interval and the confidence it has.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence, at least 0.95.
    pub confidence: f64,
}

/// What a cell costs, in the measured windows only.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct CellMoney {
    /// Currency by its ISO 4217 code.
    pub currency: String,
    /// Price of all the arm's machines for one hour.
    #[schemars(with = "String")]
    pub per_hour: Decimal,
    /// Machines that are paid.
    pub machines: u32,
    /// Where the price was read, and when.
    pub source: String,
    /// Cost of the windows of all runs that count.
    #[schemars(with = "String")]
    pub windows: Decimal,
    /// Cost for each million output tokens.
    pub per_million_output_tokens: Option<Cost>,
    /// Cost for each million tokens in or out.
    pub per_million_total_tokens: Option<Cost>,
    /// Cost for each thousand requests.
    pub per_thousand_requests: Option<Cost>,
}

/// An amount at a cell's median throughput, and at the ends of that median's interval.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// At the median.
    #[schemars(with = "String")]
    pub median: Decimal,
    /// At the upper end of throughput.
    #[schemars(with = "Option<String>")]
    pub low: Option<Decimal>,
    /// At the lower end of throughput.
    #[schemars(with = "Option<String>")]
    pub high: Option<Decimal>,
}

/// A trend over repetitions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Change from one repetition to the next, in percent.
    pub percent_per_repetition: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value.
    pub p: f64,
}

/// A comparison of two cells of one condition.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Contrast {
    /// What differs between the two.
    pub kind: ContrastKind,
    /// Above the line of the ratio.
    pub numerator: CellName,
    /// Below it.
    pub denominator: CellName,
    /// Whether runs of the same block were paired; else the arms did not run interleaved.
    pub paired: bool,
    /// The effect on each metric.
    pub effects: Vec<EffectSummary>,
    /// Change of the cost for each output token, when both have a price in one currency.
    pub cost: Option<CostChange>,
    /// Properties in which the machines differ and which break the comparison.
    pub parity_broken: Vec<String>,
}

/// What differs between two cells.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum ContrastKind {
    /// The arm.
    Arms,
    /// The router, against the baseline.
    Routers,
    /// Both: a router on the costlier arm against the baseline router on the other.
    WinBack,
}

/// The effect on one metric.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct EffectSummary {
    /// The metric.
    pub metric: Measure,
    /// Whether it belongs to the declared primary family; all others are exploratory.
    pub primary: bool,
    /// What was found; absent with the reason beside it.
    pub figures: Option<Figures>,
    /// Why there is nothing.
    pub absent: Option<String>,
}

/// Figures of one effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Figures {
    /// Independent units: pairs, or boots when pairs share some, or the smaller side's runs when not paired.
    pub n: u32,
    /// Geometric mean ratio, numerator over denominator.
    pub ratio: f64,
    /// The ratio's 95 % interval.
    pub interval: Option<Bounds>,
    /// The ratio less 1, in percent.
    pub change_percent: f64,
    /// The seeded percentile bootstrap's interval of the ratio: a check, never the headline.
    pub bootstrap: Option<Bounds>,
    /// Two-sided p-value.
    pub p: Option<f64>,
    /// How p was found.
    pub p_method: PMethod,
    /// The least p that so many pairs can reach.
    pub least_p: Option<f64>,
    /// p corrected by Holm's method, in the primary family.
    pub holm_p: Option<f64>,
    /// p-value of "outside the margin", by two one-sided tests.
    pub equivalence_p: Option<f64>,
    /// Cliff's delta.
    pub cliffs_delta: f64,
    /// What can be said.
    pub verdict: Difference,
}

/// How a p-value was found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum PMethod {
    /// Sign-flip permutation of pairs.
    SignFlip,
    /// Welch's t-test.
    Welch,
}

/// What can be said of a ratio.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Equal within the margin.
    Equivalent,
    /// Different.
    Different,
    /// Neither can be said.
    Inconclusive,
}

/// A change of cost, in percent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq)]
pub struct CostChange {
    /// The change.
    pub percent: f64,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
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
