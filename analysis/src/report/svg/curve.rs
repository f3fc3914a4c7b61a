//! Curves: a value over a setting, one line for each arm and router, with intervals and marked places on the axis.

use maud::{Markup, html};

use super::{
    Heading, SERIES, WIDTH, at,
    axis::{Scale, linear_ticks},
    marks::marker,
    text_width,
};
use crate::summary::number;

const HEIGHT: f64 = 230.0;
const TOP: f64 = 12.0;
const AXIS: f64 = 44.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const LEGEND_ROW: f64 = 20.0;
const TICK_ROW: f64 = 15.0;

/// A figure of curves.
pub struct CurveFigure {
    /// Its name and description.
    pub heading: Heading,
    /// The horizontal axis.
    pub x: XAxis,
    /// Unit of the vertical axis.
    pub unit: String,
    /// Whether the vertical axis begins at zero.
    pub from_zero: bool,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Places on the horizontal axis.
    pub marks: Vec<Place>,
}

/// The horizontal axis.
pub struct XAxis {
    /// What it shows.
    pub title: String,
    /// Whether it is logarithmic; all values are then positive.
    pub logarithmic: bool,
    /// Names in place of numbers: values and what they are called.
    pub names: Vec<(f64, String)>,
}

/// One curve.
pub struct Curve {
    /// What it is called.
    pub label: String,
    /// Index of its colour and shape.
    pub series: usize,
    /// Index of its pattern of dashes.
    pub dashes: usize,
    /// Its points in ascending order.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The setting.
    pub x: f64,
    /// The value there.
    pub y: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
}

/// A place on the horizontal axis, with its interval.
pub struct Place {
    /// Index of its colour.
    pub series: usize,
    /// Where.
    pub at: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
}

/// Draws the figure.
pub fn curves(figure: &CurveFigure) -> Markup {
    let points = || figure.curves.iter().flat_map(|curve| &curve.points);
    let x_values: Vec<f64> = distinct(points().map(|point| point.x).chain(figure.x.names.iter().map(|name| name.0)));
    let ends = |point: &Point| {
        [point.y, point.interval.map_or(point.y, |ends| ends.0), point.interval.map_or(point.y, |ends| ends.1)]
    };
    let y_values: Vec<f64> = points().flat_map(ends).filter(|value| value.is_finite()).collect();
    let (low, high) = (least(&y_values), y_values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let ticks = linear_ticks(
        if figure.from_zero { low.min(0.0) } else { low },
        if high > low || high > 0.0 { high } else { 1.0 },
        4,
    );
    let across = Across::new(&x_values, figure.x.logarithmic);
    let legend = legend_rows(&figure.curves);
    let (top, bottom) = (TOP + LEGEND_ROW * legend.len() as f64, TOP + LEGEND_ROW * legend.len() as f64 + HEIGHT);
    let up = Scale::new(ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0), bottom, top);
    let marks = across.ticks(&x_values, &figure.x.names);
    let lowest_label = marks.iter().map(|tick| tick.row).max().unwrap_or(0);
    let body = html! {
        @for (row, entries) in legend.iter().enumerate() {
            @for (left, curve) in entries {
                (legend_entry(curve, *left, TOP + LEGEND_ROW * row as f64))
            }
        }
        @for tick in &ticks {
            @let y = at(up.position(*tick));
            line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(y) y2=(y) {}
            text class="tick" x=(at(LEFT - 8.0)) y=(at(up.position(*tick) + 4.0)) text-anchor="end" { (number(*tick)) }
        }
        @for Tick { x, middle, row, label } in &marks {
            line class="grid" x1=(at(*x)) x2=(at(*x)) y1=(at(bottom)) y2=(at(bottom + 4.0)) {}
            text class="tick" x=(at(*middle)) y=(at(bottom + 17.0 + TICK_ROW * *row as f64)) text-anchor="middle" { (label) }
        }
        line class="zero" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(bottom)) y2=(at(bottom)) {}
        @for place in &figure.marks { (marked(place, &across, top, bottom)) }
        @for curve in &figure.curves { (drawn(curve, &across, &up)) }
    };
    let cut = if ticks.first().is_some_and(|first| *first > 0.0) { ", not from zero" } else { "" };
    let axis = format!("{} · vertically {}{cut}", figure.x.title, figure.unit);
    let height = bottom + AXIS + TICK_ROW * lowest_label as f64;
    figure.heading.around(height, f64::midpoint(LEFT, WIDTH - RIGHT), &axis, &body)
}

