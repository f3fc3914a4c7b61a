//! The policy controller: says of each RouterPolicy whether it can be used and by how many campaigns it is.

use std::{sync::Arc, time::Instant};

use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use serde_json::json;
use teebench_api::{
    campaign::BenchmarkCampaign,
    conditions::{ConditionStatus, found, reasons, types},
    policy::{RouterPolicy, RouterPolicyStatus},
};
use thiserror::Error;

use super::{context::Context, writer::WriteError};

/// A pass over a policy failed.
#[derive(Debug, Error)]
#[error("cannot write the status")]
pub struct Error(#[from] WriteError);

/// One pass over a policy.
///
/// # Errors
/// Its status cannot be written.
pub async fn reconcile(policy: Arc<RouterPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let campaigns = context.caches.campaigns.state();
    let status = status(&policy, campaigns.iter().map(AsRef::as_ref));
    if policy.status.as_ref().and_then(|status| status.observed_generation) != policy.metadata.generation {
        wake_those_who_wait(&policy, &campaigns, &context);
    }
    let written = if policy.status.as_ref() == Some(&status) {
        Ok(())
    } else {
        let name = policy.name_any();
        let object = json!({"apiVersion": "teebench.dev/v1alpha1", "kind": "RouterPolicy", "metadata": {"name": name}, "status": status});
        let namespace = policy.namespace().unwrap_or_default();
        context.writer.apply_status::<RouterPolicy>(&namespace, &name, &object).await.map(|_| ())
    };
    let outcome = if written.is_ok() { "succeeded" } else { "retried" };
    context.metrics.reconciled("policy", "status", outcome, started.elapsed());
    written?;
    context.backoff.reset(&policy.uid().unwrap_or_default());
    Ok(Action::await_change())
}

/// A campaign that was not accepted may be now.
fn wake_those_who_wait(policy: &RouterPolicy, campaigns: &[Arc<BenchmarkCampaign>], context: &Context) {
    for campaign in campaigns.iter().filter(|campaign| campaign.namespace() == policy.namespace()) {
        // A controller that has ended is not woken any more.
        let _ = context.wake.unbounded_send(ObjectRef::from_obj(campaign.as_ref()));
    }
}

/// What to do after a pass that failed.
pub fn error_policy(policy: &RouterPolicy, error: &Error, context: &Context) -> Action {
    tracing::warn!(policy = %policy.name_any(), error = %error.0, "pass failed");
    Action::requeue(context.backoff.after_failure(&policy.uid().unwrap_or_default()))
}

/// What is told of a policy. The API server's schema and rules have accepted it, and a router takes it with its epoch.
fn status<'a>(policy: &RouterPolicy, campaigns: impl Iterator<Item = &'a BenchmarkCampaign>) -> RouterPolicyStatus {
    let previous = policy.status.clone().unwrap_or_default();
    let at = (policy.metadata.generation, jiff::Timestamp::now());
    let name = policy.name_any();
    let uses = |campaign: &BenchmarkCampaign| {
        let named = campaign.spec.routers.iter().filter_map(|router| router.policy_ref.as_ref());
        let has_ended = campaign.status.as_ref().is_some_and(|status| status.completion_time.is_some());
        !has_ended && campaign.namespace() == policy.namespace() && named.into_iter().any(|policy| policy.name == name)
    };
    let count = campaigns.filter(|campaign| uses(campaign)).count();
    let set =
        |type_, reason, message: &str| found(&previous.conditions, type_, ConditionStatus::True, reason, message, at);
    RouterPolicyStatus {
        observed_generation: policy.metadata.generation,
        conditions: vec![
            set(types::ACCEPTED, reasons::VALID, "the policy can be used"),
            set(types::PROGRAMMED, reasons::VALID, "routers take it with the epoch of each run that names it"),
            set(types::READY, reasons::VALID, "the policy can be used"),
        ],
        campaigns: Some(u32::try_from(count).unwrap_or(u32::MAX)),
    }
}
