//! The types of one experiment's results in `summary.json`: cells, comparisons, figures.

use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use teebench_api::campaign::Until;

use super::{
    model::Note,
    sweeps::{Choice, KneeContrast, KneeSummary, Settings},
};
use crate::metrics::Measure;

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
    /// Knees of its sweeps over requests in flight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub knees: Vec<KneeSummary>,
    /// Arms compared at their knees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub knee_contrasts: Vec<KneeContrast>,
    /// What its calibrations of max-num-seqs choose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
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
    /// The settings in which it may differ from the experiment's other conditions.
    pub settings: Settings,
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
    /// What its energy costs, when a price of energy is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_cost: Option<EnergyCost>,
    /// Runs in which arrivals outran completions.
    pub overloaded_runs: u32,
    /// Median over runs of how much longer the last quarter's requests took than the first quarter's (open loop only).
    pub latency_growth: Option<f64>,
    /// Runs whose requests ran in lock-step: in waves that start and end together (closed loop only).
    #[serde(default)]
    pub lock_step_runs: u32,
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

/// What energy costs, apart from the machines' price, which often has it in already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct EnergyCost {
    /// At the median of the joules for each output token.
    #[schemars(with = "String")]
    pub per_million_output_tokens: Decimal,
    /// Its currency.
    pub currency: String,
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