fn drawn(curve: &Curve, across: &Across, up: &Scale) -> Markup {
    let path: Vec<String> = curve
        .points
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let step = if index == 0 { 'M' } else { 'L' };
            format!("{step}{} {}", at(across.position(point.x)), at(up.position(point.y)))
        })
        .collect();
    html! {
        g class={ "series-" (curve.series % SERIES) } {
            path class={ "curve dashes-" (curve.dashes % 4) } d=(path.concat()) {}
            @for point in &curve.points {
                @let x = across.position(point.x);
                @if let Some((low, high)) = point.interval {
                    line class="whisker" x1=(at(x)) x2=(at(x)) y1=(at(up.position(low))) y2=(at(up.position(high))) {}
                }
                // Of many points the line alone is drawn.
                @if curve.points.len() <= MARKED { (marker(curve.series, x, up.position(point.y), "point")) }
            }
        }
    }
}

/// Most points of a curve that have marks.
const MARKED: usize = 24;

fn marked(place: &Place, across: &Across, top: f64, bottom: f64) -> Markup {
    let x = across.position(place.at);
    html! {
        g class={ "series-" (place.series % SERIES) } {
            @if let Some((low, high)) = place.interval {
                @let (low, high) = (across.position(low), across.position(high));
                rect class="band" x=(at(low - 2.0)) y=(at(top)) width=(at(high - low + 4.0)) height=(at(bottom - top)) {}
            }
            line class="place" x1=(at(x)) x2=(at(x)) y1=(at(top)) y2=(at(bottom)) {}
        }
    }
}

fn legend_entry(curve: &Curve, left: f64, top: f64) -> Markup {
    html! {
        g class={ "series-" (curve.series % SERIES) } {
            path class={ "curve dashes-" (curve.dashes % 4) } d={ "M" (at(left)) " " (at(top)) "h26" } {}
            (marker(curve.series, left + 13.0, top, "point"))
            text class="label" x=(at(left + 32.0)) y=(at(top + 4.0)) { (curve.label) }
        }
    }
}

/// Entries of the legend with their left ends, row by row.
fn legend_rows(curves: &[Curve]) -> Vec<Vec<(f64, &Curve)>> {
    let mut rows: Vec<Vec<(f64, &Curve)>> = Vec::new();
    let mut left = LEFT;
    for curve in curves {
        let width = 32.0 + text_width(&curve.label) + 22.0;
        if rows.is_empty() || left + width > WIDTH {
            rows.push(Vec::new());
            left = LEFT;
        }
        if let Some(row) = rows.last_mut() {
            row.push((left, curve));
        }
        left += width;
    }
    rows
}

/// The horizontal scale.
struct Across {
    scale: Scale,
    logarithmic: bool,
}

impl Across {
    fn new(values: &[f64], logarithmic: bool) -> Self {
        let of = |value: f64| if logarithmic { value.ln() } else { value };
        let (low, high) = (values.first().copied().map_or(0.0, of), values.last().copied().map_or(1.0, of));
        // A single value stands in the middle.
        let margin = if high > low { 0.0 } else { 1.0 };
        Self { scale: Scale::new(low - margin, high + margin, LEFT + 12.0, WIDTH - RIGHT - 12.0), logarithmic }
    }

    fn position(&self, value: f64) -> f64 {
        self.scale.position(if self.logarithmic { value.ln() } else { value })
    }

    /// Ticks with their labels: names where there are some, the values themselves of a few levels, else round ones.
    /// A number that has no room is left out; a name goes down a row, since nothing else tells it.
    fn ticks(&self, values: &[f64], names: &[(f64, String)]) -> Vec<Tick> {
        let wanted: Vec<(f64, String)> = if !names.is_empty() {
            names.to_vec()
        } else if self.logarithmic && values.len() <= MARKED {
            values.iter().map(|value| (*value, number(*value))).collect()
        } else {
            let (low, high) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
            linear_ticks(low, high, 6)
                .into_iter()
                .filter(|tick| (low..=high).contains(tick))
                .map(|tick| (tick, number(tick)))
                .collect()
        };
        let mut kept: Vec<Tick> = Vec::new();
        let mut taken: Vec<f64> = Vec::new();
        for (value, label) in wanted {
            let (x, half) = (self.position(value), text_width(&label) / 2.0);
            let middle = x.min(WIDTH - half);
            let row = taken.iter().position(|end| middle - half > end + 4.0).unwrap_or(taken.len());
            if row > 0 && names.is_empty() {
                continue;
            }
            taken.resize(taken.len().max(row + 1), f64::NEG_INFINITY);
            taken[row] = middle + half;
            kept.push(Tick { x, middle, row, label });
        }
        kept
    }
}

/// A tick of the horizontal axis.
struct Tick {
    /// Where it is.
    x: f64,
    /// The middle of its label, which stays inside the figure.
    middle: f64,
    /// The label's row below the axis.
    row: usize,
    label: String,
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::min).unwrap_or(0.0)
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}
