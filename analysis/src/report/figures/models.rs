//! Energy and cost over the size of the model, on a logarithmic axis.

use super::{Context, Datum, Drawn, Numbers, counted, sentence_case};
use crate::{
    metrics::Measure,
    notebook::model_size,
    report::{
        metric_of,
        svg::{Curve, CurveFigure, Point, XAxis, curves},
    },
    summary::{Cell, CellName, number},
};

/// What is drawn over the size of the model.
const OVER_SIZE: [Measure; 3] =
    [Measure::JoulesPerOutputToken, Measure::JoulesPerTotalToken, Measure::JoulesPerRequest];

/// A figure for each kind of energy, where two models or more have a size and a figure.
pub fn figures(context: Context<'_>) -> Vec<Drawn> {
    OVER_SIZE.into_iter().filter_map(|measure| figure(context, measure)).collect()
}

fn figure(context: Context<'_>, measure: Measure) -> Option<Drawn> {
    let conditions = &context.experiment.conditions;
    let sized = || conditions.iter().filter_map(|condition| Some((condition, model_size(&condition.model)?)));
    let mut names: Vec<(f64, String)> = sized().map(|(condition, size)| (size, condition.model.clone())).collect();
    names.sort_by(|left, right| left.0.total_cmp(&right.0));
    names.dedup();
    // Several conditions of one model would be several points at one place.
    if names.len() < 2 || names.len() != conditions.len() {
        return None;
    }
    let mut drawn: Vec<(&CellName, Vec<Point>)> = Vec::new();
    let mut cells: Vec<&Cell> = Vec::new();
    for (condition, size) in sized() {
        for cell in &condition.cells {
            let Some(metric) = metric_of(cell, measure) else { continue };
            let Some(median) = metric.median else { continue };
            let point = Point { x: size, y: median, interval: metric.interval.map(|bounds| (bounds.low, bounds.high)) };
            cells.push(cell);
            match drawn.iter_mut().find(|(name, _)| **name == cell.name) {
                Some((_, points)) => points.push(point),
                None => drawn.push((&cell.name, vec![point])),
            }
        }
    }
    if drawn.iter().all(|(_, points)| points.len() < 2) {
        return None;
    }
    for (_, points) in &mut drawn {
        points.sort_by(|left, right| left.x.total_cmp(&right.x));
    }
    let rows = drawn.iter().flat_map(|(name, points)| {
        points.iter().map(move |point| {
            let (low, high) = point.interval.unzip();
            vec![
                Datum::text(&name.arm),
                Datum::text(&name.router),
                Datum::number(point.x),
                Datum::number(point.y),
                Datum::Number(low),
                Datum::Number(high),
            ]
        })
    });
    let numbers =
        Numbers { columns: vec!["arm", "router", "billion parameters", "median", "low", "high"], rows: rows.collect() };
    let described: Vec<String> = drawn
        .iter()
        .flat_map(|(name, points)| {
            points.iter().map(move |point| format!("{name}, {} B: {}", point.x, number(point.y)))
        })
        .collect();
    let title = format!("{} by model size", sentence_case(measure.title()));
    let id = format!("{}-size-{}", context.id, measure.key());
    let figure = CurveFigure {
        id: id.clone(),
        title: context.title(&title),
        description: described.join("; "),
        x: XAxis { title: "model, by parameters on a logarithmic axis".to_owned(), logarithmic: true, names },
        unit: measure.unit().to_owned(),
        from_zero: true,
        simulated: context.campaign.simulated,
        curves: drawn
            .into_iter()
            .map(|(name, points)| Curve {
                label: format!("{} · {}", name.arm, name.router),
                series: context.series(&name.arm),
                dashes: context.dashes(&name.router),
                points,
            })
            .collect(),
        marks: Vec::new(),
    };
    Some(Drawn {
        id,
        title,
        unit: measure.unit().to_owned(),
        caption: format!(
            "Median over runs, {}: {}.",
            counted(cells.iter().map(|cell| cell.runs)),
            measure.definition()
        ),
        svg: curves(&figure),
        numbers,
    })
}
