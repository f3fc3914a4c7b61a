//! The figures of an experiment on the page, two abreast where there is room.

use maud::{Markup, html};

use super::table::{Column, Field, csv_link, table};
use crate::{
    report::{
        figures::{Context, Datum, Drawn, Numbers, has_runs, of_experiment},
        svg::{SERIES, marker},
    },
    summary::{CampaignSummary, number},
};

/// All figures of an experiment.
pub fn grid(context: Context<'_>) -> Markup {
    if !has_runs(context.experiment) {
        return html! { p { "No run of this experiment is valid, so there is no figure." } };
    }
    html! {
        (legend(context.campaign))
        div class="figures" {
            @for drawn in of_experiment(context) { (figure(context.campaign, &drawn)) }
        }
    }
}

fn legend(campaign: &CampaignSummary) -> Markup {
    html! {
        ul class="legend" aria-label="Arms" {
            @for (index, arm) in campaign.arms.iter().enumerate() {
                li class={ "series-" (index % SERIES) } {
                    svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" { (marker(index, 8.0, 8.0, "point")) }
                    " " (arm.name)
                }
            }
            li class="faint" { "small dots: runs · whiskers: interval of the median, at least 95 %, from six runs on" }
        }
    }
}

fn figure(campaign: &CampaignSummary, drawn: &Drawn) -> Markup {
    let Drawn { id, title, unit, caption, svg, numbers } = drawn;
    html! {
        figure aria-labelledby={ (id) "-name" } {
            figcaption {
                b id={ (id) "-name" } { (title) } " " span class="unit" { (unit) }
                @if campaign.simulated { " " span class="tag" { "simulated" } }
                // A number and its sign stay on one line.
                span class="caption" { (caption.replace(" %", "\u{a0}%")) }
            }
            (svg)
            details class="numbers" {
                summary { "Numbers" span class="hidden" { " of " (title) } }
                (folded(title, unit, numbers))
                (csv_link(&format!("{id}.csv"), &format!("{title}: numbers as CSV"), &numbers.csv()))
            }
        }
    }
}

/// Most rows of a table under a figure: more are for programs, and in the CSV.
const MOST_ROWS: usize = 200;

fn folded(title: &str, unit: &str, numbers: &Numbers) -> Markup {
    if numbers.rows.len() > MOST_ROWS {
        return html! { p class="small" { (numbers.rows.len()) " rows, in the file." } };
    }
    let first = numbers.rows.first();
    let columns: Vec<Column> = numbers
        .columns
        .iter()
        .enumerate()
        .map(|(index, name)| match first.and_then(|row| row.get(index)) {
            Some(Datum::Number(_)) => Column::number(*name),
            _ => Column::text(*name),
        })
        .collect();
    let field = |datum: &Datum| match datum {
        Datum::Text(text) => Field::text(text),
        Datum::Number(Some(value)) => Field::number(*value, &number(*value)),
        Datum::Number(None) => Field::none(),
    };
    let rows: Vec<Vec<Field>> = numbers.rows.iter().map(|row| row.iter().map(field).collect()).collect();
    let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
    table(&format!("{title}{unit}"), &columns, &rows)
}
