//! Medians of a metric over a setting, as a curve for each arm and router.

use super::{Context, Datum, Drawn, Numbers, median_caption};
use crate::{
    metrics::Measure,
    report::{
        metric_of,
        svg::{Curve, CurveFigure, Place, Point, XAxis, curves},
    },
    summary::{Cell, CellName, number},
};

/// Over what medians are drawn.
pub struct Setting {
    /// Begins the figure's id.
    pub id: String,
    /// Ends the figure's title.
    pub title: String,
    /// The axis.
    pub axis: XAxis,
    /// What its column of numbers is called.
    pub column: &'static str,
    /// Places on it.
    pub marks: Vec<Place>,
    /// Ends the caption.
    pub note: &'static str,
}

/// The median of a cell at a setting.
pub fn point(x: f64, cell: &Cell, measure: Measure) -> Option<Point> {
    let metric = metric_of(cell, measure)?;
    Some(Point { x, y: metric.median?, interval: metric.interval.map(|bounds| (bounds.low, bounds.high)) })
}

/// The figure of a metric; `runs` are those of each cell that is drawn.
pub fn figure(
    context: Context<'_>,
    measure: Measure,
    setting: Setting,
    drawn: Vec<(&CellName, Vec<Point>)>,
    runs: impl Iterator<Item = u32>,
) -> Drawn {
    let Setting { id, title, axis, column, marks, note } = setting;
    let numbers = numbers(column, &drawn);
    let description = describe(&axis, measure, &drawn);
    let title = format!("{} by {title}", super::sentence_case(measure.title()));
    let id = format!("{}-{id}-{}", context.id, measure.key());
    let figure = CurveFigure {
        heading: context.heading(&id, &title, description),
        x: axis,
        unit: measure.unit().to_owned(),
        from_zero: true,
        curves: drawn
            .into_iter()
            .map(|(name, points)| Curve {
                label: format!("{} · {}", name.arm, name.router),
                series: context.series(&name.arm),
                dashes: context.dashes(&name.router),
                points,
            })
            .collect(),
        marks,
    };
    let caption = format!("{}{note}", median_caption(runs, measure));
    Drawn { id, title, unit: measure.unit().to_owned(), caption, svg: curves(&figure), numbers }
}

fn numbers(column: &'static str, drawn: &[(&CellName, Vec<Point>)]) -> Numbers {
    let rows = drawn.iter().flat_map(|(name, points)| {
        points.iter().map(move |Point { x, y, interval }| {
            let (low, high) = interval.unzip();
            vec![
                Datum::text(&name.arm),
                Datum::text(&name.router),
                Datum::number(*x),
                Datum::number(*y),
                Datum::Number(low),
                Datum::Number(high),
            ]
        })
    });
    Numbers { columns: vec!["arm", "router", column, "median", "low", "high"], rows: rows.collect() }
}

fn describe(axis: &XAxis, measure: Measure, drawn: &[(&CellName, Vec<Point>)]) -> String {
    let place = |x: f64| {
        let named = axis.names.iter().find(|(at, _)| *at == x);
        named.map_or_else(|| x.to_string(), |(_, name)| name.clone())
    };
    let curve = |(name, points): &(&CellName, Vec<Point>)| {
        let at: Vec<String> = points.iter().map(|point| format!("{} at {}", number(point.y), place(point.x))).collect();
        format!("{name}: {} {}", at.join(", "), measure.unit())
    };
    drawn.iter().map(curve).collect::<Vec<_>>().join("; ")
}
