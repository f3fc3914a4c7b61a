//! The answers and one table a condition as Markdown, for an issue or a notebook.

use std::fmt::Write as _;

use super::{
    comparison, figures_of, metric_of, verdict_name,
    versus::{Style, versus},
};
use crate::{
    metrics::Measure,
    summary::{ConditionSummary, Summary, number, percent_interval},
};

/// A short report in Markdown.
#[must_use]
pub fn markdown(summary: &Summary) -> String {
    let mut out = String::new();
    for campaign in &summary.campaigns {
        let _ = writeln!(out, "# {}\n", campaign.name);
        if campaign.simulated {
            let _ = writeln!(out, "> **Simulated.** Nothing here was measured.\n");
        }
        let _ = writeln!(out, "**{}**\n", campaign.question);
        for answer in &campaign.answers {
            let _ = writeln!(out, "- {}", answer.text);
        }
        for experiment in &campaign.experiments {
            for condition in &experiment.conditions {
                let _ = writeln!(
                    out,
                    "\n## {}: {}\n\n{}; {}\n",
                    experiment.name, condition.name, condition.model, condition.load
                );
                write_condition(&mut out, condition);
            }
        }
    }
    out.push_str(&versus(summary, Style::Markdown));
    out
}

fn write_condition(out: &mut String, condition: &ConditionSummary) {
    let heads: Vec<String> = Measure::LEADING.iter().map(|measure| format!("{measure} ({})", measure.unit())).collect();
    let _ = writeln!(
        out,
        "| arm | router | n | {} |\n| --- | --- | ---: |{}",
        heads.join(" | "),
        " ---: |".repeat(heads.len())
    );
    for cell in &condition.cells {
        let values = Measure::LEADING.map(|measure| match metric_of(cell, measure).and_then(|metric| metric.median) {
            Some(median) => number(median),
            None => "–".to_owned(),
        });
        let _ = writeln!(out, "| {} | {} | {} | {} |", cell.name.arm, cell.name.router, cell.runs, values.join(" | "));
    }
    if !condition.contrasts.is_empty() {
        let _ = writeln!(out, "\n| comparison | metric | change, 95 % interval | verdict |\n| --- | --- | --- | --- |");
    }
    for contrast in &condition.contrasts {
        for measure in Measure::LEADING {
            let Some(figures) = figures_of(contrast, measure) else { continue };
            let _ = writeln!(
                out,
                "| {} | {measure} | {} | {} |",
                comparison(contrast),
                percent_interval(figures),
                verdict_name(figures.verdict)
            );
        }
    }
    for note in &condition.notes {
        let _ = writeln!(out, "\n> {}", note.text);
    }
}
