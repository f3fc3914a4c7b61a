//! The report as one HTML page: no network, nothing beside it, readable on paper, on a phone and in the dark.

mod answer;
mod appendix;
mod experiment;
mod figures;
mod links;
mod methods;
mod sweeps;
mod table;
mod versus;

use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

pub use self::links::Sources;
use crate::{
    report::figures::Context,
    summary::{CampaignSummary, Summary},
};

const STYLE: &str = include_str!("style.css");
const SORT: &str = include_str!("sort.js");
const PICTURES: &str = include_str!("pictures.js");

/// The page. `sources` lead from each run to its files.
#[must_use]
pub fn html(summary: &Summary, sources: &Sources) -> String {
    let names: Vec<&str> = summary.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
    let title = format!("{}{}", if summary.simulated { "[simulated] " } else { "" }, names.join(", "));
    markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "teebench " (summary.tool_version) };
                title { (title) " · teebench report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#results" { "Skip to the results" }
                @if summary.simulated {
                    aside class="banner" aria-label="Simulated" {
                        strong { "SIMULATED" } " — these figures come from a simulator of a vLLM server. Nothing was measured."
                    }
                }
                main id="results" {
                    (versus::sections(summary))
                    @for (index, campaign) in summary.campaigns.iter().enumerate() {
                        (campaign_page(index, campaign, sources, &summary.tool_version))
                    }
                    (methods::section(summary))
                }
                footer {
                    p { "Made by teebench " (summary.tool_version) ", format " (summary.schema_version)
                        ". This page loads nothing from anywhere." }
                }
                script { (PreEscaped(SORT)) (PreEscaped(PICTURES)) }
            }
        }
    }
    .into_string()
}

fn campaign_page(index: usize, campaign: &CampaignSummary, sources: &Sources, tool_version: &str) -> Markup {
    markup! {
        header class="masthead" {
            p class="kicker" { "teebench report" }
            h1 { (campaign.name) }
            p class="meta" {
                @if let (Some(start), Some(end)) = (&campaign.started_at, &campaign.finished_at) {
                    span { (day_and_minute(start)) " – " (day_and_minute(end)) " UTC" }
                }
                span { "plan " code title=(campaign.plan_sha256) { (campaign.plan_sha256.get(..12).unwrap_or_default()) } }
                span { "teebench " (tool_version) }
                @for source in campaign.sources.iter().filter(|_| campaign.sources.len() > 1) {
                    span { "from " code { (source.label) } }
                }
            }
        }
        div class="campaign" {
            (answer::section(&format!("c{index}-question"), campaign))
            nav aria-label={ "Contents of " (campaign.name) " " (index + 1) } {
                ul {
                    @for (position, experiment) in campaign.experiments.iter().enumerate() {
                        li { a href={ "#c" (index) "-e" (position) } { (experiment.name) } }
                    }
                    li { a href={ "#c" (index) "-machines" } { "Machines" } }
                    li { a href={ "#c" (index) "-runs" } { "Runs" } }
                    li { a href="#methods" { "Methods" } }
                }
            }
            @for (position, experiment) in campaign.experiments.iter().enumerate() {
                (experiment::section(Context {
                    id: &format!("c{index}-e{position}"),
                    campaign,
                    experiment,
                    boards: sources.boards.of(index, &experiment.name),
                }))
            }
            (appendix::machines(&format!("c{index}-machines"), campaign))
            (appendix::runs(&format!("c{index}-runs"), index, campaign, sources))
        }
    }
}

/// `2026-11-22T16:00:49.1Z` as `2026-11-22 16:00`.
fn day_and_minute(timestamp: &str) -> String {
    timestamp.get(..16).unwrap_or(timestamp).replace('T', " ")
}
