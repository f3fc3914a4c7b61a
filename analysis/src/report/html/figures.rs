//! The figures of an experiment: throughput, TTFT, ITL, E2E, and the ratios.

use maud::{Markup, html};

use super::table::{Column, Field, csv_link, table};
use crate::{
    metrics::Measure,
    report::{
        comparison, figures_of, metric_of,
        svg::{Comparison, Mark, Row, RowFigure, forest, marker, rows},
    },
    summary::{
        CampaignSummary, Cell, ConditionSummary, Contrast, ContrastKind, ExperimentSummary, number, percent_interval,
    },
};

/// All figures of an experiment, two abreast where there is room.
pub fn grid(id: &str, campaign: &CampaignSummary, experiment: &ExperimentSummary) -> Markup {
    let has_runs = experiment.conditions.iter().flat_map(|condition| &condition.cells).any(|cell| cell.runs > 0);
    if !has_runs {
        return html! { p { "No run of this experiment is valid, so there is no figure." } };
    }
    html! {
        (legend(campaign))
        div class="figures" {
            @for measure in Measure::LEADING {
                (cells_figure(&format!("{id}-{}", measure.key()), campaign, experiment, measure))
            }
            @for (kind, title) in [
                (ContrastKind::Arms, "What the arms change"),
                (ContrastKind::Routers, "What the routers change"),
                (ContrastKind::WinBack, "Router and arm together"),
            ] {
                (ratios_figure(&format!("{id}-{kind:?}"), title, campaign, experiment, kind))
            }
        }
    }
}

fn legend(campaign: &CampaignSummary) -> Markup {
    html! {
        ul class="legend" aria-label="Arms" {
            @for (index, arm) in campaign.arms.iter().enumerate() {
                li class={ "series-" (index % crate::report::svg::SERIES) } {
                    svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" { (marker(index, 8.0, 8.0, "point")) }
                    " " (arm.name)
                }
            }
            li class="faint" { "small dots: runs · whiskers: interval of the median, at least 95 %, from six runs on" }
        }
    }
}

fn cells_figure(id: &str, campaign: &CampaignSummary, experiment: &ExperimentSummary, measure: Measure) -> Markup {
    let groups: Vec<(String, Vec<Row>)> = experiment
        .conditions
        .iter()
        .flat_map(|condition| groups_of(campaign, condition, measure, experiment.conditions.len() > 1))
        .collect();
    let cells = || experiment.conditions.iter().flat_map(|condition| &condition.cells);
    let counts: Vec<u32> = cells().filter(|cell| cell.runs > 0).map(|cell| cell.runs).collect();
    let runs = match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("n = {least} runs each"),
        (Some(least), Some(most)) => format!("n = {least} to {most} runs each"),
        _ => "no run".to_owned(),
    };
    let title = sentence_case(measure.title());
    let simulated = if campaign.simulated { ", simulated" } else { "" };
    let figure = RowFigure {
        id: id.to_owned(),
        title: format!("{title} by arm and router{simulated}"),
        description: describe(&groups, measure),
        unit: measure.unit().to_owned(),
        mark: if measure == Measure::OutputThroughput { Mark::Bar } else { Mark::Point },
        simulated: campaign.simulated,
        groups,
    };
    html! {
        figure {
            figcaption {
                b { (title) } " " span class="unit" { (measure.unit()) }
                @if campaign.simulated { " " span class="tag" { "simulated" } }
                span class="caption" { "Median over runs, " (runs) ": " (measure.definition()) "." }
            }
            (rows(&figure))
            (numbers(id, experiment, measure))
        }
    }
}

fn groups_of(
    campaign: &CampaignSummary,
    condition: &ConditionSummary,
    measure: Measure,
    several: bool,
) -> Vec<(String, Vec<Row>)> {
    let mut routers: Vec<&str> = Vec::new();
    for cell in &condition.cells {
        if !routers.contains(&cell.name.router.as_str()) {
            routers.push(&cell.name.router);
        }
    }
    routers
        .into_iter()
        .map(|router| {
            let name = if several { format!("{} · {router}", condition.name) } else { router.to_owned() };
            let rows = condition
                .cells
                .iter()
                .filter(|cell| cell.name.router == router)
                .map(|cell| row(campaign, cell, measure))
                .collect();
            (name, rows)
        })
        .collect()
}

fn row(campaign: &CampaignSummary, cell: &Cell, measure: Measure) -> Row {
    let metric = metric_of(cell, measure);
    Row {
        label: cell.name.arm.clone(),
        series: campaign.arms.iter().position(|arm| arm.name == cell.name.arm).unwrap_or_default(),
        median: metric.and_then(|metric| metric.median),
        interval: metric.and_then(|metric| metric.interval).map(|bounds| (bounds.low, bounds.high)),
        values: metric.map(|metric| metric.values.clone()).unwrap_or_default(),
        absent: metric.and_then(|metric| metric.absent.clone()),
    }
}

