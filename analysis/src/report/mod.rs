//! A summary for people: text, one HTML page, and tables.

mod csv;
mod html;
mod markdown;
mod svg;
mod text;

pub use self::{
    csv::csv,
    html::{Links, html},
    markdown::markdown,
    text::text,
};
use crate::{
    metrics::Measure,
    summary::{Cell, Contrast, ContrastKind, Difference, Figures, MetricSummary},
};

/// A cell's metric.
fn metric_of(cell: &Cell, measure: Measure) -> Option<&MetricSummary> {
    cell.metrics.iter().find(|metric| metric.metric == measure)
}

/// A contrast's figures on one metric.
fn figures_of(contrast: &Contrast, measure: Measure) -> Option<&Figures> {
    contrast.effects.iter().find(|effect| effect.metric == measure)?.figures.as_ref()
}

/// What a contrast compares, in a few words.
fn contrast_name(contrast: &Contrast) -> String {
    let Contrast { numerator, denominator, .. } = contrast;
    match contrast.kind {
        ContrastKind::Arms => format!("{} / {}, {}", numerator.arm, denominator.arm, numerator.router),
        ContrastKind::Routers => format!("{} / {}, {}", numerator.router, denominator.router, numerator.arm),
        ContrastKind::WinBack => {
            format!("{} {} / {} {}", numerator.arm, numerator.router, denominator.arm, denominator.router)
        }
    }
}

/// A verdict in one word.
const fn verdict_name(verdict: Difference) -> &'static str {
    match verdict {
        Difference::Equivalent => "equivalent",
        Difference::Different => "different",
        Difference::Inconclusive => "inconclusive",
    }
}
