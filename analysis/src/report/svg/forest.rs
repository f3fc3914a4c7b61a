//! Ratios as a forest: one row a comparison, on a logarithmic axis, with the margin within which ratios count as equal.

use maud::{Markup, html};

use super::{
    Heading, WIDTH, at,
    axis::{Scale, ratio_ticks},
    row_label, text_width,
};
use crate::{metrics::Direction, summary::Difference};

const ROW: f64 = 24.0;
const HEAD: f64 = 26.0;
const AXIS: f64 = 42.0;
const RIGHT: f64 = 176.0;
/// Most room for names: what is left for the axis is a fifth of the figure.
const MOST_LEFT: f64 = 250.0;

/// Beyond this an interval is cut off at the edge: one wild comparison must not squeeze all others to a line.
const WIDEST: f64 = 2.4;

/// One comparison on one metric.
pub struct Comparison {
    /// Name at the left.
    pub label: String,
    /// Ratio and its interval.
    pub ratio: f64,
    /// The ratio's interval.
    pub interval: Option<(f64, f64)>,
    /// What can be said.
    pub verdict: Difference,
    /// Which way is better.
    pub direction: Direction,
    /// What is written at the right.
    pub text: String,
}

/// A figure of comparisons.
pub struct ForestFigure {
    /// Its name and description.
    pub heading: Heading,
    /// How far from 1 ratios count as equal.
    pub margin: f64,
    /// The comparisons, grouped by heading.
    pub groups: Vec<(String, Vec<Comparison>)>,
}

/// Draws groups of comparisons.
pub fn forest(figure: &ForestFigure) -> Markup {
    let ForestFigure { heading, margin, groups } = figure;
    let all = || groups.iter().flat_map(|(_, comparisons)| comparisons);
    let reach = all()
        .flat_map(|row| {
            let ends = row.interval.unwrap_or((row.ratio, row.ratio));
            [ends.0.ln().abs().min(WIDEST), ends.1.ln().abs().min(WIDEST), row.ratio.ln().abs() * 1.05]
        })
        .filter(|reach| reach.is_finite())
        .fold((1.0 + 2.0 * margin).ln(), f64::max)
        * 1.06;
    let left = all().map(|row| text_width(&row.label)).fold(60.0, f64::max).min(MOST_LEFT) + 14.0;
    let scale = Scale::new(-reach, reach, left, WIDTH - RIGHT);
    let body: f64 = groups.iter().map(|(_, rows)| HEAD + ROW * rows.len() as f64).sum();
    let (low_margin, high_margin) = (scale.position((1.0 - margin).ln()), scale.position((1.0 + margin).ln()));
    let none = at(scale.position(0.0));
    let mut top = 0.0;
    let drawn = html! {
        rect class="margin" x=(at(low_margin)) y=(at(HEAD - 6.0)) width=(at(high_margin - low_margin))
            height=(at(body - HEAD + 10.0)) {}
        @for (ratio, label) in ratio_ticks(&scale, (-reach).exp(), reach.exp(), 58.0) {
            @let x = at(scale.position(ratio.ln()));
            line class="grid" x1=(x) x2=(x) y1=(at(HEAD - 6.0)) y2=(at(body + 4.0)) {}
            text class="tick" x=(x) y=(at(body + 18.0)) text-anchor="middle" { (label) }
        }
        line class="zero" x1=(none) x2=(none) y1=(at(HEAD - 6.0)) y2=(at(body + 4.0)) {}
        @for (name, comparisons) in groups {
            text class="group" x="0" y=(at(top + 17.0)) { (name) }
            @for (position, row) in comparisons.iter().enumerate() {
                (one(row, &scale, top + HEAD + ROW * position as f64 + ROW / 2.0, left))
            }
            ({ top += HEAD + ROW * comparisons.len() as f64; "" })
        }
    };
    let middle = f64::midpoint(left, WIDTH - RIGHT);
    heading.around(body + AXIS, middle, "change, ratios on a logarithmic axis", &drawn)
}

fn one(row: &Comparison, scale: &Scale, y: f64, left: f64) -> Markup {
    let x = scale.position(row.ratio.ln());
    html! {
        g class={ "effect " (tone(row)) } {
            (row_label(&row.label, left - 10.0, y))
            @if let Some((low, high)) = row.interval {
                line class="range" x1=(at(scale.position(low.ln()))) x2=(at(scale.position(high.ln()))) y1=(at(y)) y2=(at(y)) {}
            }
            @match row.verdict {
                Difference::Different => { circle class="solid" cx=(at(x)) cy=(at(y)) r="5" {} }
                Difference::Equivalent => {
                    rect class="solid" x=(at(x - 4.5)) y=(at(y - 4.5)) width="9" height="9" {}
                }
                Difference::Inconclusive => { circle class="hollow" cx=(at(x)) cy=(at(y)) r="4.5" {} }
            }
            text class="value" x=(at(WIDTH)) y=(at(y + 4.0)) text-anchor="end" { (row.text) }
        }
    }
}

/// Whether the change is good, bad, or not to be judged: the colour of a row.
fn tone(row: &Comparison) -> &'static str {
    let grows = row.ratio > 1.0;
    match (row.verdict, row.direction) {
        (Difference::Different, Direction::Higher) => {
            if grows {
                "better"
            } else {
                "worse"
            }
        }
        (Difference::Different, Direction::Lower) => {
            if grows {
                "worse"
            } else {
                "better"
            }
        }
        _ => "neutral",
    }
}
