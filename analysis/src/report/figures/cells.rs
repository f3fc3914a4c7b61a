//! One metric over arms and routers, condition by condition.

use super::{Context, Datum, Drawn, Numbers, median_caption, sentence_case};
use crate::{
    metrics::Measure,
    notebook::Order,
    report::{
        metric_of,
        svg::{Mark, Row, RowFigure, rows},
    },
    summary::{Cell, ConditionSummary, number},
};

/// The figure of one metric.
pub fn figure(context: Context<'_>, conditions: &[&ConditionSummary], measure: Measure) -> Drawn {
    let several = context.experiment.conditions.len() > 1;
    let conditions = ordered(conditions);
    let groups: Vec<(String, Vec<Row>)> =
        conditions.iter().flat_map(|condition| groups_of(context, condition, measure, several)).collect();
    let cells = || conditions.iter().flat_map(|condition| &condition.cells);
    let title = sentence_case(measure.title());
    let id = format!("{}-{}", context.id, measure.key());
    let drawn = RowFigure {
        heading: context.heading(&id, &format!("{title} by arm and router"), describe(&groups, measure)),
        unit: measure.unit().to_owned(),
        mark: if measure == Measure::OutputThroughput { Mark::Bar } else { Mark::Point },
        groups,
    };
    Drawn {
        id,
        title,
        unit: measure.unit().to_owned(),
        caption: median_caption(cells().map(|cell| cell.runs), measure),
        svg: rows(&drawn),
        numbers: numbers(&conditions, measure),
    }
}

/// Joules for each output token, where a run has them.
pub fn energy(context: Context<'_>, conditions: &[&ConditionSummary]) -> Option<Drawn> {
    let measure = Measure::JoulesPerOutputToken;
    let known = |cell: &Cell| metric_of(cell, measure).is_some_and(|metric| metric.median.is_some());
    let any = conditions.iter().flat_map(|condition| &condition.cells).any(known);
    any.then(|| figure(context, conditions, measure))
}

/// By the size of their models, equal sizes by name.
fn ordered<'a>(conditions: &[&'a ConditionSummary]) -> Vec<&'a ConditionSummary> {
    let mut conditions = conditions.to_vec();
    conditions.sort_by(|left, right| {
        let by_model = Order::ModelSize.compare(&left.model, &right.model);
        by_model.then_with(|| Order::Natural.compare(&left.name, &right.name))
    });
    conditions
}

fn groups_of(
    context: Context<'_>,
    condition: &ConditionSummary,
    measure: Measure,
    several: bool,
) -> Vec<(String, Vec<Row>)> {
    let mut routers: Vec<&str> = Vec::new();
    for cell in &condition.cells {
        if !routers.contains(&cell.name.router.as_str()) {
            routers.push(&cell.name.router);
        }
    }
    let alone = routers.len() == 1;
    routers
        .into_iter()
        .map(|router| {
            let name = match (several, alone) {
                (true, true) => condition.name.clone(),
                (true, false) => format!("{} · {router}", condition.name),
                (false, _) => router.to_owned(),
            };
            let of_router = condition.cells.iter().filter(|cell| cell.name.router == router);
            (name, of_router.map(|cell| row(context, cell, measure)).collect())
        })
        .collect()
}

fn row(context: Context<'_>, cell: &Cell, measure: Measure) -> Row {
    let metric = metric_of(cell, measure);
    Row {
        label: cell.name.arm.clone(),
        series: context.series(&cell.name.arm),
        median: metric.and_then(|metric| metric.median),
        interval: metric.and_then(|metric| metric.interval).map(|bounds| (bounds.low, bounds.high)),
        values: metric.map(|metric| metric.values.clone()).unwrap_or_default(),
        absent: metric.and_then(|metric| metric.absent.clone()),
    }
}

fn describe(groups: &[(String, Vec<Row>)], measure: Measure) -> String {
    let parts: Vec<String> = groups
        .iter()
        .flat_map(|(group, rows)| {
            rows.iter().filter_map(move |row| {
                Some(format!("{group}, {}: {} {}", row.label, number(row.median?), measure.unit()))
            })
        })
        .collect();
    parts.join("; ")
}

/// The numbers of one metric.
pub fn numbers(conditions: &[&ConditionSummary], measure: Measure) -> Numbers {
    let cells = conditions.iter().flat_map(|condition| condition.cells.iter().map(move |cell| (condition, cell)));
    let rows = cells
        .filter_map(|(condition, cell)| {
            let metric = metric_of(cell, measure)?;
            let runs: Vec<String> = metric.values.iter().map(f64::to_string).collect();
            Some(vec![
                Datum::text(&condition.name),
                Datum::text(&cell.name.arm),
                Datum::text(&cell.name.router),
                Datum::number(f64::from(metric.n)),
                Datum::Number(metric.median),
                Datum::Number(metric.interval.map(|bounds| bounds.low)),
                Datum::Number(metric.interval.map(|bounds| bounds.high)),
                Datum::text(runs.join(" ")),
            ])
        })
        .collect();
    Numbers { columns: vec!["condition", "arm", "router", "n", "median", "low", "high", "runs"], rows }
}
