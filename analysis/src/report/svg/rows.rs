//! Cells as rows: a bar or a point at the median, a whisker for its interval, a dot for each run.

use maud::{Markup, html};

use super::{
    Heading, SERIES, WIDTH, at,
    axis::{Scale, linear_ticks},
    marks::marker,
    row_label, text_width,
};
use crate::summary::number;

const ROW: f64 = 26.0;
const HEAD: f64 = 26.0;
const AXIS: f64 = 42.0;
const RIGHT: f64 = 84.0;

/// How a median is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As a bar from zero: for amounts whose length is their meaning.
    Bar,
    /// As a point.
    Point,
}

/// A figure of rows.
pub struct RowFigure {
    /// Its name and description.
    pub heading: Heading,
    /// Unit of the axis.
    pub unit: String,
    /// How medians are drawn.
    pub mark: Mark,
    /// The rows, grouped by heading.
    pub groups: Vec<(String, Vec<Row>)>,
}

/// One row.
pub struct Row {
    /// Name at its left.
    pub label: String,
    /// Index of its series: colour and shape.
    pub series: usize,
    /// The median; absent draws the reason instead.
    pub median: Option<f64>,
    /// The median's interval.
    pub interval: Option<(f64, f64)>,
    /// Each run's value.
    pub values: Vec<f64>,
    /// What is written when there is no value.
    pub absent: Option<String>,
}

/// Draws the figure.
pub fn rows(figure: &RowFigure) -> Markup {
    let all = || figure.groups.iter().flat_map(|(_, rows)| rows);
    let numbers: Vec<f64> = all()
        .flat_map(|row| row.values.iter().copied().chain(row.interval.map(|interval| interval.1)))
        .filter(|value| value.is_finite())
        .collect();
    let highest = numbers.iter().copied().fold(0.0, f64::max);
    let ticks = linear_ticks(lowest_shown(figure.mark, &numbers), if highest > 0.0 { highest } else { 1.0 }, 4);
    let (start, end) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
    let left = all().map(|row| text_width(&row.label)).fold(40.0, f64::max).min(160.0) + 14.0;
    let scale = Scale::new(start, end, left, WIDTH - RIGHT);
    let body: f64 = figure.groups.iter().map(|(_, rows)| HEAD + ROW * rows.len() as f64).sum();
    let mut top = 0.0;
    let drawn = html! {
        @for tick in &ticks {
            @let x = at(scale.position(*tick));
            line class="grid" x1=(x) x2=(x) y1=(at(HEAD - 6.0)) y2=(at(body + 4.0)) {}
            text class="tick" x=(x) y=(at(body + 18.0)) text-anchor="middle" { (number(*tick)) }
        }
        @for (name, rows) in &figure.groups {
            text class="group" x="0" y=(at(top + 17.0)) { (name) }
            @for (position, row) in rows.iter().enumerate() {
                (one(row, &scale, figure.mark, top + HEAD + ROW * position as f64 + ROW / 2.0, left))
            }
            ({ top += HEAD + ROW * rows.len() as f64; "" })
        }
    };
    let begins =
        if start > 0.0 && end > start { format!(" · axis begins at {}", number(start)) } else { String::new() };
    let axis = format!("{}{begins}", figure.unit);
    figure.heading.around(body + AXIS, f64::midpoint(left, WIDTH - RIGHT), &axis, &drawn)
}

/// Where the axis begins. A bar's length is its meaning, so it begins at zero; points may begin nearer to the values,
/// where their differences can be seen.
fn lowest_shown(mark: Mark, numbers: &[f64]) -> f64 {
    let lowest = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = numbers.iter().copied().fold(0.0, f64::max);
    if mark == Mark::Bar || !lowest.is_finite() || lowest < 0.3 * highest { 0.0 } else { lowest }
}

fn one(row: &Row, scale: &Scale, mark: Mark, y: f64, left: f64) -> Markup {
    let zero = scale.start();
    html! {
        g class={ "series-" (row.series % SERIES) } {
            (row_label(&row.label, left - 10.0, y))
            @match row.median {
                Some(median) => {
                    @let x = scale.position(median);
                    @if mark == Mark::Bar {
                        rect class="bar" x=(at(zero)) y=(at(y - 8.0)) width=(at(x - zero)) height="16" rx="1.5" {}
                    }
                    @if let Some((low, high)) = row.interval {
                        (whisker(scale.position(low), scale.position(high), y))
                    }
                    @for (index, value) in row.values.iter().enumerate() {
                        circle class="run" cx=(at(scale.position(*value))) cy=(at(y + spread(index))) r="2" {}
                    }
                    @if mark == Mark::Point {
                        (marker(row.series, x, y, "point"))
                    }
                    text class="value" x=(at(WIDTH)) y=(at(y + 4.0)) text-anchor="end" { (number(median)) }
                }
                None => {
                    text class="absent" x=(at(zero + 6.0)) y=(at(y + 4.0)) {
                        (row.absent.as_deref().unwrap_or("no valid run"))
                    }
                }
            }
        }
    }
}

fn whisker(low: f64, high: f64, y: f64) -> Markup {
    let (low, high) = (at(low), at(high));
    let path = format!("M{low} {0}V{1}M{low} {2}H{high}M{high} {0}V{1}", at(y - 5.0), at(y + 5.0), at(y));
    html! { path class="whisker" d=(path) {} }
}

/// Runs are drawn a little apart, so that equal values stay countable: always the same way, by their order.
fn spread(index: usize) -> f64 {
    [0.0, 4.0, -4.0, 2.0, -2.0, 5.5, -5.5][index % 7]
}
