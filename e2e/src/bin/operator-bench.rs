//! What the operator costs, beside the bars of its design: idle processor time and memory, the pause between a Job's
//! completion and the next Job, writes to the API server for each run. `e2e/bench` runs it.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use serde::Deserialize;
use teebench_api::conditions::types;
use teebench_e2e::cluster::{
    OPERATOR_NAMESPACE, Suite, campaign_file, eventually, measured, metrics, pauses_between_jobs_ms, quantile,
    reason_of,
};

/// How long an operator without work is watched.
const IDLE: Duration = Duration::from_secs(60);
/// Two arms, three ways of routing and four repetitions.
const RUNS: usize = 24;
const CAMPAIGN: &str = "bench";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measured("bench", "bench", bench).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(suite: Suite) -> anyhow::Result<()> {
    suite.end(CAMPAIGN).await?;
    let idle = idle(&suite).await?;
    let writes_before = writes(&suite).await?;
    run_campaign(&suite).await?;
    let pauses = pauses_between_jobs_ms(&suite.namespace)?;
    let writes_of_runs = writes(&suite).await? - writes_before;
    let used = usage(&suite).await?;

    println!("{:<58} {:>10} {:>10}", "", "found", "bar");
    let row = |what: &str, found: String, bar: &str| println!("{what:<58} {found:>10} {bar:>10}");
    row("idle processor time, millicores", format!("{:.1}", idle.millicores), "5");
    row("idle memory (resident), MiB", format!("{:.1}", idle.resident_mib), "40");
    row("memory after the campaign, MiB", format!("{:.1}", used.resident_bytes / MIB), "");
    if let Some(mut pauses) = pauses.map(|mut of_campaigns| of_campaigns.remove(CAMPAIGN).unwrap_or_default()) {
        ensure!(pauses.len() + 1 >= RUNS, "{} pauses in the audit log", pauses.len());
        pauses.sort_by(f64::total_cmp);
        let what = |share: &str| format!("Job's completion to the next Job, ms, {share} of {}", pauses.len());
        row(&what("p50"), format!("{:.0}", quantile(&pauses, 0.5)), "");
        row(&what("p99"), format!("{:.0}", quantile(&pauses, 0.99)), "200");
    } else {
        println!("Job's completion to the next Job: not known, this cluster keeps no audit log");
    }
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let per_run = writes_of_runs / RUNS as f64;
    row("writes to the API server for each run", format!("{per_run:.1}"), "");
    Ok(())
}

const MIB: f64 = 1024.0 * 1024.0;

struct Idle {
    millicores: f64,
    resident_mib: f64,
}

/// What the operator's container has used so far, as its kubelet tells.
struct Usage {
    at: Timestamp,
    cpu_seconds: f64,
    resident_bytes: f64,
}

#[derive(Deserialize)]
struct Summary {
    pods: Vec<PodStats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    containers: Vec<ContainerStats>,
}

#[derive(Deserialize)]
struct PodRef {
    name: String,
}

#[derive(Deserialize)]
struct ContainerStats {
    cpu: CpuStats,
    memory: MemoryStats,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CpuStats {
    time: Timestamp,
    usage_core_nano_seconds: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemoryStats {
    rss_bytes: f64,
}

async fn usage(suite: &Suite) -> anyhow::Result<Usage> {
    let pods: Api<Pod> = Api::namespaced(suite.client.clone(), OPERATOR_NAMESPACE);
    let found = pods.list(&ListParams::default().labels("app.kubernetes.io/component=operator")).await?;
    let pod = found.items.first().context("no operator")?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).context("the operator has no node")?;
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    let Summary { pods } = suite.client.request(http::Request::get(path).body(Vec::new())?).await?;
    let stats = pods.into_iter().find(|stats| stats.pod_ref.name == pod.name_any());
    let stats = stats.and_then(|stats| stats.containers.into_iter().next()).context("no statistics of the operator")?;
    Ok(Usage {
        at: stats.cpu.time,
        cpu_seconds: stats.cpu.usage_core_nano_seconds / 1e9,
        resident_bytes: stats.memory.rss_bytes,
    })
}

/// Watches the operator without work: from one of its kubelet's samples to one that lies a minute later.
async fn idle(suite: &Suite) -> anyhow::Result<Idle> {
    let first = usage(suite).await?;
    let last = eventually("a minute of statistics", IDLE * 3, async || {
        let usage = usage(suite).await.map_err(|error| format!("{error:#}"))?;
        let seconds = seconds_between(first.at, usage.at);
        if seconds >= IDLE.as_secs_f64() { Ok(usage) } else { Err(format!("{seconds} s of statistics")) }
    })
    .await?;
    let cores = (last.cpu_seconds - first.cpu_seconds) / seconds_between(first.at, last.at);
    Ok(Idle { millicores: cores * 1e3, resident_mib: last.resident_bytes / MIB })
}

fn seconds_between(first: Timestamp, last: Timestamp) -> f64 {
    last.duration_since(first).as_secs_f64()
}

async fn run_campaign(suite: &Suite) -> anyhow::Result<()> {
    let (mut file, _) = campaign_file("simulator")?;
    file.campaign.metadata.name = Some(CAMPAIGN.to_owned());
    for experiment in &mut file.campaign.spec.experiments {
        experiment.repetitions.minimum = 4;
    }
    suite.begin(&file).await?;
    let ended = suite.outcome(CAMPAIGN).await?;
    let reason = reason_of(&ended, types::SUCCEEDED);
    // A late load generator makes runs inconclusive, and is none of the operator's doing.
    ensure!(matches!(reason, Some("Completed" | "Inconclusive")), "{:?}", ended.status);
    let count = suite.runs(CAMPAIGN).await?.len();
    ensure!(count >= RUNS, "{count} runs");
    Ok(())
}

/// Writes of the operator so far, by its own count.
async fn writes(suite: &Suite) -> anyhow::Result<f64> {
    let metrics = metrics(&suite.client).await?;
    Ok(metrics.iter().filter(|(line, _)| line.starts_with("teebench_api_writes_total")).map(|(_, count)| count).sum())
}
