//! One experiment: its figures, then each condition's tables.

use maud::{Markup, html};

use super::{
    answer::tone,
    figures, sweeps,
    table::{Column, Field, csv_link, table},
};
use crate::{
    metrics::Measure,
    report::{comparison, csv, figures::Context, metric_of, verdict_name},
    summary::{
        CampaignSummary, Cell, ConditionSummary, Contrast, CostChange, EffectSummary, ExperimentSummary, Figures,
        amount, number, percent_interval, signed_percent,
    },
};

/// The section of an experiment.
pub fn section(context: Context<'_>) -> Markup {
    let Context { id, campaign, experiment, boards: _ } = context;
    html! {
        section class="experiment" id=(id) {
            h2 { (experiment.name) @if campaign.simulated { " " span class="tag" { "simulated" } } }
            @if experiment.conditions.is_empty() { p { "No condition was planned." } }
            (figures::grid(context))
            (sweeps::tables(experiment))
            @for (position, condition) in experiment.conditions.iter().enumerate() {
                @let id = format!("{id}-{position}");
                @if experiment.conditions.len() > MOST_OPEN {
                    details {
                        summary { (condition.name) ": tables" }
                        (condition_section(&id, campaign, experiment, condition))
                    }
                } @else {
                    (condition_section(&id, campaign, experiment, condition))
                }
            }
        }
    }
}

/// Most conditions whose tables stand open: of a long sweep the figures are read, and on paper only they are printed.
const MOST_OPEN: usize = 4;

fn condition_section(
    id: &str,
    campaign: &CampaignSummary,
    experiment: &ExperimentSummary,
    condition: &ConditionSummary,
) -> Markup {
    html! {
        section class="condition" id=(id) {
            h3 { (condition.name) }
            p class="meta" { span { (condition.model) } span { (condition.load) } }
            @if !condition.notes.is_empty() {
                ul class="notes" { @for note in &condition.notes { li { (note.text) } } }
            }
            (metrics_table(campaign, condition))
            @if condition.contrasts.is_empty() {
                p { "There is nothing to compare here." }
            } @else {
                (effects_table("Changes that lead", experiment, condition, |effect| Measure::LEADING.contains(&effect.metric)))
                details {
                    summary { "All metrics compared" }
                    (effects_table("All changes", experiment, condition, |_| true))
                    (csv_link(
                        &format!("{}-{}-effects.csv", experiment.name, condition.slug),
                        &format!("{}: all changes as CSV", condition.name),
                        &csv::write(&effect_rows(condition)),
                    ))
                }
            }
            (money_table(condition))
        }
    }
}

fn metrics_table(campaign: &CampaignSummary, condition: &ConditionSummary) -> Markup {
    let shown: Vec<Measure> = Measure::ALL
        .into_iter()
        .filter(|measure| {
            condition.cells.iter().any(|cell| metric_of(cell, *measure).is_some_and(|metric| metric.median.is_some()))
        })
        .collect();
    let mut columns = vec![Column::text("metric")];
    columns.extend(
        condition
            .cells
            .iter()
            .map(|cell| Column::number(format!("{} {}, n = {}", cell.name.arm, cell.name.router, cell.runs))),
    );
    let rows: Vec<Vec<Field>> = shown
        .into_iter()
        .map(|measure| {
            let shown = html! { (measure) " " span class="unit" { (measure.unit()) } };
            let mut row = vec![Field { shown, sorted_by: Some(measure.title().to_owned()) }];
            row.extend(condition.cells.iter().map(|cell| median_field(cell, measure)));
            row
        })
        .collect();
    let mark = if campaign.simulated { " (simulated)" } else { "" };
    table(&format!("Medians over runs with their intervals{mark}"), &columns, &rows)
}

