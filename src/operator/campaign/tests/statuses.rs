//! What is told of a campaign at each of its stages.

use kube::ResourceExt;
use teebench_api::{
    campaign::BenchmarkCampaignStatus,
    conditions::{ConditionStatus, types},
};

use super::lab::Lab;
use crate::operator::campaign::status::{Told, campaign_status};

const SMALL: &str = include_str!("../../../../tests/campaigns/small.yaml");

pub(super) fn status_of(lab: &Lab) -> BenchmarkCampaignStatus {
    let (world, step) = (lab.world(), lab.step());
    let told = Told { world: &world, phase: &step.phase, stored: lab.stored.as_ref(), results: None, stalled: None };
    campaign_status(&told)
}

pub(super) fn condition(status: &BenchmarkCampaignStatus, type_: &str) -> (ConditionStatus, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_).expect("all conditions are there");
    (found.status, found.reason.clone())
}

#[test]
fn all_conditions_are_there_from_the_first_pass_with_the_generation_they_speak_of() {
    let status = status_of(&Lab::of(SMALL));

    let all = [
        types::ACCEPTED,
        types::PREFLIGHT_PASSED,
        types::ATTESTATION_VERIFIED,
        types::RESULTS_PUBLISHED,
        types::SUCCEEDED,
        types::STALLED,
        types::READY,
    ];
    assert_eq!(status.conditions.iter().map(|condition| condition.type_.as_str()).collect::<Vec<_>>(), all);
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
    assert_eq!(condition(&status, types::ACCEPTED), (ConditionStatus::True, "Planned".into()));
    assert_eq!(condition(&status, types::SUCCEEDED), (ConditionStatus::Unknown, "Progressing".into()));
    assert_eq!(status.progress.map(|progress| progress.summary).as_deref(), Some("0/8"));
}

#[test]
fn a_refused_campaign_is_stalled_and_says_why() {
    let mut lab = Lab::of(SMALL);
    lab.policies.clear();

    let status = status_of(&lab);

    assert_eq!(condition(&status, types::ACCEPTED), (ConditionStatus::False, "UnknownPolicy".into()));
    assert_eq!(condition(&status, types::STALLED).0, ConditionStatus::True);
    assert_eq!(condition(&status, types::SUCCEEDED).0, ConditionStatus::Unknown);
}

#[test]
fn progress_money_and_evidence_follow_the_runs() {
    let mut lab = Lab::of(SMALL);
    while lab.stored.as_ref().is_none_or(|stored| stored.attempts.len() < 4) {
        lab.turn();
    }

    let status = status_of(&lab);

    let progress = status.progress.clone().expect("there is progress");
    assert!(progress.valid >= 4 && progress.total == 8, "{progress:?}");
    assert_eq!(condition(&status, types::ATTESTATION_VERIFIED), (ConditionStatus::True, "Supported".into()));
    assert!(status.start_time.is_some() && status.completion_time.is_none());
}

#[test]
fn an_ended_campaign_tells_its_outcome_once_and_keeps_the_time() {
    let mut lab = Lab::of(SMALL);
    lab.run();
    let first = status_of(&lab);
    lab.campaign.status = Some(first.clone());
    lab.now = lab.now.checked_add(jiff::SignedDuration::from_secs(60)).unwrap();

    let again = status_of(&lab);

    assert_eq!(condition(&first, types::SUCCEEDED), (ConditionStatus::True, "Completed".into()));
    assert_eq!(condition(&first, types::READY).0, ConditionStatus::True);
    assert_eq!(first.completion_time, again.completion_time);
    assert_eq!(first.conditions, again.conditions, "{}", lab.campaign.name_any());
}
