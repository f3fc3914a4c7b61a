//! The end of a campaign's time to live: its Jobs, runs and their inputs go, the campaign and its results stay.

use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use kube::{ResourceExt, api::DeleteParams, runtime::controller::Action};
use teebench_api::{campaign::BenchmarkCampaign, run::BenchmarkRun};
use tokio::time::Duration;

use crate::operator::{caches::of_campaign, context::Context, labels::CAMPAIGN_UID, writer::WriteError};

/// Milliseconds until a campaign's Jobs and runs go, negative when that time has passed; none when they stay.
fn left_ms(campaign: &BenchmarkCampaign, now: Timestamp) -> Option<i64> {
    let ended: Timestamp = campaign.status.as_ref()?.completion_time.as_ref()?.parse().ok()?;
    let seconds = campaign.spec.ttl_seconds_after_finished?;
    Some(ended.as_millisecond() + i64::from(seconds) * 1000 - now.as_millisecond())
}

/// Deletes what a campaign that is over leaves, once its time to live has passed; gives when to look again.
///
/// # Errors
/// Something cannot be deleted; what went before is gone, and another pass goes on.
pub async fn expire(campaign: &BenchmarkCampaign, context: &Context) -> Result<Action, WriteError> {
    if campaign.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let Some(left) = left_ms(campaign, Timestamp::now()) else { return Ok(Action::await_change()) };
    if let Ok(left) = u64::try_from(left)
        && left > 0
    {
        return Ok(Action::requeue(Duration::from_millis(left)));
    }
    let (namespace, name) = (campaign.namespace().unwrap_or_default(), campaign.name_any());
    let uid = campaign.uid().unwrap_or_default();
    let is_own = |labels: &std::collections::BTreeMap<String, String>| labels.get(CAMPAIGN_UID) == Some(&uid);
    let parameters = DeleteParams::background();
    let jobs = of_campaign(&context.caches.jobs, &namespace, &name);
    for job in jobs.iter().filter(|job| is_own(job.labels())) {
        context.writer.delete::<Job>(&namespace, &job.name_any(), &parameters).await?;
    }
    let runs = of_campaign(&context.caches.runs, &namespace, &name);
    for run in runs.iter().filter(|run| is_own(run.labels())) {
        context.writer.delete::<ConfigMap>(&namespace, &run.name_any(), &parameters).await?;
        context.writer.delete::<BenchmarkRun>(&namespace, &run.name_any(), &parameters).await?;
    }
    Ok(Action::await_change())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use teebench_api::validate;

    use super::*;

    #[rstest]
    #[case::it_stays(None, Some("2026-11-01T00:00:00Z"), None)]
    #[case::it_has_not_ended(Some(60), None, None)]
    #[case::time_is_left(Some(60), Some("2026-11-01T00:00:00Z"), Some(50_000))]
    #[case::it_goes_at_once(Some(0), Some("2026-11-01T00:00:10Z"), Some(0))]
    #[case::its_time_has_passed(Some(5), Some("2026-11-01T00:00:00Z"), Some(-5000))]
    fn a_time_to_live_begins_with_the_end(
        #[case] seconds: Option<u32>,
        #[case] ended: Option<&str>,
        #[case] expected: Option<i64>,
    ) {
        let text = include_bytes!("../../../tests/campaigns/small.yaml");
        let mut campaign = validate::load(text, "small.yaml").unwrap().campaign;
        campaign.spec.ttl_seconds_after_finished = seconds;
        campaign.status.get_or_insert_default().completion_time = ended.map(str::to_owned);

        assert_eq!(left_ms(&campaign, "2026-11-01T00:00:10Z".parse().unwrap()), expected);
    }
}
