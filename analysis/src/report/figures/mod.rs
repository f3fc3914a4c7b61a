//! The figures of an experiment, each with the numbers behind it: the page shows them, and they can be written as files.

mod board;
mod cells;
mod maps;
mod medians;
mod models;
mod ratios;
mod sweeps;

use maud::Markup;

pub use self::board::{Board, Boards};
use super::{csv, svg::Heading};
use crate::{
    metrics::Measure,
    summary::{CampaignSummary, ConditionSummary, ContrastKind, ExperimentSummary},
};

/// One figure.
pub struct Drawn {
    /// Unique among all figures; a file's name.
    pub id: String,
    /// What stands over it.
    pub title: String,
    /// Unit of what is shown; empty where there is none.
    pub unit: String,
    /// What it shows, with n and what intervals are.
    pub caption: String,
    /// The drawing.
    pub svg: Markup,
    /// The numbers behind it.
    pub numbers: Numbers,
}

/// A table of numbers.
pub struct Numbers {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Vec<Datum>>,
}

/// A field of a table.
pub enum Datum {
    /// Text.
    Text(String),
    /// A number; absent where there is none.
    Number(Option<f64>),
}

impl Datum {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn number(value: f64) -> Self {
        Self::Number(Some(value))
    }
}

impl Numbers {
    /// As CSV, numbers in full.
    pub fn csv(&self) -> String {
        let field = |datum: &Datum| match datum {
            Datum::Text(text) => text.clone(),
            Datum::Number(value) => value.map(|value| value.to_string()).unwrap_or_default(),
        };
        let header: Vec<String> = self.columns.iter().map(|&name| name.to_owned()).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(field).collect());
        csv::write(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
    }
}

/// What figures of an experiment need to know of where they stand.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Begins every figure's id.
    pub id: &'a str,
    /// The campaign.
    pub campaign: &'a CampaignSummary,
    /// The experiment.
    pub experiment: &'a ExperimentSummary,
    /// What the experiment's boards showed.
    pub boards: &'a [Board],
}

impl Context<'_> {
    /// Index of an arm's colour and shape.
    fn series(&self, arm: &str) -> usize {
        self.campaign.arms.iter().position(|known| known.name == arm).unwrap_or_default()
    }

    /// Index of a router's dashes.
    fn dashes(&self, router: &str) -> usize {
        let mut routers: Vec<&str> = Vec::new();
        let cells = self.campaign.experiments.iter().flat_map(|experiment| &experiment.conditions);
        for cell in cells.flat_map(|condition| &condition.cells) {
            if !routers.contains(&cell.name.router.as_str()) {
                routers.push(&cell.name.router);
            }
        }
        // A curve of the baseline is drawn through; what is compared with it is dashed.
        let baseline = self.campaign.baseline_router.as_deref();
        routers.sort_by_key(|router| Some(*router) != baseline);
        routers.iter().position(|known| *known == router).unwrap_or_default()
    }

    /// Name and description of a figure.
    fn heading(&self, id: &str, title: &str, description: String) -> Heading {
        let simulated = self.campaign.simulated;
        let title = format!("{title}{}", if simulated { ", simulated" } else { "" });
        Heading { id: id.to_owned(), title, description, simulated }
    }
}

/// All figures of an experiment that has a valid run, in the order in which they are shown.
pub fn of_experiment(context: Context<'_>) -> Vec<Drawn> {
    let mut drawn = sweeps::figures(context);
    drawn.extend(maps::figures(context));
    let conditions: Vec<&ConditionSummary> = context
        .experiment
        .conditions
        .iter()
        .filter(|condition| {
            !sweeps::shows(context.experiment, condition) && !maps::shows(context.experiment, condition)
        })
        .collect();
    if conditions.iter().flat_map(|condition| &condition.cells).any(|cell| cell.runs > 0) {
        drawn.extend(Measure::LEADING.into_iter().map(|measure| cells::figure(context, &conditions, measure)));
        drawn.extend(cells::energy(context, &conditions));
    }
    drawn.extend(models::figures(context));
    for (kind, title) in [
        (ContrastKind::Arms, "What the arms change"),
        (ContrastKind::Routers, "What the routers change"),
        (ContrastKind::WinBack, "Router and arm together"),
    ] {
        drawn.extend(ratios::figure(context, kind, title));
    }
    drawn.extend(board::figures(context));
    drawn
}

/// Whether an experiment has a run that counts.
pub fn has_runs(experiment: &ExperimentSummary) -> bool {
    experiment.conditions.iter().flat_map(|condition| &condition.cells).any(|cell| cell.runs > 0)
}

/// What is shown of a metric, and over how many runs.
fn median_caption(runs: impl Iterator<Item = u32>, measure: Measure) -> String {
    format!("Median over runs, {}: {}.", counted(runs), measure.definition())
}

/// `n = 6 runs each`, or the range.
fn counted(counts: impl Iterator<Item = u32>) -> String {
    let counts: Vec<u32> = counts.filter(|count| *count > 0).collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(1), Some(1)) => "n = 1 run each".to_owned(),
        (Some(least), Some(most)) if least == most => format!("n = {least} runs each"),
        (Some(least), Some(most)) => format!("n = {least} to {most} runs each"),
        _ => "no run".to_owned(),
    }
}

/// The first letter as a capital.
pub fn sentence_case(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", characters.as_str())
}
