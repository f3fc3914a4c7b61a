//! Whole campaigns, and passes that are cut off after every single write.

use teebench_api::{files::run::Verdict, plan::next::Outcome};

use super::lab::Lab;

const SMALL: &str = include_str!("../../../../tests/campaigns/small.yaml");

#[test]
fn a_campaign_goes_from_apply_to_answer_and_leaves_no_server() {
    let mut lab = Lab::of(SMALL);

    assert_eq!(lab.run(), Outcome::Completed);

    let stored = lab.stored.as_ref().unwrap();
    assert_eq!(stored.attempts.len(), 8);
    assert!(lab.sets.is_empty() && lab.pods.is_empty(), "servers are left: {:?}", lab.sets);
    assert!(lab.launches.values().all(|count| *count == 1), "{:?}", lab.launches);
}

#[test]
fn a_pass_that_is_cut_off_after_any_write_loses_nothing_and_counts_nothing_twice() {
    let mut whole = Lab::of(SMALL);
    whole.run();
    let ledger_of = |lab: &Lab| lab.stored.as_ref().unwrap().ledger.len();

    for write in 1..=whole.writes {
        let mut lab = Lab::of(SMALL);
        lab.cut_off_at = Some(write);

        assert_eq!(lab.run(), Outcome::Completed, "cut off after write {write}");

        let attempts = &lab.stored.as_ref().unwrap().attempts;
        let valid = attempts.iter().filter(|ended| ended.outcome.verdict == Verdict::Valid).count();
        assert_eq!((attempts.len(), valid), (8, 8), "cut off after write {write}");
        assert!(lab.launches.values().all(|count| *count == 1), "cut off after write {write}: {:?}", lab.launches);
        assert!(lab.sets.is_empty(), "cut off after write {write}: servers are left");
        assert!(ledger_of(&lab) >= ledger_of(&whole), "cut off after write {write}: the ledger is short");
    }
}

#[test]
fn servers_of_an_arm_go_as_soon_as_no_run_needs_them() {
    let mut lab = Lab::of(SMALL);
    let mut fewest_with_runs_left = usize::MAX;
    while lab.ended.is_none() {
        lab.turn();
        let done = lab.stored.as_ref().map_or(0, |stored| stored.attempts.len());
        if (1..8).contains(&done) && !lab.sets.is_empty() {
            fewest_with_runs_left = fewest_with_runs_left.min(lab.sets.len());
        }
    }

    assert_eq!(fewest_with_runs_left, 1);
}

#[test]
fn every_attempt_names_the_servers_of_its_arm() {
    let mut lab = Lab::of(SMALL);
    while lab.jobs.is_empty() {
        lab.turn();
    }

    let arm = lab.jobs[0].metadata.labels.as_ref().unwrap()[crate::operator::labels::ARM].clone();
    assert_eq!(lab.runs[0].spec.arm, arm);
    assert_eq!(lab.frozen.len(), 1);
}
