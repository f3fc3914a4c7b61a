//! The metrics as CSV: one row for each experiment, condition, arm, router and metric.

use crate::summary::{Bounds, CampaignSummary, Cell, ConditionSummary, MetricSummary, Summary};

/// The columns.
const HEADER: [&str; 15] = [
    "campaign",
    "experiment",
    "condition",
    "arm",
    "router",
    "metric",
    "unit",
    "n",
    "median",
    "low",
    "high",
    "confidence",
    "simulated",
    "runs",
    "absent",
];

/// The table, with a header.
#[must_use]
pub fn csv(summary: &Summary) -> String {
    let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
    for campaign in &summary.campaigns {
        for experiment in &campaign.experiments {
            for condition in &experiment.conditions {
                rows.extend(condition_rows(campaign, &experiment.name, condition));
            }
        }
    }
    write(&rows)
}

fn condition_rows<'a>(
    campaign: &'a CampaignSummary,
    experiment: &'a str,
    condition: &'a ConditionSummary,
) -> impl Iterator<Item = Vec<String>> + 'a {
    condition
        .cells
        .iter()
        .flat_map(move |cell| cell.metrics.iter().map(move |metric| row(campaign, experiment, condition, cell, metric)))
}

fn row(
    campaign: &CampaignSummary,
    experiment: &str,
    condition: &ConditionSummary,
    cell: &Cell,
    metric: &MetricSummary,
) -> Vec<String> {
    let MetricSummary { metric, unit, n, median, interval, values, absent } = metric;
    let bound =
        |read: fn(&Bounds) -> f64| interval.as_ref().map(read).map(|value| value.to_string()).unwrap_or_default();
    vec![
        campaign.name.clone(),
        experiment.to_owned(),
        condition.slug.clone(),
        cell.name.arm.clone(),
        cell.name.router.clone(),
        metric.key().to_owned(),
        unit.clone(),
        n.to_string(),
        median.map(|median| median.to_string()).unwrap_or_default(),
        bound(|bounds| bounds.low),
        bound(|bounds| bounds.high),
        bound(|bounds| bounds.confidence),
        campaign.simulated.to_string(),
        values.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
        absent.clone().unwrap_or_default(),
    ]
}

/// Rows as CSV text.
pub fn write(rows: &[Vec<String>]) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("a vector takes every record, and all have the header's length");
    }
    let bytes = writer.into_inner().expect("a vector can be flushed");
    String::from_utf8(bytes).expect("every field is text")
}
