//! The answer in a few lines, for the end of a campaign on a terminal.

use std::fmt::Write as _;

use super::{CampaignSummary, Summary, ValidityCounts};

/// What a campaign found, in a few lines of plain text.
#[must_use]
pub fn headline_text(summary: &Summary) -> String {
    let mut text = String::new();
    for campaign in &summary.campaigns {
        let CampaignSummary { name, simulated, question, answers, validity, .. } = campaign;
        let mark = if *simulated { " — SIMULATED, nothing was measured" } else { "" };
        let _ = writeln!(text, "{name}{mark}\n{question}");
        for answer in answers {
            let _ = writeln!(text, "  • {}", answer.text);
        }
        let _ = writeln!(text, "  {}", validity_line(validity));
    }
    text
}

/// What came of all attempts, in a line.
pub fn validity_line(validity: &ValidityCounts) -> String {
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
    let others: Vec<String> = [
        (inconclusive, "inconclusive"),
        (failed, "failed"),
        (interrupted, "interrupted"),
        (unusable, "unusable"),
        (uncommitted, "not committed"),
        (superseded, "replaced by a later attempt"),
    ]
    .into_iter()
    .filter(|(count, _)| **count > 0)
    .map(|(count, name)| format!("{count} {name}"))
    .collect();
    let mut line = format!("{valid} of {planned} planned runs valid");
    if !others.is_empty() {
        let _ = write!(line, "; attempts that do not count: {}", others.join(", "));
    }
    if !reasons.is_empty() {
        let reasons: Vec<String> = reasons.iter().map(|reason| format!("{} {}", reason.count, reason.code)).collect();
        let _ = write!(line, " ({})", reasons.join(", "));
    }
    line
}
