//! Throughput by input and output length, and what the arms change at each: maps.

use super::{Context, Datum, Drawn, Numbers, counted};
use crate::{
    metrics::Measure,
    report::{
        figures_of, metric_of,
        svg::{MapFigure, Shaded, map},
    },
    summary::{
        ConditionSummary, Contrast, ContrastKind, ExperimentSummary, Settings, grouped, number, percent_interval,
        signed_percent,
    },
};

/// What the maps show, as the notebook's do.
const MEASURE: Measure = Measure::TotalTokenThroughput;

/// Conditions of one model that differ in their lengths alone.
struct Grid<'a> {
    conditions: Vec<&'a ConditionSummary>,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
}

impl<'a> Grid<'a> {
    /// The grids of an experiment: two lengths of each at least.
    fn among(experiment: &'a ExperimentSummary) -> Vec<Self> {
        let lengths_aside = |condition: &'a ConditionSummary| {
            (&condition.model, Settings { input_tokens: None, output_tokens: None, ..condition.settings.clone() })
        };
        let known =
            |each: &&ConditionSummary| each.settings.input_tokens.is_some() && each.settings.output_tokens.is_some();
        grouped(experiment.conditions.iter().filter(known), lengths_aside)
            .into_iter()
            .map(|conditions| Self {
                inputs: distinct(conditions.iter().filter_map(|condition| condition.settings.input_tokens)),
                outputs: distinct(conditions.iter().filter_map(|condition| condition.settings.output_tokens)),
                conditions,
            })
            .filter(|grid| grid.inputs.len() > 1 && grid.outputs.len() > 1)
            .collect()
    }

    fn at(&self, input: u32, output: u32) -> Option<&'a ConditionSummary> {
        let there = |each: &&&ConditionSummary| {
            each.settings.input_tokens == Some(input) && each.settings.output_tokens == Some(output)
        };
        self.conditions.iter().find(there).copied()
    }

    /// The fields, row by row.
    fn fields(&self, field: impl Fn(&'a ConditionSummary) -> Option<Shaded>) -> Vec<Vec<Option<Shaded>>> {
        let row = |output: &u32| self.inputs.iter().map(|input| field(self.at(*input, *output)?)).collect();
        self.outputs.iter().map(row).collect()
    }
}

