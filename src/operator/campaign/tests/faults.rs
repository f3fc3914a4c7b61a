//! What goes wrong on the way: references, nodes, servers, load generators, people.

use jiff::SignedDuration;
use kube::ResourceExt;
use rstest::rstest;
use serde_json::json;
use teebench_api::{
    files::run::{ReasonCode, Verdict},
    plan::next::Outcome,
};

use super::lab::Lab;
use crate::{
    operator::campaign::step::{Phase, Step},
    preflight::Preflight,
};

const SMALL: &str = include_str!("../../../../tests/campaigns/small.yaml");

fn trouble(step: &Step) -> String {
    match &step.phase {
        Phase::Refused(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        Phase::Active(active) | Phase::Ended { active, .. } => active.trouble.clone().unwrap_or_default(),
    }
}

#[test]
fn a_policy_that_is_not_there_is_named_and_its_coming_lets_the_campaign_go_on() {
    let mut lab = Lab::of(SMALL);
    let policies = std::mem::take(&mut lab.policies);

    let refused = lab.turn();
    assert!(
        trouble(&refused).contains("UnknownPolicy") && trouble(&refused).contains("\"hr-tree\""),
        "{}",
        trouble(&refused)
    );
    assert_eq!(lab.writes, 0, "a campaign that is not accepted does nothing");

    lab.policies = policies;
    assert_eq!(lab.run(), Outcome::Completed);
}

#[rstest]
#[case::too_dear(
    "energy: {idleSeconds: 0}",
    "energy: {idleSeconds: 0}\n  budget: {currency: USD, maximum: \"0.001\"}",
    "OverBudget"
)]
fn what_cannot_be_run_is_refused_before_anything_is_written(
    #[case] from: &str,
    #[case] to: &str,
    #[case] reason: &str,
) {
    let price = r#"price: {perMachineHour: "7", currency: USD, source: "list", asOf: "2026-01-01"}}"#;
    let priced = SMALL.replace("pool: plain}}}", &format!("pool: plain}}}}, {price}"));
    let priced = priced.replace("pool: confidential}}}", &format!("pool: confidential}}}}, {price}"));
    let mut lab = Lab::of(&priced.replacen(from, to, 1));

    let refused = lab.turn();

    assert!(trouble(&refused).starts_with(reason), "{}", trouble(&refused));
    assert_eq!(lab.writes, 0);
}

#[test]
fn no_server_is_started_where_an_arm_has_no_nodes() {
    let mut lab = Lab::of(&SMALL.replace("pool: confidential", "pool: elsewhere"));

    let waiting = lab.turn();

    let Phase::Active(active) = &waiting.phase else { panic!("it waits") };
    assert!(matches!(&active.preflight, Preflight::Missing { reason: "NoNodes", .. }), "{:?}", active.preflight);
    assert!(lab.sets.is_empty());
}

#[test]
fn a_pod_that_cannot_get_its_image_is_told_in_its_own_words_and_the_boot_is_given_up_in_time() {
    let mut lab = Lab::of(SMALL);
    lab.turn();
    let waiting = json!({"name": "vllm", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}});
    let mut told = String::new();
    for _ in 0..200 {
        for pod in &mut lab.pods {
            pod.status = Some(serde_json::from_value(json!({"containerStatuses": [waiting]})).unwrap());
        }
        let step = lab.turn();
        if lab.ended.is_some() {
            break;
        }
        if told.is_empty() {
            told = trouble(&step);
        }
    }

    assert!(told.contains("ImagePullBackOff"), "{told}");
    assert_eq!(lab.ended, Some(Outcome::RunFailed));
    let attempts = &lab.stored.as_ref().unwrap().attempts;
    assert!(attempts.iter().all(|ended| ended.outcome.reasons[0].message.contains("ImagePullBackOff")), "{attempts:?}");
}

