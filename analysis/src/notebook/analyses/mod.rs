//! The notebook's analyses, each figure as the notebook computes it and as it should be, with the reason where the two
//! differ. The names A0 to A15 are those of the notebook's sections, in their order.

mod calibration;
mod cost;
mod energy;
mod rates;
mod saturation;
mod sequence;

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use teebench_api::campaign::Tee;

use super::{
    names::{Kind, Order},
    run::Run,
    tree::{Condition, Experiment, Tree},
};
use crate::stats::{self, Bootstrap, Observations, Options, Single, numpy};

/// The two states of the TEE, off first.
const MODES: [Tee; 2] = [Tee::Disabled, Tee::Enabled];

/// Resamples of the check beside an interval.
static BOOTSTRAP: Bootstrap = Bootstrap::new(2000, 0);

/// One figure of one analysis.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Row {
    /// `A0` to `A15`.
    pub analysis: &'static str,
    /// The experiment's directory.
    pub experiment: String,
    /// The condition's directory; empty for a figure of the whole experiment.
    pub condition: String,
    /// State of the TEE; absent for a figure of both.
    pub tee: Option<Tee>,
    /// What it is.
    pub quantity: String,
    /// As the notebook has it; absent where the notebook has none.
    pub compatible: Option<Figure>,
    /// As it should be; absent where the notebook's figure should not be.
    pub corrected: Option<Figure>,
    /// Why the two differ; empty where they do not.
    pub reason: &'static str,
}

/// A figure.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub enum Figure {
    /// A number in a unit.
    Number {
        /// The number.
        value: f64,
        /// Lower end of the 95 % interval.
        #[serde(skip_serializing_if = "Option::is_none")]
        low: Option<f64>,
        /// Upper end of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        high: Option<f64>,
        /// The unit; empty for counts.
        unit: &'static str,
    },
    /// Words.
    Words(String),
}

/// In full: a compatible figure is compared digit by digit.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Number { value, low, high, unit } => {
                write!(f, "{value}")?;
                if let (Some(low), Some(high)) = (low, high) {
                    write!(f, " [{low}, {high}]")?;
                }
                if unit.is_empty() { Ok(()) } else { write!(f, " {unit}") }
            }
        }
    }
}

/// A number without an interval.
fn number(value: f64, unit: &'static str) -> Figure {
    Figure::Number { value, low: None, high: None, unit }
}

/// All figures of a tree, by analysis, experiment and condition.
#[must_use]
pub fn analyse(tree: &Tree) -> Vec<Row> {
    let mut rows = Vec::new();
    for experiment in &tree.experiments {
        rows.extend(cost::totals(experiment));
        match experiment.kind {
            Kind::ThroughputLatency => {
                rows.extend(cost::runs(experiment));
                rows.extend(rates::throughput(experiment));
                rows.extend(rates::latencies(experiment));
            }
            Kind::Calibration => {
                rows.extend(energy::board(experiment));
                rows.extend(calibration::calibration(experiment));
            }
            Kind::Saturation => rows.extend(saturation::saturation(experiment)),
            Kind::Sequence => rows.extend(sequence::sequence(experiment)),
            Kind::Energy => rows.extend(energy::per_token(experiment)),
            Kind::Other => {
                rows.extend(cost::runs(experiment));
                rows.extend(rates::throughput(experiment));
                rows.extend(rates::latencies(experiment));
                rows.extend(energy::per_token(experiment));
            }
        }
    }
    let place = |row: &Row| row.analysis[1..].parse::<u32>().unwrap_or(u32::MAX);
    rows.sort_by_key(place);
    rows
}

/// Where rows belong.
#[derive(Clone, Copy)]
struct At<'a> {
    analysis: &'static str,
    experiment: &'a str,
    condition: &'a str,
    tee: Option<Tee>,
}

impl At<'_> {
    fn row(
        self,
        quantity: impl Into<String>,
        compatible: Option<Figure>,
        corrected: Option<Figure>,
        reason: &'static str,
    ) -> Row {
        Row {
            analysis: self.analysis,
            experiment: self.experiment.to_owned(),
            condition: self.condition.to_owned(),
            tee: self.tee,
            quantity: quantity.into(),
            compatible,
            corrected,
            reason,
        }
    }

    /// A figure on which both agree.
    fn same(self, quantity: impl Into<String>, figure: Option<Figure>) -> Row {
        self.row(quantity, figure.clone(), figure, "")
    }
}

/// Conditions by the size of their models.
fn by_size(experiment: &Experiment) -> Vec<&Condition> {
    let mut conditions: Vec<&Condition> = experiment.conditions.iter().collect();
    conditions.sort_by(|left, right| Order::ModelSize.compare(&left.name, &right.name));
    conditions
}

/// Values of a condition's runs in one mode.
fn values(condition: &Condition, tee: Tee, of: impl Fn(&Run) -> Option<f64>) -> Vec<f64> {
    condition.of(tee).filter_map(of).collect()
}

fn median(values: &[f64], unit: &'static str) -> Option<Figure> {
    numpy::median(values).map(|value| number(value, unit))
}

fn deviation(values: &[f64], degrees_off: usize, unit: &'static str) -> Option<Figure> {
    numpy::standard_deviation(values, degrees_off).map(|value| number(value, unit))
}

/// The median with its interval, which needs six runs.
fn median_with_interval(values: &[f64], unit: &'static str) -> Option<Figure> {
    let interval = stats::median_interval(values).map(|found| found.interval);
    numpy::median(values).map(|value| Figure::Number {
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        unit,
    })
}

/// What turning the TEE on changes, in percent of off, by the geometric means of runs that are not paired: nothing in
/// the tree says which ran side by side.
fn change_percent(off: &[f64], on: &[f64]) -> Option<Figure> {
    let observations =
        Observations::Unpaired { numerator: Single::independent(on), denominator: Single::independent(off) };
    let options = Options { margin: stats::Margin::default(), seed: 0, bootstrap: &BOOTSTRAP };
    let effect = stats::estimate(&observations, options).ok()?;
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    Some(Figure::Number {
        value: percent(effect.ratio),
        low: effect.interval.map(|interval| percent(interval.low)),
        high: effect.interval.map(|interval| percent(interval.high)),
        unit: "%",
    })
}

/// The same as a loss: what is missing of off is positive.
fn loss_percent(off: &[f64], on: &[f64]) -> Option<Figure> {
    match change_percent(off, on)? {
        Figure::Number { value, low, high, unit } => {
            Some(Figure::Number { value: -value, low: high.map(|end| -end), high: low.map(|end| -end), unit })
        }
        Figure::Words(words) => Some(Figure::Words(words)),
    }
}
