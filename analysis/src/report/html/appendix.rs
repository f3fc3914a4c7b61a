//! The machines side by side, and every attempt with the way to its files.

use maud::{Markup, html};

use super::{
    Sources,
    table::{Column, Field, table},
};
use crate::summary::{CampaignSummary, ParityKind, ParityRow, RunState, number};

/// What the machines of the arms are.
pub fn machines(id: &str, campaign: &CampaignSummary) -> Markup {
    let mut columns = vec![Column::text("property")];
    columns.extend(campaign.arms.iter().map(|arm| Column::text(&arm.name)));
    columns.push(Column::text("arms differ"));
    let rows: Vec<Vec<Field>> = campaign
        .parity
        .iter()
        .map(|row| {
            let mut fields = vec![Field::text(&row.property)];
            fields.extend(row.arms.iter().map(|arm| match arm.values.as_slice() {
                [] => Field::none(),
                values => Field::text(values.join(", ")),
            }));
            fields.push(difference(row));
            fields
        })
        .collect();
    html! {
        section id=(id) {
            h2 { "Machines" }
            @if rows.is_empty() {
                p { "No valid run says what its machines are." }
            } @else {
                (table("What the arms' servers reported in the runs that count", &columns, &rows))
            }
        }
    }
}

fn difference(row: &ParityRow) -> Field {
    let (class, text) = match (row.differs, row.kind) {
        (false, _) => ("faint", "no"),
        (true, ParityKind::Breaks) => ("verdict worse", "yes: breaks the comparison"),
        (true, ParityKind::Allowed) => ("verdict neutral", "yes, as the campaign allows"),
        (true, ParityKind::Explained) => ("verdict neutral", "yes, as the factor explains"),
        (true, ParityKind::Listed) => ("verdict neutral", "yes"),
    };
    Field { shown: html! { span class=(class) { (text) } }, sorted_by: Some(text.to_owned()) }
}

/// Every attempt.
pub fn runs(id: &str, index: usize, campaign: &CampaignSummary, links: &Sources) -> Markup {
    let columns = [
        Column::text("run"),
        Column::text("state"),
        Column::number("output tok/s"),
        Column::text("evidence"),
        Column::text("files"),
        Column::text("why it does not count"),
    ];
    let rows: Vec<Vec<Field>> = campaign
        .runs
        .iter()
        .map(|run| {
            let path = run.path.strip_prefix("runs/").unwrap_or(&run.path);
            let source = campaign.sources.get(run.source).filter(|_| campaign.sources.len() > 1);
            let evidence = run.evidence.map(|level| format!("{level:?}"));
            let mark = if run.simulated { " (simulated)" } else { "" };
            vec![
                Field {
                    shown: html! { @if let Some(source) = source { (source.label) ": " } code { (path) } },
                    sorted_by: Some(path.to_owned()),
                },
                state(run.state),
                run.output_throughput.map_or_else(Field::none, |value| Field::number(value, &number(value))),
                evidence.map_or_else(Field::none, |level| Field::text(format!("{level}{mark}"))),
                Field {
                    shown: html! {
                        @for file in ["run.json", "bench.json", "energy.json"] {
                            @if let Some(address) = links.to(index, run.source, &format!("{}/{file}", run.path)) {
                                a href=(address) { (file) } " "
                            }
                        }
                    },
                    sorted_by: Some(String::new()),
                },
                Field::text(run.reasons.join("; ")),
            ]
        })
        .collect();
    html! {
        section id=(id) {
            h2 { "Runs" }
            @if rows.is_empty() {
                p { "There is no run." }
            } @else {
                details open[rows.len() <= 60] {
                    summary { "All " (rows.len()) " attempts" }
                    (table("Every attempt, used or not", &columns, &rows))
                }
            }
        }
    }
}

fn state(state: RunState) -> Field {
    let (class, text) = match state {
        RunState::Valid => ("verdict better", "valid"),
        RunState::Superseded => ("verdict neutral", "replaced by a later attempt"),
        RunState::Inconclusive => ("verdict neutral", "inconclusive"),
        RunState::Failed => ("verdict worse", "failed"),
        RunState::Interrupted => ("verdict neutral", "interrupted"),
        RunState::Unusable => ("verdict worse", "unusable"),
        RunState::Uncommitted => ("verdict neutral", "not committed"),
    };
    Field { shown: html! { span class=(class) { (text) } }, sorted_by: Some(text.to_owned()) }
}
