//! Two campaigns against each other: what changed around them, and what that changed in the figures.

use maud::{Markup, html};

use super::{
    answer::tone,
    table::{Column, Field, table},
};
use crate::{
    metrics::Measure,
    report::{
        verdict_name,
        versus::{ratio, title},
    },
    summary::{Changed, ChangedEffect, Summary, Versus, percent_interval},
};

/// A section for each comparison; nothing where there is one campaign.
pub fn sections(summary: &Summary) -> Markup {
    html! {
        @for (index, versus) in summary.versus.iter().enumerate() {
            section class="versus" aria-labelledby={ "versus-" (index) } {
                h2 id={ "versus-" (index) } { (title(summary, versus))
                    @if summary.simulated { " " span class="tag" { "simulated" } } }
                p class="small" {
                    "Later against earlier, in the order in which they were given. Runs of two campaigns are never pairs: \
                    ratios are unpaired, by Welch's method over blocks (over boots, where several blocks share one), with the wider \
                    interval. An effect's change compares the means over blocks of either campaign. Whatever else changed in \
                    between is part of both."
                }
                @if !versus.cautions.is_empty() || !versus.not_compared.is_empty() {
                    ul class="notes" { @for reason in versus.cautions.iter().chain(&versus.not_compared) { li { (reason) } } }
                }
                (changes("What changed in the machines and engines", &versus.environment))
                (changes("What changed in the campaign", &versus.settings))
                (cells(versus))
                (effects(&versus.effects))
            }
        }
    }
}

fn changes(caption: &str, changed: &[Changed]) -> Markup {
    if changed.is_empty() {
        return html! { p { (caption) ": nothing that is known." } };
    }
    let columns = [Column::text("what"), Column::text("arm"), Column::text("earlier"), Column::text("later")];
    let optional = |value: &Option<String>| value.as_ref().map_or_else(Field::none, Field::text);
    let rows: Vec<Vec<Field>> = changed
        .iter()
        .map(|Changed { name, arm, before, after }| {
            vec![Field::text(name), optional(arm), optional(before), optional(after)]
        })
        .collect();
    table(caption, &columns, &rows)
}

fn cells(versus: &Versus) -> Markup {
    let columns = [
        Column::text("condition"),
        Column::text("arm and router"),
        Column::text("metric"),
        Column::number("change, 95 % interval"),
        Column::number("n"),
        Column::text("verdict"),
    ];
    let shown = [Measure::LEADING.as_slice(), &[Measure::JoulesPerOutputToken]].concat();
    let mut rows = Vec::new();
    for condition in &versus.conditions {
        for cell in &condition.cells {
            for effect in cell.effects.iter().filter(|effect| shown.contains(&effect.metric)) {
                let Some(figures) = &effect.figures else { continue };
                rows.push(vec![
                    Field::text(format!("{}, {}", condition.experiment, condition.name)),
                    Field::text(cell.name.to_string()),
                    Field::text(effect.metric.title()),
                    Field {
                        shown: html! { (percent_interval(figures)) },
                        sorted_by: Some(figures.change_percent.to_string()),
                    },
                    Field::number(f64::from(figures.n), &figures.n.to_string()),
                    Field {
                        shown: html! {
                            span class={ "verdict " (tone(effect.metric, figures)) } { (verdict_name(figures.verdict)) }
                        },
                        sorted_by: Some(verdict_name(figures.verdict).to_owned()),
                    },
                ]);
            }
        }
    }
    html! { @if !rows.is_empty() { (table("What changed in the figures", &columns, &rows)) } }
}

fn effects(effects: &[ChangedEffect]) -> Markup {
    if effects.is_empty() {
        return html! {};
    }
    let columns = [
        Column::text("condition"),
        Column::text("comparison"),
        Column::text("metric"),
        Column::number("effect then"),
        Column::number("effect now"),
        Column::number("change of the effect"),
        Column::text("verdict"),
    ];
    let rows: Vec<Vec<Field>> = effects
        .iter()
        .map(|effect| {
            let field = |value: f64, interval| Field {
                shown: html! { (ratio(value, interval)) },
                sorted_by: Some(value.to_string()),
            };
            vec![
                Field::text(format!("{}, {}", effect.experiment, effect.condition)),
                Field::text(format!("{} / {}", effect.numerator, effect.denominator)),
                Field::text(effect.metric.title()),
                field(effect.before.0, effect.before.1),
                field(effect.after.0, effect.after.1),
                field(effect.change, effect.interval),
                Field::text(verdict_name(effect.verdict)),
            ]
        })
        .collect();
    table("How the effects themselves changed", &columns, &rows)
}
