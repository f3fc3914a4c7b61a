//! What people want to know of a campaign that runs: how far it is, what runs now, what each arm gives, who waits.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt;
use teebench_api::{
    campaign::{BenchmarkCampaign, status::Progress},
    conditions::{Condition, types},
    files::run::Verdict,
    run::BenchmarkRun,
};

use super::seen::Live;
use crate::measure::Step;

/// A campaign at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The reason of its condition Succeeded.
    pub state: String,
    /// What that condition says.
    pub message: String,
    /// Runs that ended, and all.
    pub done: u32,
    /// Runs of the plan.
    pub total: u32,
    /// Runs that ended by whether they count: valid, inconclusive, failed.
    pub counts: [u32; 3],
    /// Money spent, with its currency.
    pub spent: Option<String>,
    /// When it is expected to end.
    pub ends: Option<String>,
    /// What runs now, and what it is doing.
    pub now: Option<(String, String)>,
    /// What each arm and router gives.
    pub rows: Vec<Row>,
    /// Runs that ended, each told in a line.
    pub ended: Vec<(i64, String)>,
    /// Other campaigns that wait, and for whom.
    pub queue: Vec<String>,
}

/// What one arm gives through one router.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Arm.
    pub arm: String,
    /// Router.
    pub router: String,
    /// Runs that count.
    pub valid: usize,
    /// Output tokens per second of the latest run that counts.
    pub tokens_per_second: Option<String>,
    /// Its median time to first token.
    pub ttft_p50: Option<String>,
    /// Its energy of one output token, in joules.
    pub joules_per_token: Option<String>,
    /// Output tokens per second now.
    pub live_tokens_per_s: Option<f64>,
    /// Mean time to first token of the present run, in milliseconds.
    pub live_ttft_ms: Option<f64>,
}

impl View {
    /// What is to be shown.
    pub fn of(
        campaign: &BenchmarkCampaign,
        runs: &[Arc<BenchmarkRun>],
        live: Option<&Live>,
        others: &[Arc<BenchmarkCampaign>],
    ) -> Self {
        let status = campaign.status.clone().unwrap_or_default();
        let progress = status.progress.as_ref();
        let count = |of: fn(&Progress) -> u32| progress.map_or(0, of);
        let counts = [
            count(|progress| progress.valid),
            count(|progress| progress.inconclusive),
            count(|progress| progress.failed),
        ];
        let state = succeeded(campaign);
        let now = progress.and_then(|progress| progress.current_run.clone()).map(|run| {
            let doing = live.filter(|live| live.attempt == run).map_or_else(String::new, |live| told(&live.step));
            (run, doing)
        });
        let mut queue: Vec<String> = others.iter().filter_map(|other| waiting(other)).collect();
        queue.sort();
        Self {
            name: campaign.name_any(),
            state: state.map_or_else(|| "New".to_owned(), |condition| condition.reason.clone()),
            message: state.map_or_else(String::new, |condition| condition.message.clone()),
            done: counts.iter().sum(),
            total: count(|progress| progress.total),
            counts,
            spent: status.spent.map(|spent| format!("{} {}", spent.amount, spent.currency)),
            ends: progress.and_then(|progress| progress.estimated_completion_time.clone()),
            now,
            rows: rows(campaign, runs, live),
            ended: runs.iter().filter_map(|run| Some((run.spec.epoch, line_of(run)?))).collect(),
            queue,
        }
    }
}

/// The condition that says how a campaign is.
pub fn succeeded(campaign: &BenchmarkCampaign) -> Option<&Condition> {
    campaign.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == types::SUCCEEDED)
}

fn waiting(campaign: &BenchmarkCampaign) -> Option<String> {
    let condition = succeeded(campaign).filter(|condition| condition.reason == "Queued")?;
    Some(format!("{}: {}", campaign.name_any(), condition.message))
}

fn told(step: &Step) -> String {
    match step {
        Step::Load { done, failed, in_flight, total, output_tokens_per_s, ttft_mean_ms: _ } => {
            format!("{done}/{total} requests, {in_flight} in flight, {failed} failed, {output_tokens_per_s:.0} tok/s")
        }
        other => other.describe().to_owned(),
    }
}

/// A row for each arm and router of the campaign, in its order.
fn rows(campaign: &BenchmarkCampaign, runs: &[Arc<BenchmarkRun>], live: Option<&Live>) -> Vec<Row> {
    let spec = &campaign.spec;
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for run in runs {
        let row = rows.entry((&run.spec.arm, &run.spec.router)).or_default();
        let Some(status) = run.status.as_ref().filter(|status| status.validity == Some(Verdict::Valid)) else {
            continue;
        };
        row.valid += 1;
        let columns = status.columns.clone().unwrap_or_default();
        (row.tokens_per_second, row.ttft_p50, row.joules_per_token) =
            (columns.tokens_per_second, columns.ttft_p50, columns.joules_per_token);
    }
    // runs/<experiment>/<condition>/<arm>/<router>/<attempt>
    let mut parts = live.map(|live| live.attempt.split('/').skip(2)).into_iter().flatten();
    let present = parts.next().zip(parts.next());
    let pairs =
        spec.arms.iter().flat_map(|arm| spec.routers.iter().map(|router| (arm.name.as_str(), router.name.as_str())));
    pairs
        .map(|(arm, router)| {
            let mut row = rows.remove(&(arm, router)).unwrap_or_default();
            (row.arm, row.router) = (arm.to_owned(), router.to_owned());
            if present == Some((arm, router))
                && let Some(Live { step: Step::Load { output_tokens_per_s, ttft_mean_ms, .. }, .. }) = live
            {
                row.live_tokens_per_s = Some(*output_tokens_per_s);
                row.live_ttft_ms = *ttft_mean_ms;
            }
            row
        })
        .collect()
}

/// A run that ended, in a line.
fn line_of(run: &BenchmarkRun) -> Option<String> {
    let spec = &run.spec;
    let status = run.status.as_ref()?;
    let validity = status.validity?;
    let path = format!(
        "{}/{}/{}/{}/r{}a{}",
        spec.experiment, spec.condition, spec.arm, spec.router, spec.repetition, spec.attempt
    );
    let columns = status.columns.clone().unwrap_or_default();
    let measured = [
        columns.tokens_per_second.map(|rate| format!("{rate} tok/s")),
        columns.ttft_p50.map(|ttft| format!("TTFT {ttft}")),
        columns.joules_per_token.map(|energy| format!("{energy} J/token")),
        status.reasons.first().map(|reason| reason.message.clone()),
    ];
    let measured: Vec<String> = measured.into_iter().flatten().collect();
    Some(format!("{path}  {validity:?}  {}", measured.join(", ")).trim_end().to_owned())
}
