//! The tests' campaigns: read from `e2e/campaigns`, and how one is told in a sentence.

use std::path::PathBuf;

use anyhow::anyhow;
use teebench_api::{
    campaign::BenchmarkCampaign,
    conditions::{Condition, types},
    validate::{CampaignFile, load_path},
};

/// Path of a campaign's file in `e2e/campaigns`.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("campaigns").join(name).with_extension("yaml")
}

/// A campaign of `e2e/campaigns` with its policies, and the path of its file.
///
/// # Errors
/// The file is not valid.
pub fn campaign_file(name: &str) -> anyhow::Result<(CampaignFile, PathBuf)> {
    let path = path(name);
    let file = load_path(&path).map_err(|diagnostics| anyhow!("{diagnostics}"))?;
    Ok((file, path))
}

/// The conditions of a campaign.
fn conditions(campaign: &BenchmarkCampaign) -> &[Condition] {
    campaign.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// The reason of one of a campaign's conditions.
#[must_use]
pub fn reason_of<'a>(campaign: &'a BenchmarkCampaign, type_: &str) -> Option<&'a str> {
    conditions(campaign).iter().find(|condition| condition.type_ == type_).map(|condition| condition.reason.as_str())
}

/// Whether a campaign has ended, however.
#[must_use]
pub fn is_over(campaign: &BenchmarkCampaign) -> bool {
    campaign.status.as_ref().is_some_and(|status| status.completion_time.is_some())
}

/// How a campaign stands, in a line.
#[must_use]
pub fn seen(campaign: Option<&BenchmarkCampaign>) -> String {
    let Some(campaign) = campaign else { return "no such campaign".to_owned() };
    let shown = [types::ACCEPTED, types::SUCCEEDED].map(|type_| {
        let condition = conditions(campaign).iter().find(|condition| condition.type_ == type_);
        condition.map_or_else(
            || format!("no {type_}"),
            |found| format!("{type_} {:?} {}: {}", found.status, found.reason, found.message),
        )
    });
    let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
    let progress = progress.map_or("no progress", |progress| progress.summary.as_str());
    format!("{}; {progress} runs", shown.join("; "))
}
