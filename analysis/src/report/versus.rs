//! Two campaigns against each other, for text and Markdown.

use std::fmt::Write as _;

use super::verdict_name;
use crate::{
    metrics::Measure,
    summary::{Bounds, Changed, ChangedEffect, Summary, Versus, VersusCell, percent_interval, signed_percent},
};

/// How a comparison is written down: as a plain list or as Markdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For a terminal.
    Text,
    /// For an issue or a notebook.
    Markdown,
}

/// All comparisons of a summary; empty where there is one campaign.
pub fn versus(summary: &Summary, style: Style) -> String {
    summary.versus.iter().map(|versus| one(summary, versus, style)).collect()
}

fn one(summary: &Summary, versus: &Versus, style: Style) -> String {
    let (heading, item) = match style {
        Style::Text => ("", "  "),
        Style::Markdown => ("# ", "- "),
    };
    let mut out = format!("\n{heading}{}\n", title(summary, versus));
    if style == Style::Markdown {
        out.push('\n');
    }
    for changed in versus.environment.iter().chain(&versus.settings) {
        let _ = writeln!(out, "{item}{}", change(changed));
    }
    if versus.environment.is_empty() {
        let _ = writeln!(out, "{item}no property that the servers reported changed");
    }
    for condition in &versus.conditions {
        let _ = writeln!(out, "{item}{}, {}:", condition.experiment, condition.name);
        for cell in &condition.cells {
            let _ = writeln!(out, "  {item}{}: {}", cell.name, effects(cell).join("; "));
        }
    }
    for effect in &versus.effects {
        let _ = writeln!(out, "{item}{}", changed_effect(effect));
    }
    for caution in &versus.cautions {
        let _ = writeln!(out, "{item}caution: {caution}");
    }
    for reason in &versus.not_compared {
        let _ = writeln!(out, "{item}not compared: {reason}");
    }
    out
}

/// What is compared with what.
pub fn title(summary: &Summary, versus: &Versus) -> String {
    let name = |index: usize| {
        summary.campaigns.get(index).map_or("?".to_owned(), |campaign| {
            let day = campaign.started_at.as_deref().and_then(|at| at.get(..10)).unwrap_or("no run");
            let label = campaign.sources.first().map_or(campaign.name.as_str(), |source| source.label.as_str());
            if label == campaign.name {
                format!("{label} ({day})")
            } else {
                format!("{} in {label} ({day})", campaign.name)
            }
        })
    };
    format!("{} against {}", name(versus.later), name(versus.earlier))
}

/// A property or setting that changed, in words.
pub fn change(Changed { name, arm, before, after }: &Changed) -> String {
    let arm = arm.as_ref().map(|arm| format!(" of {arm}")).unwrap_or_default();
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not there".to_owned());
    format!("{name}{arm}: {} → {}", shown(before), shown(after))
}

fn effects(cell: &VersusCell) -> Vec<String> {
    let leading = cell.effects.iter().filter(|effect| Measure::LEADING.contains(&effect.metric));
    leading
        .filter_map(|effect| {
            let figures = effect.figures.as_ref()?;
            Some(format!("{} {} ({})", effect.metric, percent_interval(figures), verdict_name(figures.verdict)))
        })
        .collect()
}

/// How an effect changed, in a line.
fn changed_effect(effect: &ChangedEffect) -> String {
    let ChangedEffect {
        experiment, condition, numerator, denominator, metric, before, after, change, interval, ..
    } = effect;
    format!(
        "{experiment}, {condition}: {numerator} against {denominator}, {metric}: {} then, {} now; change {}",
        ratio(before.0, before.1),
        ratio(after.0, after.1),
        ratio(*change, *interval)
    )
}

/// A ratio as a change in percent with its interval.
pub fn ratio(value: f64, interval: Option<Bounds>) -> String {
    let percent = |ratio: f64| signed_percent(100.0 * (ratio - 1.0));
    match interval {
        Some(bounds) => format!("{} [{}, {}]", percent(value), percent(bounds.low), percent(bounds.high)),
        None => percent(value),
    }
}
