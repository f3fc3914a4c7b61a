//! The answer in a few lines, for the end of a campaign on a terminal.

use std::fmt::Write as _;

use super::{
    CampaignSummary, CellName, ConditionSummary, Contrast, ContrastKind, Difference, ExperimentSummary, Summary,
    ValidityCounts, answers::headline_condition, format::percent_interval,
};
use crate::metrics::Measure;

/// What a campaign found, in a few lines of plain text.
#[must_use]
pub fn headline_text(summary: &Summary) -> String {
    let mut text = String::new();
    for campaign in &summary.campaigns {
        let CampaignSummary { name, simulated, question, answers, validity, experiments, headline, .. } = campaign;
        let mark = if *simulated { " (SIMULATED, nothing was measured)" } else { "" };
        let _ = writeln!(text, "{name}{mark}: {}", validity_line(validity));
        let _ = writeln!(text, "{question}");
        match headline_condition(headline.as_deref(), experiments) {
            Some((experiment, condition)) => write_table(&mut text, campaign, experiment, condition),
            None => answers.iter().for_each(|answer| text.push_str(&format!("  {}\n", answer.text))),
        }
    }
    text
}

/// The effects of the headline's condition: a row for each comparison, a column for each leading metric.
fn write_table(
    text: &mut String,
    campaign: &CampaignSummary,
    experiment: &ExperimentSummary,
    condition: &ConditionSummary,
) {
    let baseline = campaign.baseline_router.as_deref();
    let contrasts: Vec<&Contrast> = condition
        .contrasts
        .iter()
        .filter(|contrast| {
            contrast.kind != ContrastKind::Arms || baseline.is_none_or(|router| contrast.numerator.router == router)
        })
        .collect();
    let shown = contrasts.iter().flat_map(|contrast| &contrast.effects);
    let shown = shown.filter(|effect| Measure::LEADING.contains(&effect.metric));
    let n = shown.filter_map(|effect| effect.figures.as_ref()).map(|figures| figures.n).min().unwrap_or(0);
    let _ = writeln!(text, "{}, {}: changes with their 95 % intervals, n = {n}", experiment.name, condition.name);
    let mut rows = vec![head()];
    rows.extend(contrasts.iter().map(|contrast| row(contrast)));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let marked = |mark: &str| rows.iter().flatten().any(|cell| cell.ends_with(mark));
    if marked(UNDECIDED) {
        let _ = writeln!(text, "  {UNDECIDED}: neither a difference nor its absence is shown");
    }
    if marked(EQUAL) {
        let _ = writeln!(text, "  {EQUAL}: equal within {:.0} %", 100.0 * campaign.equivalence_margin);
    }
    if condition.cells.iter().any(|cell| cell.overloaded_runs > 0) {
        let _ = writeln!(text, "  overload: arrivals outran completions, so latencies grow with the length of the run");
    }
}

const UNDECIDED: &str = " ?";
const EQUAL: &str = " =";

fn head() -> Vec<String> {
    std::iter::once(String::new())
        .chain(Measure::LEADING.into_iter().map(|measure| measure.title().to_owned()))
        .collect()
}

fn row(contrast: &Contrast) -> Vec<String> {
    let effects = Measure::LEADING.into_iter().map(|measure| {
        let effect = contrast.effects.iter().find(|effect| effect.metric == measure);
        effect.and_then(|effect| effect.figures.as_ref()).map_or_else(
            || "–".to_owned(),
            |figures| {
                let mark = match figures.verdict {
                    Difference::Different => "",
                    Difference::Inconclusive => UNDECIDED,
                    Difference::Equivalent => EQUAL,
                };
                format!("{}{mark}", percent_interval(figures))
            },
        )
    });
    std::iter::once(comparison(contrast)).chain(effects).collect()
}

/// What is compared, and in which direction: the first against the second.
#[must_use]
pub fn comparison(contrast: &Contrast) -> String {
    let Contrast { kind, numerator, denominator, paired, .. } = contrast;
    let CellName { arm: top_arm, router: top_router } = numerator;
    let CellName { arm: bottom_arm, router: bottom_router } = denominator;
    let names = match kind {
        ContrastKind::Arms => format!("{top_arm} / {bottom_arm}, {top_router}"),
        ContrastKind::Routers => format!("{top_router} / {bottom_router}, {top_arm}"),
        ContrastKind::WinBack => format!("{top_arm} {top_router} / {bottom_arm} {bottom_router}"),
    };
    if *paired { names } else { format!("{names} (not interleaved)") }
}

/// What came of all attempts, in a line.
pub fn validity_line(validity: &ValidityCounts) -> String {
    let ValidityCounts {
        planned,
        valid,
        inconclusive,
        failed,
        interrupted,
        unusable,
        uncommitted,
        superseded,
        reasons,
    } = validity;
    let others: Vec<String> = [
        (inconclusive, "inconclusive"),
        (failed, "failed"),
        (interrupted, "interrupted"),
        (unusable, "unusable"),
        (uncommitted, "not committed"),
        (superseded, "replaced by a later attempt"),
    ]
    .into_iter()
    .filter(|(count, _)| **count > 0)
    .map(|(count, name)| format!("{count} {name}"))
    .collect();
    let mut line = format!("{valid} of {planned} planned runs valid");
    if !others.is_empty() {
        let _ = write!(line, "; attempts that do not count: {}", others.join(", "));
    }
    if !reasons.is_empty() {
        let reasons: Vec<String> = reasons.iter().map(|reason| format!("{} {}", reason.count, reason.code)).collect();
        let _ = write!(line, " ({})", reasons.join(", "));
    }
    line
}