fn distinct(values: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Whether a condition is part of a grid, and thus drawn here.
pub fn shows(experiment: &ExperimentSummary, condition: &ConditionSummary) -> bool {
    Grid::among(experiment).iter().flat_map(|grid| &grid.conditions).any(|each| *each == condition)
}

/// A map for each arm and router, and one for each comparison of arms.
pub fn figures(context: Context<'_>) -> Vec<Drawn> {
    let mut drawn = Vec::new();
    for (index, grid) in Grid::among(context.experiment).iter().enumerate() {
        let mut names = Vec::new();
        for name in grid.conditions.iter().flat_map(|condition| &condition.cells).map(|cell| &cell.name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            drawn.push(throughput(context, grid, index, name));
        }
        let mut pairs: Vec<&Contrast> = Vec::new();
        for contrast in grid.conditions.iter().flat_map(|condition| &condition.contrasts) {
            let known = |pair: &&Contrast| same(pair, contrast);
            if contrast.kind == ContrastKind::Arms && !pairs.iter().any(known) {
                pairs.push(contrast);
            }
        }
        for pair in pairs {
            drawn.push(loss(context, grid, index, pair));
        }
    }
    drawn
}

fn same(left: &Contrast, right: &Contrast) -> bool {
    (left.kind, &left.numerator, &left.denominator) == (right.kind, &right.numerator, &right.denominator)
}

fn throughput(context: Context<'_>, grid: &Grid<'_>, index: usize, name: &crate::summary::CellName) -> Drawn {
    let metric = |condition: &&ConditionSummary| {
        metric_of(condition.cells.iter().find(|cell| cell.name == *name)?, MEASURE).cloned()
    };
    let medians = grid.conditions.iter().filter_map(|condition| metric(condition)?.median);
    let best = medians.fold(0.0, f64::max);
    let fields = grid.fields(|condition| {
        let metric = metric(&condition)?;
        let below = metric.interval.map(|bounds| format!("[{}, {}]", number(bounds.low), number(bounds.high)));
        let median = metric.median?;
        Some(Shaded { text: (number(median), below.unwrap_or_default()), strength: median / best })
    });
    let title = format!("{} of {name}", super::sentence_case(MEASURE.title()));
    let runs = grid.conditions.iter().filter_map(|condition| metric(condition).map(|metric| metric.n));
    let caption = format!("Median over runs, {}; the darker, the more.", counted(runs));
    let of_field = |condition: &ConditionSummary| {
        let metric = metric(&condition);
        let interval = metric.as_ref().and_then(|metric| metric.interval);
        (metric.and_then(|metric| metric.median), interval.map(|bounds| (bounds.low, bounds.high)))
    };
    drawing(
        context,
        grid,
        &format!("{index}-{}-{}", name.arm, name.router),
        title,
        MEASURE.unit(),
        caption,
        fields,
        of_field,
    )
}

fn loss(context: Context<'_>, grid: &Grid<'_>, index: usize, pair: &Contrast) -> Drawn {
    let figures = |condition: &ConditionSummary| {
        let contrast = condition.contrasts.iter().find(|contrast| same(contrast, pair))?;
        figures_of(contrast, MEASURE).cloned()
    };
    let strongest = grid.conditions.iter().filter_map(|condition| Some((1.0 - figures(condition)?.ratio).abs()));
    let strongest = strongest.fold(f64::MIN_POSITIVE, f64::max);
    let fields = grid.fields(|condition| {
        let found = figures(condition)?;
        let (_, below) = percent_interval(&found)
            .split_once('[')
            .map_or((String::new(), String::new()), |(head, tail)| (head.to_owned(), format!("[{tail}")));
        let strength = (found.ratio - 1.0) / strongest;
        Some(Shaded { text: (signed_percent(found.change_percent), below), strength })
    });
    let (top, bottom) = (&pair.numerator, &pair.denominator);
    let title = format!("Change of {}, {} against {}", MEASURE.title(), top.arm, bottom.arm);
    let caption = format!(
        "({} − {})/{}, router {}, with the 95 % interval where there is one. A loss has a minus sign.",
        top.arm, bottom.arm, bottom.arm, top.router
    );
    let of_field = |condition: &ConditionSummary| {
        let found = figures(condition);
        let interval = found.as_ref().and_then(|found| found.interval);
        let percent = |ratio: f64| 100.0 * (ratio - 1.0);
        (found.map(|found| found.change_percent), interval.map(|bounds| (percent(bounds.low), percent(bounds.high))))
    };
    let id = format!("{index}-{}-{}-{}", top.arm, bottom.arm, top.router);
    drawing(context, grid, &id, title, "%", caption, fields, of_field)
}

/// A field's number with its interval.
type Valued = (Option<f64>, Option<(f64, f64)>);

#[expect(clippy::too_many_arguments, reason = "the parts of one drawing, each used once")]
fn drawing(
    context: Context<'_>,
    grid: &Grid<'_>,
    id: &str,
    title: String,
    unit: &str,
    caption: String,
    fields: Vec<Vec<Option<Shaded>>>,
    of_field: impl Fn(&ConditionSummary) -> Valued,
) -> Drawn {
    let id = format!("{}-map-{id}", context.id);
    let mut rows = Vec::new();
    let mut described = Vec::new();
    for condition in &grid.conditions {
        let (value, interval) = of_field(condition);
        let (low, high) = interval.unzip();
        let settings = &condition.settings;
        let (input, output) = (settings.input_tokens.unwrap_or(0), settings.output_tokens.unwrap_or(0));
        described.extend(value.map(|value| format!("{input} in, {output} out: {} {unit}", number(value))));
        rows.push(vec![
            Datum::number(f64::from(input)),
            Datum::number(f64::from(output)),
            Datum::Number(value),
            Datum::Number(low),
            Datum::Number(high),
        ]);
    }
    let figure = MapFigure {
        heading: context.heading(&id, &title, described.join("; ")),
        axes: ("input tokens".to_owned(), "output tokens".to_owned()),
        columns: grid.inputs.iter().map(u32::to_string).collect(),
        rows: grid.outputs.iter().map(u32::to_string).collect(),
        fields,
    };
    let columns = vec!["input tokens", "output tokens", "value", "low", "high"];
    Drawn { id, title, unit: unit.to_owned(), caption, svg: map(&figure), numbers: Numbers { columns, rows } }
}
