//! Ratios of one kind of comparison, with the margin within which they count as equal.

use super::{Context, Datum, Drawn, Numbers};
use crate::{
    metrics::Measure,
    report::{
        comparison, figures_of,
        svg::{Comparison, ForestFigure, forest},
        verdict_name,
    },
    summary::{ConditionSummary, Contrast, ContrastKind, number, percent_interval},
};

/// Most comparisons in one figure; more are read in tables.
const MOST: usize = 24;

/// The figure of all comparisons of a kind; `None` where there is none. Of many conditions output throughput alone.
pub fn figure(context: Context<'_>, kind: ContrastKind, title: &str) -> Option<Drawn> {
    let Context { campaign, experiment, .. } = context;
    let contrasts: Vec<(&ConditionSummary, &Contrast)> = experiment
        .conditions
        .iter()
        .flat_map(|condition| condition.contrasts.iter().map(move |contrast| (condition, contrast)))
        .filter(|(_, contrast)| contrast.kind == kind)
        .collect();
    let measures: &[Measure] =
        if contrasts.len() * Measure::LEADING.len() > MOST { &Measure::LEADING[..1] } else { &Measure::LEADING };
    let groups: Vec<(String, Vec<Comparison>)> = if measures.len() == 1 {
        let of_condition = |condition: &ConditionSummary| {
            let contrasts = condition.contrasts.iter().filter(|contrast| contrast.kind == kind);
            let rows = contrasts.flat_map(|contrast| {
                let named = |each| Comparison { label: comparison(contrast), ..each };
                comparisons(contrast, measures).into_iter().map(named)
            });
            (format!("{} · {}", Measure::OutputThroughput.title(), condition.name), rows.collect())
        };
        experiment.conditions.iter().map(of_condition).collect()
    } else {
        let several = experiment.conditions.len() > 1;
        contrasts
            .iter()
            .map(|(condition, contrast)| (name(condition, contrast, several), comparisons(contrast, measures)))
            .collect()
    };
    let groups: Vec<_> = groups.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    if groups.is_empty() {
        return None;
    }
    let units = contrasts.iter().filter_map(|(_, contrast)| Some(figures_of(contrast, Measure::OutputThroughput)?.n));
    let units: Vec<u32> = units.collect();
    let n = match (units.iter().min(), units.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("n = {least}"),
        (Some(least), Some(most)) => format!("n = {least} to {most}"),
        _ => "n not known".to_owned(),
    };
    let description: Vec<String> = groups
        .iter()
        .flat_map(|(name, rows)| rows.iter().map(move |row| format!("{name}: {} {}", row.label, row.text)))
        .collect();
    let id = format!("{}-{}", context.id, format!("{kind:?}").to_lowercase());
    Some(Drawn {
        title: title.to_owned(),
        unit: String::new(),
        caption: format!(
            "Ratio with its 95 % interval, {n}. Filled: different; square: equal within the shaded ±{} %; hollow: \
             inconclusive.",
            number(100.0 * campaign.equivalence_margin)
        ),
        svg: forest(&ForestFigure {
            heading: context.heading(&id, title, description.join("; ")),
            margin: campaign.equivalence_margin,
            groups,
        }),
        numbers: numbers(&contrasts, measures),
        id,
    })
}

fn name(condition: &ConditionSummary, contrast: &Contrast, several: bool) -> String {
    let name = comparison(contrast);
    if several { format!("{} · {name}", condition.name) } else { name }
}

fn comparisons(contrast: &Contrast, measures: &[Measure]) -> Vec<Comparison> {
    measures
        .iter()
        .filter_map(|&measure| {
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

fn numbers(contrasts: &[(&ConditionSummary, &Contrast)], measures: &[Measure]) -> Numbers {
    let each = contrasts.iter().flat_map(|each| measures.iter().map(move |measure| (each, *measure)));
    let rows = each
        .filter_map(|((condition, contrast), measure)| {
            let figures = figures_of(contrast, measure)?;
            Some(vec![
                Datum::text(&condition.name),
                Datum::text(comparison(contrast)),
                Datum::text(measure.title()),
                Datum::number(f64::from(figures.n)),
                Datum::number(figures.ratio),
                Datum::Number(figures.interval.map(|bounds| bounds.low)),
                Datum::Number(figures.interval.map(|bounds| bounds.high)),
                Datum::text(verdict_name(figures.verdict)),
            ])
        })
        .collect();
    Numbers { columns: vec!["condition", "comparison", "metric", "n", "ratio", "low", "high", "verdict"], rows }
}