fn median_field(cell: &Cell, measure: Measure) -> Field {
    let Some(metric) = metric_of(cell, measure) else { return Field::none() };
    let Some(median) = metric.median else { return Field::none() };
    let shown = html! {
        (number(median))
        @if let Some(bounds) = metric.interval {
            span class="bounds" { "[" (number(bounds.low)) ", " (number(bounds.high)) "]" }
        }
        @if metric.n < cell.runs { " " span class="faint" { "n = " (metric.n) } }
    };
    Field { shown, sorted_by: Some(median.to_string()) }
}

fn effects_table(
    caption: &str,
    experiment: &ExperimentSummary,
    condition: &ConditionSummary,
    show: impl Fn(&EffectSummary) -> bool,
) -> Markup {
    let columns = [
        Column::text("comparison"),
        Column::text("metric"),
        Column::number("change, 95 % interval"),
        Column::number("n"),
        Column::number("p"),
        Column::number("Holm p"),
        Column::number("equivalence p"),
        Column::number("Cliff's δ"),
        Column::text("verdict"),
    ];
    let rows: Vec<Vec<Field>> = condition
        .contrasts
        .iter()
        .flat_map(|contrast| {
            contrast.effects.iter().filter(|effect| show(effect)).map(move |effect| (contrast, effect))
        })
        .map(|(contrast, effect)| effect_fields(contrast, effect))
        .collect();
    let family = match experiment.primary_family {
        1 => "1 comparison in the primary family (★); all others exploratory".to_owned(),
        size => format!("{size} comparisons in the primary family (★); all others exploratory"),
    };
    table(&format!("{caption}: {family}"), &columns, &rows)
}

fn effect_fields(contrast: &Contrast, effect: &EffectSummary) -> Vec<Field> {
    let name = format!("{}{}", if effect.primary { "★ " } else { "" }, comparison(contrast));
    let mut row = vec![Field::text(name), Field::text(effect.metric.title())];
    let Some(figures) = &effect.figures else {
        row.push(Field::text(effect.absent.as_deref().unwrap_or("absent")));
        row.extend((0..6).map(|_| Field::none()));
        return row;
    };
    let Figures { n, p, least_p, holm_p, equivalence_p, cliffs_delta, verdict, change_percent, .. } = figures;
    let optional = |value: &Option<f64>| value.map_or_else(Field::none, |value| Field::number(value, &number(value)));
    let p_shown = match (p, least_p) {
        (Some(p), Some(least)) if p <= least => format!("{} (least)", number(*p)),
        (Some(p), _) => number(*p),
        (None, _) => "–".to_owned(),
    };
    row.extend([
        Field { shown: html! { (percent_interval(figures)) }, sorted_by: Some(change_percent.to_string()) },
        Field::number(f64::from(*n), &n.to_string()),
        p.map_or_else(Field::none, |p| Field::number(p, &p_shown)),
        optional(holm_p),
        optional(equivalence_p),
        Field::number(*cliffs_delta, &number(*cliffs_delta)),
        Field {
            shown: html! { span class={ "verdict " (tone(effect.metric, figures)) } { (verdict_name(*verdict)) } },
            sorted_by: Some(verdict_name(*verdict).to_owned()),
        },
    ]);
    row
}

