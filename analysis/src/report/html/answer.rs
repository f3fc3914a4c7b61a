//! The first screen: question, answers, what the runs came to, and how strong the evidence is.

use maud::{Markup, html};

use crate::{
    metrics::{Direction, Measure},
    report::{comparison, figures_of, verdict_name},
    summary::{
        AnswerKind, CampaignSummary, Contrast, ContrastKind, Difference, Figures, ValidityCounts, percent_interval,
        signed_percent,
    },
};

/// The whole first screen: what was found at the left, on what it rests at the right.
pub fn section(id: &str, campaign: &CampaignSummary) -> Markup {
    html! {
        section class="answer" aria-labelledby=(id) {
            p class="question" id=(id) { (campaign.question) }
            div class="columns" {
                div {
                    @for (kind, name) in [
                        (AnswerKind::Factor, "What it costs"),
                        (AnswerKind::Routing, "What routing changes"),
                        (AnswerKind::WinBack, "What routing wins back"),
                        (AnswerKind::None, "No answer"),
                    ] {
                        (finding(campaign, kind, name))
                    }
                }
                aside aria-label="What the answer rests on" {
                    (validity(&campaign.validity))
                    (evidence(campaign))
                    @if !campaign.notes.is_empty() {
                        ul class="notes" { @for note in &campaign.notes { li { (note.text) } } }
                    }
                }
            }
        }
    }
}

/// The first sentence of a kind, and the figures of all comparisons of that kind.
fn finding(campaign: &CampaignSummary, kind: AnswerKind, name: &str) -> Markup {
    let Some(first) = campaign.answers.iter().find(|answer| answer.kind == kind) else { return html! {} };
    html! {
        section class="finding" {
            h2 { (name) @if campaign.simulated { " " span class="tag" { "simulated" } } }
            @match kind {
                AnswerKind::Factor => { @if let Some(contrast) = headline(campaign) { (tiles(contrast)) } p { (first.text) } }
                AnswerKind::Routing => { p { (first.text) } (comparisons(campaign, ContrastKind::Routers)) }
                AnswerKind::WinBack => { p { (first.text) } (comparisons(campaign, ContrastKind::WinBack)) }
                AnswerKind::None => { p { (first.text) } }
            }
        }
    }
}

/// All comparisons of one kind in the condition that the answers speak of.
fn comparisons(campaign: &CampaignSummary, kind: ContrastKind) -> Markup {
    let contrasts: Vec<&Contrast> =
        campaign.headline_condition().map(|condition| &condition.contrasts).into_iter().flatten().collect();
    html! {
        div class="scroll" tabindex="0" role="group" aria-label="Changes with their 95 % intervals" {
            table class="compact" {
                thead { tr {
                    th scope="col" { "95 % intervals" }
                    @for measure in Measure::LEADING { th scope="col" class="number" { (measure) } }
                } }
                tbody {
                    @for contrast in contrasts.into_iter().filter(|contrast| contrast.kind == kind) {
                        tr {
                            th scope="row" { (comparison(contrast)) }
                            @for measure in Measure::LEADING {
                                td class="number" {
                                    @match figures_of(contrast, measure) {
                                        Some(figures) => {
                                            span class={ "verdict " (tone(measure, figures)) } {
                                                (signed_percent(figures.change_percent))
                                            }
                                            span class="faint" { (interval_only(figures)) }
                                        }
                                        None => { span class="faint" { "–" } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The first comparison of arms with the baseline router, which the first answer speaks of.
fn headline(campaign: &CampaignSummary) -> Option<&Contrast> {
    campaign.headline_condition()?.contrasts.iter().find(|contrast| {
        contrast.kind == ContrastKind::Arms
            && campaign.baseline_router.as_ref().is_none_or(|router| contrast.numerator.router == *router)
    })
}

fn tiles(contrast: &Contrast) -> Markup {
    html! {
        dl class="tiles" {
            @for measure in Measure::LEADING {
                @if let Some(figures) = figures_of(contrast, measure) {
                    div class={ "tile " (tone(measure, figures)) } {
                        dt { (measure) }
                        dd {
                            strong { (signed_percent(figures.change_percent)) }
                            @if figures.interval.is_some() {
                                span { (interval_only(figures)) }
                            }
                            em { (verdict_name(figures.verdict)) }
                        }
                    }
                }
            }
        }
    }
}

/// The interval of a change without the change.
fn interval_only(figures: &Figures) -> String {
    let text = percent_interval(figures);
    text.split_once('[').map(|(_, interval)| format!("[{interval}")).unwrap_or_default()
}

/// Whether a change is good or bad, by the metric's direction; only of what is different.
pub fn tone(measure: Measure, figures: &Figures) -> &'static str {
    let grows = figures.ratio > 1.0;
    match (figures.verdict, measure.direction()) {
        (Difference::Different, Direction::Higher) => {
            if grows {
                "better"
            } else {
                "worse"
            }
        }
        (Difference::Different, Direction::Lower) => {
            if grows {
                "worse"
            } else {
                "better"
            }
        }
        _ => "neutral",
    }
}

fn validity(validity: &ValidityCounts) -> Markup {
    let ValidityCounts {
        planned,
        valid,
        inconclusive,
        failed,
        interrupted,
        unusable,
        uncommitted,
        superseded,
        reasons,
    } = validity;
    let others = inconclusive + failed + interrupted + unusable + uncommitted + superseded;
    let missing = planned.saturating_sub(*valid).saturating_sub(others);
    let parts = [
        ("valid", *valid, "valid"),
        ("inconclusive", *inconclusive, "inconclusive"),
        ("failed", *failed, "failed"),
        ("interrupted", *interrupted, "interrupted"),
        ("failed", *unusable, "unusable"),
        ("missing", *uncommitted, "not committed"),
        ("interrupted", *superseded, "replaced"),
        ("missing", missing, "not run"),
    ];
    html! {
        div class="validity" {
            div class="strip" role="img" aria-label={ (valid) " of " (planned) " planned runs are valid" } {
                @for (class, count, _) in parts.iter().filter(|part| part.1 > 0) {
                    span class=(class) style={ "flex-grow:" (count) } {}
                }
            }
            p {
                strong { (valid) " of " (planned) " planned runs valid" }
                @for (class, count, name) in parts[1..].iter().filter(|part| part.1 > 0) {
                    span class="part" { i class=(class) {} (count) " " (name) }
                }
                @if !reasons.is_empty() {
                    span class="part" {
                        "reasons: "
                        @for (index, reason) in reasons.iter().enumerate() {
                            @if index > 0 { ", " }
                            (reason.code) " " (reason.count)
                        }
                    }
                }
            }
        }
    }
}

fn evidence(campaign: &CampaignSummary) -> Markup {
    html! {
        dl class="arms" {
            @for (index, arm) in campaign.arms.iter().enumerate() {
                div class={ "series-" (index % crate::report::svg::SERIES) } {
                    dt { i class="swatch" {} (arm.name) }
                    dd {
                        span { "TEE " (arm.tee.name()) }
                        @if arm.evidence.is_empty() { span class="faint" { "no valid run" } }
                        @for evidence in &arm.evidence {
                            span {
                                "evidence: "
                                @match evidence.level { Some(level) => (format!("{level:?}")), None => "none" }
                                @if arm.simulated { " (simulated)" }
                                ", " (evidence.runs) @if evidence.runs == 1 { " run" } @else { " runs" }
                            }
                        }
                        @for gpu in &arm.gpus { span class="faint" { (gpu) } }
                        @for engine in &arm.engines { span class="faint" { (engine) } }
                    }
                }
            }
        }
    }
}
