//! Which attempts enter numbers, and which campaigns belong together.

use teebench_api::{
    files::run::{RunFile, Verdict},
    plan::{Plan, RunId},
};

use super::{RunState, ValidityCounts, model::ReasonCount};
use crate::{
    metrics::RunMetrics,
    read::{Attempt, Campaign, StoredRun},
};

/// Campaigns of one plan: the same work, perhaps with arms run apart.
pub struct Group<'a> {
    /// The plan as it stood at the end.
    pub plan: &'a Plan,
    /// SHA-256 of the plan, in hex.
    pub plan_sha256: &'a str,
    /// The directories.
    pub sources: Vec<&'a Campaign>,
}

/// A run that enters numbers.
#[derive(Clone, Copy)]
pub struct CountedRun<'a> {
    /// Index of its source.
    pub source: usize,
    /// The run.
    pub id: &'a RunId,
    /// Its identity, servers and boot.
    pub file: &'a RunFile,
    /// What it measured.
    pub metrics: &'a RunMetrics,
}

/// An attempt and what came of it.
pub struct Judged<'a> {
    /// Index of its source.
    pub source: usize,
    /// The attempt.
    pub run: &'a StoredRun,
    /// What came of it.
    pub state: RunState,
    /// Why it does not count.
    pub reasons: Vec<String>,
    /// Codes of those reasons.
    codes: Vec<String>,
}

/// Groups campaigns by plan, in the order in which plans first appear.
pub fn groups(campaigns: &[Campaign]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for campaign in campaigns {
        match groups.iter_mut().find(|group| group.plan_sha256 == campaign.plan_sha256) {
            Some(group) => {
                // The longest of several effective plans has every block that any of the directories ran.
                if campaign.plan.blocks.len() > group.plan.blocks.len() {
                    group.plan = &campaign.plan;
                }
                group.sources.push(campaign);
            }
            None => {
                groups.push(Group {
                    plan: &campaign.plan,
                    plan_sha256: &campaign.plan_sha256,
                    sources: vec![campaign],
                });
            }
        }
    }
    groups
}

/// Judges every attempt of a group, in the order of sources and paths.
pub fn judge<'a>(group: &Group<'a>) -> Vec<Judged<'a>> {
    group
        .sources
        .iter()
        .enumerate()
        .flat_map(|(source, &campaign)| campaign.runs.iter().map(move |run| judge_one(source, campaign, run)))
        .collect()
}

fn judge_one<'a>(source: usize, campaign: &'a Campaign, run: &'a StoredRun) -> Judged<'a> {
    let (state, reasons, codes) = match &run.content {
        Attempt::Uncommitted => (RunState::Uncommitted, vec!["SHA256SUMS is missing".to_owned()], Vec::new()),
        Attempt::Unusable { reason } => (RunState::Unusable, vec![reason.clone()], vec!["Unusable".to_owned()]),
        Attempt::Read(read) => {
            let state = match read.file.validity.validity {
                Verdict::Valid if campaign.counts(run) => RunState::Valid,
                Verdict::Valid => RunState::Superseded,
                Verdict::Inconclusive => RunState::Inconclusive,
                Verdict::Failed => RunState::Failed,
                Verdict::Interrupted => RunState::Interrupted,
            };
            let reasons = &read.file.validity.reasons;
            (
                state,
                reasons.iter().map(|reason| reason.message.clone()).collect(),
                reasons.iter().map(|reason| format!("{:?}", reason.code)).collect(),
            )
        }
    };
    Judged { source, run, state, reasons, codes }
}

/// The runs that enter numbers.
pub fn counted<'a>(judged: &[Judged<'a>]) -> Vec<CountedRun<'a>> {
    judged
        .iter()
        .filter(|judged| judged.state == RunState::Valid)
        .filter_map(|judged| match &judged.run.content {
            Attempt::Read(read) => Some(CountedRun {
                source: judged.source,
                id: &judged.run.id,
                file: &read.file,
                metrics: read.metrics.as_ref()?,
            }),
            Attempt::Uncommitted | Attempt::Unusable { .. } => None,
        })
        .collect()
}

/// Counts what came of all attempts.
pub fn validity(plan: &Plan, judged: &[Judged<'_>]) -> ValidityCounts {
    let count = |state| u32::try_from(judged.iter().filter(|run| run.state == state).count()).unwrap_or(u32::MAX);
    let mut reasons: Vec<ReasonCount> = Vec::new();
    for code in judged.iter().flat_map(|run| &run.codes) {
        match reasons.iter_mut().find(|reason| reason.code == *code) {
            Some(reason) => reason.count += 1,
            None => reasons.push(ReasonCount { code: code.clone(), count: 1 }),
        }
    }
    reasons.sort_by(|left, right| right.count.cmp(&left.count).then_with(|| left.code.cmp(&right.code)));
    ValidityCounts {
        planned: u32::try_from(plan.blocks.iter().map(|block| block.runs.len()).sum::<usize>()).unwrap_or(u32::MAX),
        valid: count(RunState::Valid),
        inconclusive: count(RunState::Inconclusive),
        failed: count(RunState::Failed),
        interrupted: count(RunState::Interrupted),
        unusable: count(RunState::Unusable),
        uncommitted: count(RunState::Uncommitted),
        superseded: count(RunState::Superseded),
        reasons,
    }
}
