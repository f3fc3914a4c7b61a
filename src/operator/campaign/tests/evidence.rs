//! What a campaign ends with whose machines do not show what its arms claim.

use rstest::rstest;
use teebench_api::{
    conditions::{ConditionStatus, types},
    files::{
        evidence::EvidenceLevel,
        run::{Reason, ReasonCode, Verdict},
    },
    plan::next::Outcome,
};

use super::{
    lab::Lab,
    statuses::{condition, status_of},
};

const SMALL: &str = include_str!("../../../../tests/campaigns/small.yaml");

fn against(arm: &str, code: ReasonCode, message: &str) -> Lab {
    let mut lab = Lab::of(SMALL);
    lab.against.insert(arm.to_owned(), Reason { code, message: message.to_owned() });
    lab
}

#[rstest]
#[case::confidential_machines_that_are_off("cc-on", "post evidence says Disabled where the campaign claims Enabled")]
#[case::plain_machines_that_are_confidential("cc-off", "pre evidence says Enabled where the campaign claims Disabled")]
#[case::a_machine_that_restarted("cc-on", "the machine's boot id changed during the run")]
#[case::a_mode_that_flipped("cc-on", "the gpu's answers on confidential computing changed during the run")]
#[case::evidence_under_the_minimum("cc-on", "evidence is SelfReported, and DeviceSigned is demanded")]
fn an_arm_whose_evidence_does_not_support_it_ends_inconclusive(#[case] arm: &str, #[case] message: &str) {
    let mut lab = against(arm, ReasonCode::Evidence, message);

    assert_eq!(lab.run(), Outcome::Inconclusive);

    let status = status_of(&lab);
    assert_eq!(condition(&status, types::ATTESTATION_VERIFIED), (ConditionStatus::False, "NotSupported".into()));
    assert_eq!(condition(&status, types::SUCCEEDED), (ConditionStatus::False, "Inconclusive".into()));
    assert_eq!(condition(&status, types::READY).0, ConditionStatus::False);
    let told = status.conditions.iter().find(|condition| condition.type_ == types::ATTESTATION_VERIFIED).unwrap();
    assert!(told.message.contains(message) && told.message.contains(arm), "{}", told.message);
    for of_arm in &status.arms {
        let expected = (of_arm.name != arm).then_some(EvidenceLevel::SelfReported);
        assert_eq!(of_arm.evidence, expected, "{}", of_arm.name);
    }
    let progress = status.progress.unwrap();
    assert_eq!((progress.valid, progress.inconclusive, progress.failed), (4, 4, 0));
}

#[rstest]
#[case::heat(ReasonCode::Throttled, "GPU GPU-1: thermal slowdown by software")]
#[case::another_engine(ReasonCode::ServerRestarted, "server 0: its engine was started anew during the run")]
#[case::unequal_arms(ReasonCode::ParityBroken, "enforced power limit: cc-off has 400 W, cc-on has 310 W")]
fn what_spoils_runs_whose_evidence_holds_leaves_the_attestation_verified(
    #[case] code: ReasonCode,
    #[case] message: &str,
) {
    let mut lab = against("cc-on", code, message);

    assert_eq!(lab.run(), Outcome::Inconclusive);

    let status = status_of(&lab);
    assert_eq!(condition(&status, types::ATTESTATION_VERIFIED), (ConditionStatus::True, "Supported".into()));
    let spoiled = lab.stored.as_ref().unwrap().attempts.iter();
    let spoiled = spoiled.filter(|ended| ended.outcome.verdict == Verdict::Inconclusive);
    assert!(spoiled.clone().count() > 0 && spoiled.clone().all(|ended| ended.outcome.reasons[0].code == code));
}

#[test]
fn evidence_that_is_lost_once_is_told_though_later_runs_hold() {
    let mut lab = against("cc-on", ReasonCode::Evidence, "the machine's boot id changed during the run");
    while lab.stored.as_ref().is_none_or(|stored| stored.attempts.iter().all(|ended| ended.evidence.is_some())) {
        lab.turn();
    }
    lab.against.clear();

    lab.run();

    let status = status_of(&lab);
    assert_eq!(condition(&status, types::ATTESTATION_VERIFIED), (ConditionStatus::False, "NotSupported".into()));
    let seen = &lab.stored.as_ref().unwrap().attempts;
    assert_eq!(seen.iter().filter(|ended| ended.evidence.is_none()).count(), 1);
}

#[test]
fn before_every_arm_has_evidence_nothing_is_verified() {
    let mut lab = Lab::of(SMALL);
    while lab.stored.as_ref().is_none_or(|stored| stored.attempts.is_empty()) {
        assert_eq!(condition(&status_of(&lab), types::ATTESTATION_VERIFIED).0, ConditionStatus::Unknown);
        lab.turn();
    }
    assert_eq!(condition(&status_of(&lab), types::ATTESTATION_VERIFIED), (ConditionStatus::Unknown, "NotYet".into()));
}