/// The numbers of all comparisons, in full.
fn effect_rows(condition: &ConditionSummary) -> Vec<Vec<String>> {
    let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let header = [
        "comparison",
        "paired",
        "metric",
        "primary",
        "n",
        "ratio",
        "low",
        "high",
        "bootstrap_low",
        "bootstrap_high",
        "p",
        "least_p",
        "holm_p",
        "equivalence_p",
        "cliffs_delta",
        "verdict",
        "absent",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for contrast in &condition.contrasts {
        for effect in &contrast.effects {
            let figures = effect.figures.as_ref();
            let of = |read: fn(&Figures) -> Option<f64>| text(figures.and_then(read));
            rows.push(vec![
                comparison(contrast),
                contrast.paired.to_string(),
                effect.metric.key().to_owned(),
                effect.primary.to_string(),
                figures.map(|figures| figures.n.to_string()).unwrap_or_default(),
                of(|figures| Some(figures.ratio)),
                of(|figures| figures.interval.map(|bounds| bounds.low)),
                of(|figures| figures.interval.map(|bounds| bounds.high)),
                of(|figures| figures.bootstrap.map(|bounds| bounds.low)),
                of(|figures| figures.bootstrap.map(|bounds| bounds.high)),
                of(|figures| figures.p),
                of(|figures| figures.least_p),
                of(|figures| figures.holm_p),
                of(|figures| figures.equivalence_p),
                of(|figures| Some(figures.cliffs_delta)),
                figures.map(|figures| verdict_name(figures.verdict).to_owned()).unwrap_or_default(),
                effect.absent.clone().unwrap_or_default(),
            ]);
        }
    }
    rows
}

fn money_table(condition: &ConditionSummary) -> Markup {
    let priced: Vec<_> = condition.cells.iter().filter_map(|cell| Some((cell, cell.money.as_ref()?))).collect();
    let changes: Vec<(&Contrast, CostChange)> =
        condition.contrasts.iter().filter_map(|contrast| Some((contrast, contrast.cost?))).collect();
    if priced.is_empty() {
        return html! {};
    }
    let columns = [
        Column::text("arm"),
        Column::text("router"),
        Column::number("machines, an hour"),
        Column::number("1M output tokens"),
        Column::number("1M tokens in and out"),
        Column::number("1k requests"),
        Column::number("windows measured"),
        Column::number("energy, 1M output tokens"),
        Column::text("price from"),
    ];
    let cost = |cost: &Option<crate::summary::Cost>, currency: &str| match cost {
        Some(cost) => Field {
            shown: html! {
                (amount(cost.median)) " " (currency)
                @if let (Some(low), Some(high)) = (cost.low, cost.high) {
                    span class="bounds" { "[" (amount(low)) ", " (amount(high)) "]" }
                }
            },
            sorted_by: Some(cost.median.to_string()),
        },
        None => Field::none(),
    };
    let rows: Vec<Vec<Field>> = priced
        .into_iter()
        .map(|(cell, money)| {
            let paid = |paid: rust_decimal::Decimal| Field {
                shown: html! { (amount(paid)) " " (money.currency) },
                sorted_by: Some(paid.to_string()),
            };
            vec![
                Field::text(&cell.name.arm),
                Field::text(&cell.name.router),
                paid(money.per_hour),
                cost(&money.per_million_output_tokens, &money.currency),
                cost(&money.per_million_total_tokens, &money.currency),
                cost(&money.per_thousand_requests, &money.currency),
                paid(money.windows),
                cell.energy_cost.as_ref().map_or_else(Field::none, |energy| Field {
                    shown: html! { (amount(energy.per_million_output_tokens)) " " (energy.currency) },
                    sorted_by: Some(energy.per_million_output_tokens.to_string()),
                }),
                Field::text(&money.source),
            ]
        })
        .collect();
    html! {
        (table("Cost at the median throughput, of the measured windows only", &columns, &rows))
        @if !changes.is_empty() { (cost_changes(&changes)) }
    }
}

fn cost_changes(changes: &[(&Contrast, CostChange)]) -> Markup {
    let columns = [Column::text("comparison"), Column::number("change"), Column::number("95 % interval")];
    let rows: Vec<Vec<Field>> = changes
        .iter()
        .map(|(contrast, CostChange { percent, low, high })| {
            vec![
                Field::text(comparison(contrast)),
                Field::number(*percent, &signed_percent(*percent)),
                match (low, high) {
                    (Some(low), Some(high)) => {
                        Field::number(*low, &format!("{} to {}", signed_percent(*low), signed_percent(*high)))
                    }
                    _ => Field::none(),
                },
            ]
        })
        .collect();
    table("Change of the cost for each output token", &columns, &rows)
}