fn describe(groups: &[(String, Vec<Row>)], measure: Measure) -> String {
    let parts: Vec<String> = groups
        .iter()
        .flat_map(|(group, rows)| {
            rows.iter().filter_map(move |row| {
                Some(format!("{group}, {}: {} {}", row.label, number(row.median?), measure.unit()))
            })
        })
        .collect();
    parts.join("; ")
}

/// The numbers behind a figure: a table under a fold, and a file.
fn numbers(id: &str, experiment: &ExperimentSummary, measure: Measure) -> Markup {
    let mut file: Vec<Vec<String>> =
        vec![["condition", "arm", "router", "n", "median", "low", "high", "runs"].map(str::to_owned).to_vec()];
    let mut fields: Vec<Vec<Field>> = Vec::new();
    for condition in &experiment.conditions {
        for (cell, metric) in condition.cells.iter().filter_map(|cell| Some((cell, metric_of(cell, measure)?))) {
            let end = |read: fn(&crate::summary::Bounds) -> f64| metric.interval.as_ref().map(read);
            let (low, high) = (end(|bounds| bounds.low), end(|bounds| bounds.high));
            let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
            let runs: Vec<String> = metric.values.iter().map(f64::to_string).collect();
            file.push(vec![
                condition.slug.clone(),
                cell.name.arm.clone(),
                cell.name.router.clone(),
                metric.n.to_string(),
                text(metric.median),
                text(low),
                text(high),
                runs.join(" "),
            ]);
            let field =
                |value: Option<f64>| value.map_or_else(Field::none, |value| Field::number(value, &number(value)));
            fields.push(vec![
                Field::text(&condition.name),
                Field::text(&cell.name.arm),
                Field::text(&cell.name.router),
                Field::number(f64::from(metric.n), &metric.n.to_string()),
                field(metric.median),
                field(low),
                field(high),
            ]);
        }
    }
    let columns = [
        Column::text("condition"),
        Column::text("arm"),
        Column::text("router"),
        Column::number("n"),
        Column::number("median"),
        Column::number("low"),
        Column::number("high"),
    ];
    html! {
        details class="numbers" {
            summary { "Numbers" }
            (table(&format!("{} ({})", sentence_case(measure.title()), measure.unit()), &columns, &fields))
            (csv_link(&format!("{id}.csv"), &file))
        }
    }
}

fn ratios_figure(
    id: &str,
    title: &str,
    campaign: &CampaignSummary,
    experiment: &ExperimentSummary,
    kind: ContrastKind,
) -> Markup {
    let several = experiment.conditions.len() > 1;
    let groups: Vec<(String, Vec<Comparison>)> = experiment
        .conditions
        .iter()
        .flat_map(|condition| condition.contrasts.iter().map(move |contrast| (condition, contrast)))
        .filter(|(_, contrast)| contrast.kind == kind)
        .map(|(condition, contrast)| {
            let name = comparison(contrast);
            let unpaired = if contrast.paired { "" } else { " (unpaired)" };
            let name =
                if several { format!("{} · {name}{unpaired}", condition.name) } else { format!("{name}{unpaired}") };
            (name, comparisons(contrast))
        })
        .filter(|(_, comparisons)| !comparisons.is_empty())
        .collect();
    if groups.is_empty() {
        return html! {};
    }
    let units: Vec<u32> = experiment
        .conditions
        .iter()
        .flat_map(|condition| &condition.contrasts)
        .filter(|contrast| contrast.kind == kind)
        .filter_map(|contrast| Some(figures_of(contrast, Measure::OutputThroughput)?.n))
        .collect();
    let n = match (units.iter().min(), units.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("n = {least}"),
        (Some(least), Some(most)) => format!("n = {least} to {most}"),
        _ => "n not known".to_owned(),
    };
    let description: Vec<String> = groups
        .iter()
        .flat_map(|(name, rows)| rows.iter().map(move |row| format!("{name}: {} {}", row.label, row.text)))
        .collect();
    html! {
        figure {
            figcaption {
                b { (title) }
                @if campaign.simulated { " " span class="tag" { "simulated" } }
                span class="caption" {
                    "Ratio with its 95 % interval, " (n) ". Filled: different; square: equal within the shaded ±"
                    (number(100.0 * campaign.equivalence_margin)) " %; hollow: inconclusive."
                }
            }
            (forest(id, title, &description.join("; "), campaign.equivalence_margin, campaign.simulated, &groups))
        }
    }
}

fn comparisons(contrast: &Contrast) -> Vec<Comparison> {
    Measure::LEADING
        .into_iter()
        .filter_map(|measure| {
            let figures = figures_of(contrast, measure)?;
            Some(Comparison {
                label: measure.title().to_owned(),
                ratio: figures.ratio,
                interval: figures.interval.map(|bounds| (bounds.low, bounds.high)),
                verdict: figures.verdict,
                direction: measure.direction(),
                text: percent_interval(figures),
            })
        })
        .collect()
}

fn sentence_case(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", characters.as_str())
}
