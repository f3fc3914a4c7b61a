//! Knees and choices of sweeps as tables.

use maud::{Markup, html};

use super::table::{Column, Field, table};
use crate::summary::{Bounds, ExperimentSummary, KneeContrast, KneeSummary, amount, number, signed_percent};

/// The tables of an experiment's sweeps; nothing where it has none.
pub fn tables(experiment: &ExperimentSummary) -> Markup {
    html! {
        @if !experiment.knees.is_empty() { (knees(&experiment.knees)) }
        @if !experiment.knee_contrasts.is_empty() { (contrasts(&experiment.knee_contrasts)) }
    }
}

fn knees(knees: &[KneeSummary]) -> Markup {
    let columns = [
        Column::text("model"),
        Column::text("arm"),
        Column::text("router"),
        Column::number("knee, requests in flight"),
        Column::number("output tok/s there"),
        Column::number("1M output tokens there"),
        Column::text("bracketed"),
    ];
    let row = |knee: &KneeSummary| {
        let cost = knee.per_million_output_tokens.zip(knee.currency.as_deref());
        vec![
            Field::text(&knee.model),
            Field::text(&knee.name.arm),
            Field::text(&knee.name.router),
            Field {
                shown: html! { (number(knee.concurrency)) (bounds(knee.interval, &number)) },
                sorted_by: Some(knee.concurrency.to_string()),
            },
            Field::number(knee.output_throughput, &number(knee.output_throughput)),
            cost.map_or_else(Field::none, |(cost, currency)| Field {
                shown: html! { (amount(cost)) " " (currency) },
                sorted_by: Some(cost.to_string()),
            }),
            Field::text(if knee.bracketed { "yes" } else { "no: the sweep ends here and has to go on" }),
        ]
    };
    let rows: Vec<Vec<Field>> = knees.iter().map(row).collect();
    table("Knees: the least concurrency whose median output throughput is within 5 % of the best", &columns, &rows)
}

fn contrasts(contrasts: &[KneeContrast]) -> Markup {
    let columns = [
        Column::text("model"),
        Column::text("comparison"),
        Column::number("output throughput, each at its own knee"),
        Column::number("at equal load"),
        Column::number("that load, requests in flight"),
    ];
    let percent = |ratio: f64| signed_percent(100.0 * (ratio - 1.0));
    let change = |ratio: f64, interval: Option<Bounds>| Field {
        shown: html! { (percent(ratio)) (bounds(interval, &percent)) },
        sorted_by: Some(ratio.to_string()),
    };
    let row = |contrast: &KneeContrast| {
        vec![
            Field::text(&contrast.model),
            Field::text(format!("{} / {}, {}", contrast.numerator, contrast.denominator, contrast.router)),
            change(contrast.ratio, contrast.interval),
            contrast.at_equal_load.map_or_else(Field::none, |(ratio, interval)| change(ratio, interval)),
            Field::number(contrast.equal_load, &number(contrast.equal_load)),
        ]
    };
    let rows: Vec<Vec<Field>> = contrasts.iter().map(row).collect();
    table("Change at the knee and at equal load", &columns, &rows)
}

fn bounds(interval: Option<Bounds>, shown: &dyn Fn(f64) -> String) -> Markup {
    html! {
        @if let Some(Bounds { low, high, .. }) = interval {
            span class="bounds" { "[" (shown(low)) ", " (shown(high)) "]" }
        }
    }
}
