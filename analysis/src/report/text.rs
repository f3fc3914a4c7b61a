//! The report for a terminal, with small bars.

use std::fmt::Write as _;

use super::{
    comparison, figures_of, metric_of, verdict_name,
    versus::{Style, ratio, versus},
};
use crate::{
    metrics::Measure,
    summary::{
        CampaignSummary, Cell, ConditionSummary, ExperimentSummary, MetricSummary, Summary, headline_text, number,
        percent_interval,
    },
};

/// Width of the longest bar in characters.
const BAR: usize = 24;

/// Eighths of a block, by how many.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// The whole report as plain text.
#[must_use]
pub fn text(summary: &Summary) -> String {
    let mut out = headline_text(summary);
    for campaign in &summary.campaigns {
        for note in &campaign.notes {
            let _ = writeln!(out, "  ! {}", note.text);
        }
        for experiment in &campaign.experiments {
            for condition in &experiment.conditions {
                write_condition(&mut out, campaign, &experiment.name, condition);
            }
            write_sweeps(&mut out, experiment);
        }
    }
    out.push_str(&versus(summary, Style::Text));
    out
}

fn write_condition(out: &mut String, campaign: &CampaignSummary, experiment: &str, condition: &ConditionSummary) {
    let mark = if campaign.simulated { "  (simulated)" } else { "" };
    let _ = writeln!(out, "\n{experiment} · {}{mark}\n  {}; {}", condition.name, condition.model, condition.load);
    let label_width = condition.cells.iter().map(|cell| label(cell).chars().count()).max().unwrap_or(0);
    for measure in Measure::LEADING {
        let metrics: Vec<(&Cell, &MetricSummary)> =
            condition.cells.iter().filter_map(|cell| Some((cell, metric_of(cell, measure)?))).collect();
        let largest = metrics.iter().filter_map(|(_, metric)| metric.median).fold(0.0, f64::max);
        if largest <= 0.0 {
            continue;
        }
        let _ = writeln!(out, "  {measure} ({}), median over runs and its interval", measure.unit());
        for (cell, metric) in metrics {
            let Some(median) = metric.median else { continue };
            let interval = metric
                .interval
                .map(|bounds| format!(" [{}, {}]", number(bounds.low), number(bounds.high)))
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "    {:label_width$}  {}  {}{interval}  n={}",
                label(cell),
                bar(median / largest),
                number(median),
                metric.n
            );
        }
    }
    write_effects(out, condition);
    for note in &condition.notes {
        let _ = writeln!(out, "  ! {}", note.text);
    }
}

fn write_effects(out: &mut String, condition: &ConditionSummary) {
    if condition.contrasts.is_empty() {
        return;
    }
    let width = condition.contrasts.iter().map(|contrast| comparison(contrast).chars().count()).max().unwrap_or(0);
    let _ = writeln!(out, "  change with its 95 % interval");
    for contrast in &condition.contrasts {
        let mut name = comparison(contrast);
        for measure in Measure::LEADING {
            let Some(figures) = figures_of(contrast, measure) else { continue };
            let p = figures.p.map(|p| format!(", p = {}", number(p))).unwrap_or_default();
            let pairing = if contrast.paired { "" } else { ", unpaired" };
            let _ = writeln!(
                out,
                "    {name:width$}  {:20} {}  {}{p}, n = {}{pairing}",
                measure.title(),
                percent_interval(figures),
                verdict_name(figures.verdict),
                figures.n
            );
            name.clear();
        }
    }
}

fn label(cell: &Cell) -> String {
    format!("{} {}", cell.name.arm, cell.name.router)
}

/// A bar of a share of the full width, to an eighth of a character, padded to that width.
fn bar(share: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    format!("{bar:BAR$}")
}

/// Knees and choices.
fn write_sweeps(out: &mut String, ExperimentSummary { name, knees, knee_contrasts, choices, .. }: &ExperimentSummary) {
    for knee in knees {
        let interval = knee.interval.map(|bounds| format!(" [{}, {}]", bounds.low, bounds.high)).unwrap_or_default();
        let end = if knee.bracketed { "" } else { ", the end of the sweep" };
        let _ = writeln!(
            out,
            "  {name} · {}, {}: knee at {}{interval} in flight{end}, {} tok/s",
            knee.model,
            knee.name,
            number(knee.concurrency),
            number(knee.output_throughput)
        );
    }
    for contrast in knee_contrasts {
        let equal = contrast.at_equal_load.map_or_else(String::new, |(value, interval)| {
            format!(", at {} in flight {}", number(contrast.equal_load), ratio(value, interval))
        });
        let _ = writeln!(
            out,
            "  {name} · {}, {} / {}, {}: output throughput {} each at its knee{equal}",
            contrast.model,
            contrast.numerator,
            contrast.denominator,
            contrast.router,
            ratio(contrast.ratio, contrast.interval)
        );
    }
    for choice in choices {
        let _ = writeln!(out, "  {name} · {}, {}: max-num-seqs {}", choice.model, choice.name, choice.max_num_seqs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(1.0), "█".repeat(BAR));
        assert_eq!(bar(0.5).trim_end().chars().count(), BAR / 2);
        assert_eq!(bar(0.0).trim_end(), "");
    }
}
