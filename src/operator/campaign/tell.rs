//! Tells what came of a pass: the runs' statuses first, the campaign's last, so that nothing is told of a campaign
//! before it is told of its runs.

use kube::ResourceExt;
use serde_json::{Value, json};
use teebench_api::{
    campaign::{BenchmarkCampaign, BenchmarkCampaignStatus, status::Results},
    conditions::{ConditionStatus, found, reasons, types},
    run::{BenchmarkRun, BenchmarkRunStatus},
};

use super::{
    dereference::store_of,
    observe::attempts::{State, attempt_of},
    perform::Performed,
    run_status::{RunPhase, run_status},
    runs,
    status::{Told, campaign_status, tally_of},
    step::{Active, Phase},
    world::{Stored, World},
};
use crate::operator::{context::Context, writer::WriteError};

/// Writes the statuses that changed.
///
/// # Errors
/// One could not be written; the next pass writes it.
pub async fn tell(
    context: &Context,
    world: &World,
    phase: &Phase,
    performed: Performed,
    stalled: Option<&str>,
) -> Result<(), WriteError> {
    let uid = world.campaign.uid().unwrap_or_default();
    // What was done changed what is remembered; without a doubt left, that is what is told.
    let stored = context.memory.get(&uid).or_else(|| world.stored.clone());
    if let Phase::Active(active) | Phase::Ended { active, .. } = phase {
        tell_runs(context, world, active, stored.as_deref()).await?;
    }
    let results = performed.results.or_else(|| kept_results(world, phase));
    let told = Told { world, phase, stored: stored.as_deref(), results, stalled };
    let status = campaign_status(&told);
    count_runs(context, world, stored.as_deref(), &status);
    write_campaign(context, &world.campaign, &status).await
}

/// Tells that the controller cannot go on.
///
/// # Errors
/// The status could not be written.
pub async fn stalled(context: &Context, world: &World, message: &str) -> Result<(), WriteError> {
    let previous = world.campaign.status.clone().unwrap_or_default();
    let at = (world.campaign.metadata.generation, world.now);
    let mut status = previous.clone();
    status.observed_generation = at.0;
    status.conditions.retain(|condition| condition.type_ != types::STALLED && condition.type_ != types::READY);
    let set = |type_, holds| found(&previous.conditions, type_, holds, reasons::FAILED, message, at);
    status.conditions.push(set(types::STALLED, ConditionStatus::True));
    status.conditions.push(set(types::READY, ConditionStatus::False));
    write_campaign(context, &world.campaign, &status).await
}

/// What was published before stays told, while the campaign is over.
fn kept_results(world: &World, phase: &Phase) -> Option<Results> {
    let results = world.campaign.status.as_ref()?.results.clone();
    if matches!(phase, Phase::Ended { .. }) { results } else { None }
}

async fn write_campaign(
    context: &Context,
    campaign: &BenchmarkCampaign,
    status: &BenchmarkCampaignStatus,
) -> Result<(), WriteError> {
    if campaign.status.as_ref() == Some(status) {
        return Ok(());
    }
    let object = with_status("BenchmarkCampaign", &campaign.name_any(), &json!(status));
    let namespace = campaign.namespace().unwrap_or_default();
    context.writer.apply_status::<BenchmarkCampaign>(&namespace, &campaign.name_any(), &object).await.map(|_| ())
}

async fn tell_runs(
    context: &Context,
    world: &World,
    active: &Active,
    stored: Option<&Stored>,
) -> Result<(), WriteError> {
    for run in &world.children.runs {
        let previous = run.status.clone().unwrap_or_default();
        let at = (run.metadata.generation, world.now);
        let Some(status) = status_of_run(context, world, active, stored, run, &previous, at).await else { continue };
        if status == previous {
            continue;
        }
        let object = with_status("BenchmarkRun", &run.name_any(), &json!(status));
        let namespace = run.namespace().unwrap_or_default();
        context.writer.apply_status::<BenchmarkRun>(&namespace, &run.name_any(), &object).await?;
    }
    Ok(())
}

async fn status_of_run(
    context: &Context,
    world: &World,
    active: &Active,
    stored: Option<&Stored>,
    run: &BenchmarkRun,
    previous: &BenchmarkRunStatus,
    at: (Option<i64>, jiff::Timestamp),
) -> Option<BenchmarkRunStatus> {
    if previous.validity.is_some() {
        return None;
    }
    let epoch = u64::try_from(run.spec.epoch).unwrap_or(0);
    if stored.is_some_and(|stored| stored.committed().contains(&epoch)) {
        let ended = match runs::ended(&store_of(context, &world.campaign), &attempt_of(run)).await {
            Ok(ended) => ended?,
            Err(error) => {
                tracing::warn!(run = %run.name_any(), %error, "its results cannot be read; its status waits");
                return None;
            }
        };
        return Some(run_status(previous, RunPhase::Ended(Box::new(ended)), at));
    }
    let under_way = active.under_way.iter().find(|under_way| under_way.epoch == epoch);
    let phase = match under_way.map(|under_way| &under_way.state) {
        Some(State::Running(Some(trouble))) => RunPhase::Running(&trouble.message),
        Some(State::Running(None)) => RunPhase::Running("the load generator runs"),
        Some(State::Ending | State::Lost(_)) => RunPhase::Running("the load generator is ending"),
        None => RunPhase::Booting(active.trouble.as_deref().unwrap_or("its servers are coming up")),
    };
    Some(run_status(previous, phase, at))
}

fn with_status(kind: &str, name: &str, status: &Value) -> Value {
    json!({"apiVersion": "teebench.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "status": status})
}

fn count_runs(context: &Context, world: &World, stored: Option<&Stored>, status: &BenchmarkCampaignStatus) {
    let (namespace, name) = (world.campaign.namespace().unwrap_or_default(), world.campaign.name_any());
    if status.completion_time.is_some() {
        context.metrics.forget_runs(&namespace, &name);
        return;
    }
    let Some(stored) = stored else { return };
    let tally = tally_of(world, stored);
    let open = tally.total - tally.valid - tally.inconclusive - tally.failed;
    let counts =
        [("valid", tally.valid), ("inconclusive", tally.inconclusive), ("failed", tally.failed), ("open", open)];
    for (state, count) in counts {
        context.metrics.set_runs(&namespace, &name, state, count);
    }
}
