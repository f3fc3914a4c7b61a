//! What may still change once a resource is there: the definitions' transition rules, judged as the API server does.

use kube::core::cel::Validator;
use rstest::rstest;
use serde_json::{Value, json};
use teebench_api::{schema::crds, validate::load};

const GOOD: &str = include_str!("corpus/good/gateway.yaml");

/// The messages with which an update from one object to another is refused.
fn refusals(kind: &str, old: &Value, new: &Value) -> Vec<String> {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).expect("the kind is ours");
    let schema = json!(crd.spec.versions[0].schema)["openAPIV3Schema"].take();
    let errors = Validator::new().validate(&schema, new, Some(old)).err();
    errors.into_iter().flatten().map(|error| error.message).collect()
}

fn campaign(started: bool) -> Value {
    let campaign = load(GOOD.as_bytes(), "gateway.yaml").expect("a file of the good corpus is valid").campaign;
    let mut campaign = json!(campaign);
    if started {
        campaign["status"] = json!({"startTime": "2026-07-01T10:00:00Z"});
    }
    campaign
}

fn set(object: &Value, path: &str, value: &Value) -> Value {
    let (parent, field) = path.rsplit_once('/').expect("a path has a parent");
    let mut object = object.clone();
    object.pointer_mut(parent).expect("the parent is there")[field] = value.clone();
    object
}

#[rstest]
#[case::suspend("/spec/suspend", json!(true))]
#[case::cancel("/spec/cancel", json!(true))]
#[case::attempts("/spec/failurePolicy/attemptsPerRun", json!(5))]
#[case::deadline("/spec/deadlineSeconds", json!(7200))]
#[case::time_to_live("/spec/ttlSecondsAfterFinished", json!(60))]
#[case::labels("/metadata/labels", json!({"a": "b"}))]
fn a_started_campaign_can_still_be_steered(#[case] path: &str, #[case] value: Value) {
    let old = campaign(true);
    assert_eq!(refusals("BenchmarkCampaign", &old, &set(&old, path, &value)), Vec::<String>::new());
}

#[rstest]
#[case::seed("/spec/seed", json!(1))]
#[case::engine("/spec/engine/vllm/maxNumSeqs", json!(8))]
#[case::model("/spec/models/0/revision", json!("76543210fedcba9876543210fedcba9876543210"))]
#[case::arm("/spec/arms/0/tee", json!("Disabled"))]
#[case::router("/spec/routers/0/policyRef/name", json!("other"))]
#[case::experiment("/spec/experiments/0/outputTokens", json!([64]))]
#[case::energy("/spec/energy/idleSeconds", json!(0))]
#[case::load_generator("/spec/loadGenerator/replicas", json!(2))]
#[case::parity("/spec/parity/allow", json!([]))]
#[case::a_field_that_was_absent("/spec/headline", json!({"experiment": "ask"}))]
#[case::a_field_that_was_there("/spec/scheduling", json!({"queueName": "other"}))]
fn what_a_started_campaign_measures_is_fixed(#[case] path: &str, #[case] value: Value) {
    let old = campaign(true);
    let refusals = refusals("BenchmarkCampaign", &old, &set(&old, path, &value));
    assert!(refusals.iter().any(|message| message.starts_with("spec: once started")), "{refusals:?}");
}

#[test]
fn a_campaign_that_has_not_started_may_change() {
    let old = campaign(false);
    assert_eq!(refusals("BenchmarkCampaign", &old, &set(&old, "/spec/seed", &json!(1))), Vec::<String>::new());
}

#[test]
fn a_cancelled_campaign_stays_cancelled() {
    let old = set(&campaign(false), "/spec/cancel", &json!(true));
    let refusals = refusals("BenchmarkCampaign", &old, &set(&old, "/spec/cancel", &json!(false)));
    assert_eq!(refusals, ["spec.cancel: a cancelled campaign stays cancelled; apply a new campaign instead"]);
}

#[test]
fn a_run_is_frozen_from_the_start() {
    let old = json!({"metadata": {"name": "run"}, "spec": {
        "campaign": "c", "planSha256": "0".repeat(64), "experiment": "e", "condition": "k", "arm": "a", "tee": "Enabled",
        "router": "r", "repetition": 1, "attempt": 1, "epoch": 1, "block": 0, "boot": 0,
        "seed": u64::MAX.to_string(), "simulated": true,
    }});
    assert_eq!(refusals("BenchmarkRun", &old, &old), Vec::<String>::new());
    let refusals = refusals("BenchmarkRun", &old, &set(&old, "/spec/attempt", &json!(2)));
    assert!(refusals[0].starts_with("spec: the inputs of a run never change"), "{refusals:?}");
}
