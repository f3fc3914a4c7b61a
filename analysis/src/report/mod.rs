//! A summary for people: text, one HTML page, and tables.

mod analyses;
mod csv;
mod figures;
mod html;
mod llm_d;
mod markdown;
mod plots;
mod svg;
mod text;
mod versus;

pub use self::{
    analyses::{Mode, analyses_csv, analyses_json, analyses_markdown, analyses_text},
    csv::csv,
    html::{Sources, html},
    llm_d::{LlmDReport, llm_d_v0_2},
    markdown::markdown,
    plots::{Plot, PlotError, plots, write_plots},
    text::text,
};
use crate::{
    metrics::Measure,
    summary::{Cell, Contrast, Difference, Figures, MetricSummary, comparison},
};

/// A cell's metric.
fn metric_of(cell: &Cell, measure: Measure) -> Option<&MetricSummary> {
    cell.metrics.iter().find(|metric| metric.metric == measure)
}

/// A contrast's figures on one metric.
fn figures_of(contrast: &Contrast, measure: Measure) -> Option<&Figures> {
    contrast.effects.iter().find(|effect| effect.metric == measure)?.figures.as_ref()
}

/// A verdict in one word.
const fn verdict_name(verdict: Difference) -> &'static str {
    match verdict {
        Difference::Equivalent => "equivalent",
        Difference::Different => "different",
        Difference::Inconclusive => "inconclusive",
    }
}