#[test]
fn a_server_that_ends_during_a_run_fails_the_run_and_the_block_is_repeated_on_new_servers() {
    let mut lab = Lab::of(SMALL);
    while lab.step().effects.iter().all(|effect| !format!("{effect:?}").starts_with("Launch")) {
        lab.turn();
    }
    // Launched, and the server ends before the load generator does.
    let step = lab.step();
    for effect in step.effects {
        lab.perform_alone(effect);
    }
    let ended = json!({"name": "vllm", "image": "", "imageID": "", "ready": false, "restartCount": 1,
        "state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}});
    lab.pods[0].status = Some(serde_json::from_value(json!({"containerStatuses": [ended]})).unwrap());
    let name = lab.jobs[0].name_any();

    let effects = lab.step().effects;
    for effect in effects {
        lab.perform_alone(effect);
    }

    let reason = lab.told_to_end(&name).expect("it is told to end");
    assert!(reason.code == ReasonCode::ServerDied && reason.message.contains("OOMKilled"), "{reason:?}");
    assert_eq!(lab.run(), Outcome::Completed);
    let failed = |ended: &&crate::operator::campaign::world::Ended| ended.outcome.verdict == Verdict::Failed;
    assert_eq!(lab.stored.as_ref().unwrap().attempts.iter().filter(failed).count(), 1);
    assert!(lab.launches.values().all(|count| *count == 1));
}

#[test]
fn a_load_generator_that_leaves_nothing_fails_its_attempt_and_a_second_one_makes_good() {
    let mut lab = Lab::of(SMALL);
    while lab.step().effects.iter().all(|effect| !format!("{effect:?}").starts_with("Launch")) {
        lab.turn();
    }
    for effect in lab.step().effects {
        lab.perform_alone(effect);
    }
    let name = lab.jobs[0].name_any();
    lab.fail_job(&name, Some("BackoffLimitExceeded"));

    assert_eq!(lab.run(), Outcome::Completed);

    let attempts = &lab.stored.as_ref().unwrap().attempts;
    let failed: Vec<_> = attempts.iter().filter(|ended| ended.outcome.verdict == Verdict::Failed).collect();
    assert_eq!((attempts.len(), failed.len()), (9, 1));
    assert_eq!(failed[0].outcome.reasons[0].code, ReasonCode::LoadFailed);
}

#[test]
fn suspend_interrupts_without_cost_and_going_on_completes() {
    let mut lab = Lab::of(SMALL);
    while lab.step().effects.iter().all(|effect| !format!("{effect:?}").starts_with("Launch")) {
        lab.turn();
    }
    for effect in lab.step().effects {
        lab.perform_alone(effect);
    }
    lab.campaign.spec.suspend = true;
    for _ in 0..10 {
        for effect in lab.step().effects {
            lab.perform_alone(effect);
        }
        lab.pods.retain(|pod| lab.sets.iter().any(|set| pod.name_any().starts_with(&set.name_any())));
    }
    let attempts = lab.stored.as_ref().unwrap().attempts.clone();
    assert_eq!(attempts.iter().map(|ended| ended.outcome.verdict).collect::<Vec<_>>(), [Verdict::Interrupted]);
    assert!(lab.sets.is_empty(), "a suspended campaign keeps no servers");

    lab.campaign.spec.suspend = false;
    assert_eq!(lab.run(), Outcome::Completed);
}

#[test]
fn a_passed_deadline_ends_the_campaign() {
    let mut lab = Lab::of(SMALL);
    lab.campaign.spec.deadline_seconds = Some(5);
    lab.turn();
    lab.now = lab.now.checked_add(SignedDuration::from_secs(10)).unwrap();

    assert_eq!(lab.run(), Outcome::DeadlineExceeded);
    assert!(lab.sets.is_empty());
}

#[test]
fn pods_that_are_never_created_are_told_as_missing() {
    let mut lab = Lab::of(SMALL);
    lab.turn();
    let mut told = String::new();
    for _ in 0..15 {
        // A quota, say, lets no pod be created.
        lab.pods.clear();
        lab.now = lab.now.checked_add(SignedDuration::from_secs(1)).unwrap();
        told = trouble(&lab.step());
    }

    assert!(told.contains("has 0 of 2 pods"), "{told}");
}
