//! The campaign controller: one pass reads, decides, writes and tells, in this order.

mod dereference;
mod effect;
mod expiry;
mod file;
mod headline;
pub mod memory;
pub mod observe;
mod perform;
mod run_status;
mod runs;
mod status;
mod step;
mod tell;
#[cfg(test)]
mod tests;
mod validate;
pub mod world;

use std::{sync::Arc, time::Instant};

use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use teebench_api::{campaign::BenchmarkCampaign, with_causes};
use thiserror::Error;
use tokio::time::Duration;

use self::{
    dereference::{DereferenceError, dereference},
    effect::Effect,
    expiry::expire,
    perform::{PerformError, perform},
    step::{Phase, decide},
    world::World,
};
use super::{build::BuildError, context::Context, writer::WriteError};

/// How long a pass may leave a campaign alone when nothing happens: a watch may lose an event, and money is spent.
const RESYNC: Duration = Duration::from_mins(2);
/// How long the cache may take to show a status that was just written: before that, an end would be told twice.
const TOLD: Duration = Duration::from_secs(5);
/// How soon a pass follows one that found something to record first.
const AT_ONCE: Duration = Duration::from_millis(1);

/// A pass failed at one of its steps.
#[derive(Debug, Error)]
pub enum Error {
    /// Reading the world.
    #[error("cannot read what the campaign needs")]
    Dereference(#[from] DereferenceError),
    /// Building objects.
    #[error("cannot build what the plan says")]
    Build(#[from] BuildError),
    /// Writing to the cluster or the store.
    #[error("cannot do what the plan says")]
    Perform(#[from] PerformError),
    /// Writing the status.
    #[error("cannot write the status")]
    Status(#[from] WriteError),
}

impl Error {
    /// Whether another pass may succeed without anybody's help. The one place where that is decided.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dereference(error) => error.is_retryable(),
            Self::Build(_) => false,
            Self::Perform(error) => error.is_retryable(),
            Self::Status(error) => error.is_retryable(),
        }
    }

    /// The step that failed.
    const fn step(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "dereference",
            Self::Build(_) => "build",
            Self::Perform(_) => "apply",
            Self::Status(_) => "status",
        }
    }
}

/// One pass over a campaign.
///
/// # Errors
/// A step failed; those before it stand, and another pass does no harm.
pub async fn reconcile(campaign: Arc<BenchmarkCampaign>, context: Arc<Context>) -> Result<Action, Error> {
    // The controller waits for the campaigns alone.
    context.filled().await;
    let started = Instant::now();
    wake_policies(&campaign, &context);
    let uid = campaign.uid().unwrap_or_default();
    if campaign.metadata.deletion_timestamp.is_some() || is_over(&campaign) {
        context.memory.forget(&uid);
        context.machines.forget(&uid);
        return Ok(expire(&campaign, &context).await.map_err(PerformError::from)?);
    }
    let outcome = pass(&campaign, &context).await;
    let (step, result) = match &outcome {
        Ok(_) => ("done", "succeeded"),
        Err(error) => (error.step(), if error.is_retryable() { "retried" } else { "stalled" }),
    };
    context.metrics.reconciled("campaign", step, result, started.elapsed());
    if outcome.is_ok() {
        context.backoff.reset(&uid);
    }
    outcome
}

/// Policies tell how many campaigns use them: that changes when a campaign comes, and when it ends.
fn wake_policies(campaign: &BenchmarkCampaign, context: &Context) {
    if campaign
        .status
        .as_ref()
        .is_some_and(|status| status.completion_time.is_none() && status.observed_generation.is_some())
    {
        return;
    }
    let namespace = campaign.namespace().unwrap_or_default();
    for policy in campaign.spec.routers.iter().filter_map(|router| router.policy_ref.as_ref()) {
        // A controller that has ended is not woken any more.
        let _ = context.wake_policy.unbounded_send(ObjectRef::new(&policy.name).within(&namespace));
    }
}

async fn pass(campaign: &Arc<BenchmarkCampaign>, context: &Context) -> Result<Action, Error> {
    // dereference (client required)
    let world = dereference(context, campaign.clone()).await?;

    // validate, plan, build (no client required)
    let decided = decide(&world, &context.settings);

    // apply and update status (client required)
    match decided {
        Ok(step) => {
            let wake_at = step.wake_at;
            let claim = step.claim;
            let only_records = step.only_records;
            let happenings: Vec<_> = step.effects.iter().filter_map(Effect::happening).collect();
            let performed = match &step.phase {
                Phase::Refused(_) => Ok(perform::Performed::default()),
                Phase::Active(active) | Phase::Ended { active, .. } => {
                    perform(context, campaign, active, step.effects).await
                }
            };
            match performed {
                Ok(performed) => {
                    for happening in &happenings {
                        context.events.publish(campaign.as_ref(), happening).await;
                    }
                    if only_records {
                        return Ok(Action::requeue(AT_ONCE));
                    }
                    match claim {
                        Some(claim) => context.machines.wait(claim),
                        None => context.machines.withdraw(&campaign.uid().unwrap_or_default()),
                    }
                    tell::tell(context, &world, &step.phase, performed, None).await?;
                }
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    let message = with_causes(&error);
                    tell::tell(context, &world, &step.phase, perform::Performed::default(), Some(&message)).await?;
                    return Err(error.into());
                }
            }
            if matches!(step.phase, Phase::Ended { .. }) {
                // The pass that follows finds it over, and waits for the end of its time to live.
                let seconds = campaign.spec.ttl_seconds_after_finished.map(u64::from);
                let left = seconds.map_or(RESYNC, Duration::from_secs);
                return Ok(Action::requeue(left.clamp(TOLD, RESYNC)));
            }
            Ok(Action::requeue(until(&world, wake_at)))
        }
        Err(error) => {
            tell::stalled(context, &world, &with_causes(&error)).await?;
            Err(error.into())
        }
    }
}

/// What to do after a pass that failed: wait longer each time; what nobody mends is looked at again when it changes.
pub fn error_policy(campaign: &BenchmarkCampaign, error: &Error, context: &Context) -> Action {
    let wait = context.backoff.after_failure(&campaign.uid().unwrap_or_default());
    let message = with_causes(error);
    tracing::warn!(campaign = %campaign.name_any(), namespace = campaign.namespace(), step = error.step(), error = message, "pass failed");
    if error.is_retryable() { Action::requeue(wait) } else { Action::requeue(wait.max(RESYNC)) }
}

/// Whether a campaign has ended and nothing of it was changed since.
fn is_over(campaign: &BenchmarkCampaign) -> bool {
    let status = campaign.status.as_ref();
    status.is_some_and(|status| {
        status.completion_time.is_some() && status.observed_generation == campaign.metadata.generation
    })
}

fn until(world: &World, wake_at: Option<jiff::Timestamp>) -> Duration {
    let Some(at) = wake_at else { return RESYNC };
    let left = at.as_millisecond().saturating_sub(world.now.as_millisecond());
    Duration::from_millis(u64::try_from(left).unwrap_or(0)).clamp(AT_ONCE, RESYNC)
}
