//! Machines of its own: a campaign waits for those of others, is disturbed by nobody, and gives its own back.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use teebench_api::{
    conditions::{ConditionStatus, reasons, types},
    files::run::{ReasonCode, Verdict},
    plan::next::Outcome,
};

use super::{
    lab::Lab,
    statuses::{condition, status_of},
};
use crate::operator::machines::queue::{Claim, Holder};

const SMALL: &str = include_str!("../../../../tests/campaigns/small.yaml");

fn other() -> Holder {
    Holder { namespace: "others".into(), name: "first".into(), uid: "uid-other".into() }
}

fn launched(lab: &mut Lab) {
    while lab.step().effects.iter().all(|effect| !format!("{effect:?}").starts_with("Launch")) {
        lab.turn();
    }
    for effect in lab.step().effects {
        lab.perform_alone(effect);
    }
}

#[test]
fn a_campaign_waits_for_machines_that_another_holds_and_says_for_whom() {
    let mut lab = Lab::of(SMALL);
    lab.queue.held.insert("confidential".into(), other());

    let waiting = lab.turn();
    let status = status_of(&lab);

    assert!(lab.stored.is_none() && lab.sets.is_empty() && lab.jobs.is_empty(), "one that waits starts nothing");
    assert!(waiting.claim.is_some_and(|claim| claim.machines.contains("plain")), "it stands in the queue");
    assert_eq!(condition(&status, types::SUCCEEDED), (ConditionStatus::Unknown, reasons::QUEUED.into()));
    let told = status.conditions.iter().find(|condition| condition.type_ == types::SUCCEEDED).unwrap();
    assert!(told.message.contains("others/first") && told.message.contains("confidential"), "{}", told.message);

    lab.queue.held.clear();
    assert_eq!(lab.run(), Outcome::Completed);
}

#[test]
fn a_campaign_stands_behind_an_older_one_that_waits_too() {
    let mut lab = Lab::of(SMALL);
    let machines = ["plain".to_owned()].into();
    let since = Timestamp::UNIX_EPOCH.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap();
    lab.queue.claims.push(Arc::new(Claim { campaign: other(), priority: 0, since, machines }));

    assert!(lab.turn().claim.is_some());
    assert!(lab.sets.is_empty());
}

#[test]
fn machines_are_held_from_before_the_first_server_to_the_end() {
    let mut lab = Lab::of(SMALL);

    while lab.ended.is_none() {
        lab.turn();
        assert!(lab.sets.is_empty() || lab.queue.held.len() == 2, "servers on machines that are not held");
    }

    assert!(lab.queue.held.is_empty(), "{:?}", lab.queue);
}

#[test]
fn a_suspended_campaign_holds_no_machines() {
    let mut lab = Lab::of(SMALL);
    launched(&mut lab);
    lab.campaign.spec.suspend = true;
    for _ in 0..10 {
        for effect in lab.step().effects {
            lab.perform_alone(effect);
        }
        lab.pods.retain(|pod| lab.sets.iter().any(|set| pod.name_any().starts_with(&set.name_any())));
    }

    assert!(lab.queue.held.is_empty(), "{:?}", lab.queue);
    lab.campaign.spec.suspend = false;
    assert_eq!(lab.run(), Outcome::Completed);
}

#[test]
fn a_run_beside_which_others_use_gpus_is_broken_off_and_does_not_count() {
    let mut lab = Lab::of(SMALL);
    launched(&mut lab);
    for pod in &mut lab.pods {
        pod.spec = Some(serde_json::from_value(json!({"nodeName": "plain", "containers": []})).unwrap());
    }
    let foreign = json!({"metadata": {"name": "train-0", "namespace": "others"}, "status": {"phase": "Running"},
        "spec": {"nodeName": "plain",
                 "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}});
    lab.gpu_pods.push(serde_json::from_value(foreign).unwrap());
    let name = lab.jobs[0].name_any();
    for _ in 0..3 {
        for effect in lab.step().effects {
            lab.perform_alone(effect);
        }
    }

    let reason = lab.told_to_end(&name).expect("it is told to end");
    assert!(reason.code == ReasonCode::ForeignGpuUse && reason.message.contains("others/train-0"), "{reason:?}");
    assert_eq!(lab.launches.len(), 1, "nothing starts while the pod is there");
    let attempts = &lab.stored.as_ref().unwrap().attempts;
    assert_eq!(attempts.iter().map(|ended| ended.outcome.verdict).collect::<Vec<_>>(), [Verdict::Inconclusive]);

    lab.gpu_pods.clear();
    assert_eq!(lab.run(), Outcome::Completed);
}

#[test]
fn what_a_kubelet_tells_of_images_and_secrets_stands_in_the_preflight() {
    let mut lab = Lab::of(SMALL);
    lab.turn();
    let waiting = json!({"name": "vllm", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "couldn't find key token"}}});
    lab.pods[0].status = Some(serde_json::from_value(json!({"containerStatuses": [waiting]})).unwrap());

    let status = status_of(&lab);

    assert_eq!(condition(&status, types::PREFLIGHT_PASSED), (ConditionStatus::False, "NoSecretKey".into()));
}
