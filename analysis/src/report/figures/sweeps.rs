//! Sweeps over requests in flight and over max-num-seqs, as curves.

use super::{
    Context, Datum, Drawn, Numbers,
    medians::{self, Setting},
};
use crate::{
    metrics::Measure,
    report::{
        metric_of,
        svg::{Curve, CurveFigure, Place, Point, XAxis, curves},
    },
    summary::{Cell, ConditionSummary, ExperimentSummary, LoadSweep, calibrations},
};

/// What is drawn over requests in flight.
const OVER_LOAD: [Measure; 5] = [
    Measure::OutputThroughput,
    Measure::RequestThroughput,
    Measure::E2elP95,
    Measure::TtftP50,
    Measure::JoulesPerOutputToken,
];

/// Whether a condition is part of a sweep, and thus drawn here.
pub fn shows(experiment: &ExperimentSummary, condition: &ConditionSummary) -> bool {
    let of_load = LoadSweep::among(&experiment.conditions);
    let calibrated = calibrations(&experiment.conditions);
    of_load.iter().flat_map(|sweep| &sweep.conditions).chain(calibrated.iter().flatten()).any(|each| *each == condition)
}

/// All figures of sweeps.
pub fn figures(context: Context<'_>) -> Vec<Drawn> {
    let sweeps = LoadSweep::among(&context.experiment.conditions);
    let several = sweeps.len() > 1;
    let of_load = sweeps.iter().enumerate().flat_map(|(index, sweep)| {
        OVER_LOAD.into_iter().filter_map(move |measure| over_load(context, sweep, index, several, measure))
    });
    of_load.chain(calibration(context)).collect()
}

fn over_load(
    context: Context<'_>,
    sweep: &LoadSweep<'_>,
    index: usize,
    several: bool,
    measure: Measure,
) -> Option<Drawn> {
    let curve = |name| {
        let points = sweep.levels(name).filter_map(|(x, cell)| medians::point(x, cell, measure)).collect();
        (name, points)
    };
    let drawn: Vec<(_, Vec<Point>)> =
        sweep.cells().into_iter().map(curve).filter(|(_, points): &(_, Vec<Point>)| !points.is_empty()).collect();
    if drawn.is_empty() {
        return None;
    }
    let knees = context.experiment.knees.iter();
    let marks: Vec<Place> = knees
        .filter(|knee| measure == Measure::OutputThroughput && knee.model == sweep.model())
        .map(|knee| Place {
            series: context.series(&knee.name.arm),
            at: knee.concurrency,
            interval: knee.interval.map(|bounds| (bounds.low, bounds.high)),
        })
        .collect();
    let note = if marks.is_empty() {
        ""
    } else {
        " Dashed upright lines: the knee, the least concurrency within 5 % of the best; shaded: its 95 % interval."
    };
    let setting = Setting {
        id: if several { format!("load-{index}") } else { "load".to_owned() },
        title: format!("requests in flight{}", if several { format!(", {}", sweep.model()) } else { String::new() }),
        axis: XAxis { title: "requests in flight, logarithmic".to_owned(), logarithmic: true, names: Vec::new() },
        column: "requests in flight",
        marks,
        note,
    };
    let cells = sweep.conditions.iter().flat_map(|condition| &condition.cells);
    Some(medians::figure(context, measure, setting, drawn, cells.map(|cell| cell.runs)))
}

/// Seconds for each prompt over max-num-seqs, a curve for each model, arm and router.
fn calibration(context: Context<'_>) -> Option<Drawn> {
    let calibrations = calibrations(&context.experiment.conditions);
    let mut drawn: Vec<(String, &Cell, Vec<Point>)> = Vec::new();
    for (condition, cell) in
        calibrations.iter().flatten().flat_map(|condition| condition.cells.iter().map(move |cell| (*condition, cell)))
    {
        let Some(point) = seconds_per_prompt(condition, cell) else { continue };
        let label = format!("{} · {}", condition.model, cell.name.arm);
        match drawn.iter_mut().find(|(known, other, _)| *known == label && other.name == cell.name) {
            Some((_, _, points)) => points.push(point),
            None => drawn.push((label, cell, vec![point])),
        }
    }
    if drawn.is_empty() {
        return None;
    }
    let chosen = |label: &str, size: f64| {
        context.experiment.choices.iter().any(|choice| {
            format!("{} · {}", choice.model, choice.name.arm) == label && f64::from(choice.max_num_seqs) == size
        })
    };
    let rows = drawn.iter().flat_map(|(label, cell, points)| {
        points.iter().map(move |point| {
            let mark = if chosen(label, point.x) { "yes" } else { "no" };
            vec![
                Datum::text(label),
                Datum::text(&cell.name.router),
                Datum::number(point.x),
                Datum::number(point.y),
                Datum::text(mark),
            ]
        })
    });
    let numbers = Numbers {
        columns: vec!["model and arm", "router", "max-num-seqs", "seconds per prompt", "chosen"],
        rows: rows.collect(),
    };
    let choices: Vec<String> = context
        .experiment
        .choices
        .iter()
        .map(|choice| format!("{} on {}: {}", choice.model, choice.name.arm, choice.max_num_seqs))
        .collect();
    let title = "Seconds per prompt by max-num-seqs";
    let id = format!("{}-calibration", context.id);
    let figure = CurveFigure {
        heading: context.heading(&id, title, format!("Chosen: {}", choices.join("; "))),
        x: XAxis { title: "max-num-seqs, logarithmic".to_owned(), logarithmic: true, names: Vec::new() },
        unit: "s".to_owned(),
        from_zero: true,
        curves: drawn
            .into_iter()
            .enumerate()
            .map(|(index, (label, cell, points))| Curve {
                label,
                series: index,
                dashes: context.dashes(&cell.name.router),
                points,
            })
            .collect(),
        marks: Vec::new(),
    };
    Some(Drawn {
        id,
        title: title.to_owned(),
        unit: "s".to_owned(),
        caption: format!(
            "Inverse of the median request throughput. The rule: the least max-num-seqs within 2 % of the best median \
             output throughput. Chosen: {}.",
            choices.join("; ")
        ),
        svg: curves(&figure),
        numbers,
    })
}

fn seconds_per_prompt(condition: &ConditionSummary, cell: &Cell) -> Option<Point> {
    let x = f64::from(condition.settings.max_num_seqs?);
    let rate = metric_of(cell, Measure::RequestThroughput)?.median.filter(|rate| *rate > 0.0)?;
    Some(Point { x, y: 1.0 / rate, interval: None })
}
