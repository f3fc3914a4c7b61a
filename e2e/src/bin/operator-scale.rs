//! What many campaigns cost the operator: applies them to a real API server, plays the kubelet of as many machines as
//! shall be busy, and tells the time from an event to the action on it, writes for each run, and memory. `e2e/scale`
//! runs it. No load is executed: a load generator's pod fails as soon as it is placed, and each such run ends Failed.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{Json, Router, routing::get};
use clap::Parser;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;
use serde_json::{Value, json};
use teebench_api::campaign::BenchmarkCampaign;
use teebench_e2e::cluster::{audit_log, eventually};
use tokio::net::TcpListener;

const NAMESPACE: &str = "scale";
const METRICS_PORT: u16 = 29090;
/// Where every server's probe answers, which is this program.
const PROBE: &str = "0.0.0.0:9400";
/// Objects that are written at once while the campaigns are applied.
const AT_ONCE: usize = 16;
/// How often kubelets say that they live: the controller takes one for dead after 50 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the operator's memory is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// What many campaigns cost the operator.
#[derive(Parser)]
struct Args {
    /// The operator's program.
    #[arg(long, env = "E2E_TEEBENCH")]
    teebench: String,
    /// Campaigns.
    #[arg(long, default_value_t = 1000)]
    campaigns: usize,
    /// Runs of each.
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// Machines, and with them campaigns that progress at once.
    #[arg(long, default_value_t = 50)]
    machines: usize,
    /// Seconds to watch them for; all is told of what was done by then.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Address by which this program is reached, and which every server's pod has.
    #[arg(long, default_value = "10.200.0.1")]
    address: String,
}

/// The operator, which ends with this program.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself, and is told by then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(args: &Args) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("no cluster is configured")?;
    let probe = TcpListener::bind(PROBE).await.context(PROBE)?;
    tokio::spawn(async move { axum::serve(probe, probe_routes()).await });
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    Api::<Namespace>::all(client.clone())
        .patch(
            NAMESPACE,
            &PatchParams::apply("operator-scale").force(),
            &Patch::Apply(&json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": namespace.metadata
            })),
        )
        .await?;
    make_machines(&client, args.machines).await?;
    tokio::spawn(heartbeats(client.clone(), args.machines));
    tokio::spawn(kubelets(client.clone(), args.address.clone()));

    let begun = Instant::now();
    let campaigns: Api<BenchmarkCampaign> = Api::namespaced(client.clone(), NAMESPACE);
    let applied: Vec<anyhow::Result<()>> = stream::iter(0..args.campaigns)
        .map(|index| {
            let campaigns = campaigns.clone();
            async move {
                let campaign = campaign(index, index % args.machines, args.runs)?;
                campaigns.create(&PostParams::default(), &campaign).await?;
                Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    applied.into_iter().collect::<anyhow::Result<()>>()?;
    eprintln!("{} campaigns applied in {} s", args.campaigns, begun.elapsed().as_secs());

    let store = tempfile::tempdir()?;
    let operator = start_operator(&args.teebench, store.path())?;
    let pid = operator.0.id();
    eventually("the operator is ready", Duration::from_secs(60), async || {
        text("readyz").await.map(drop).map_err(|error| format!("{error:#}"))
    })
    .await?;
    let begun = Instant::now();
    let first = processor_seconds(pid)?;
    let mut memory = Vec::new();
    let mut looks = tokio::time::interval(LOOK);
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        looks.tick().await;
        memory.push(resident_mib(pid)?);
    }
    let watched = begun.elapsed();
    let used = processor_seconds(pid)? - first;
    let counts = counts().await?;
    tell(&counts, &memory, watched, used)?;
    drop(operator);
    clean_up(&client, args.machines).await
}

fn tell(counts: &Counts, memory: &[f64], watched: Duration, used: f64) -> anyhow::Result<()> {
    let pauses = pauses_ms()?;
    let row = |what: &str, found: String| println!("{what:<64} {found:>10}");
    row("seconds watched", watched.as_secs().to_string());
    row("runs ended", format!("{:.0}", counts.runs));
    row("event to action, writes included, ms, p50", format!("{:.0}", quantile(&pauses, 0.5)));
    row("event to action, writes included, ms, p99", format!("{:.0}", quantile(&pauses, 0.99)));
    row("events looked at", pauses.len().to_string());
    row("writes to the API server for each run", format!("{:.1}", counts.writes / counts.runs));
    row("processor time, millicores", format!("{:.0}", used / watched.as_secs_f64() * 1e3));
    let (first, rest) = memory.split_first().context("no look at the memory")?;
    row("memory (resident), MiB, at the first look", format!("{first:.1}"));
    row("memory, MiB, most", format!("{:.1}", rest.iter().copied().fold(*first, f64::max)));
    row("memory, MiB, at the last look", format!("{:.1}", memory.last().unwrap_or(first)));
    Ok(())
}

fn start_operator(program: &str, store: &std::path::Path) -> anyhow::Result<Operator> {
    let child = Command::new(program)
        .args(["operator", "--namespace", NAMESPACE, "--image", "localhost/teebench:e2e"])
        .args(["--store", &format!("file://{}", store.display()), "--results-url", "https://localhost:28443"])
        .args(["--upload-port", "28443", "--read-port", "28444", "--metrics-port", &METRICS_PORT.to_string()])
        .env("TEEBENCH_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| program.to_owned())?;
    Ok(Operator(child))
}

fn probe_routes() -> Router {
    let engine = json!({"version": "simulator", "num_gpu_blocks": 1000, "served_model": null, "ready_seconds": 1.0,
        "started_unix_ns": 1, "alive": true});
    let environment: Value = json!(teebench_api::files::evidence::Environment::default());
    Router::new()
        .route("/engine", get(move || std::future::ready(Json(engine.clone()))))
        .route("/environment", get(move || std::future::ready(Json(environment.clone()))))
}

fn campaign(index: usize, machine: usize, runs: u32) -> anyhow::Result<BenchmarkCampaign> {
    let pool = format!("p{machine}");
    Ok(serde_json::from_value(json!({
        "apiVersion": "teebench.dev/v1alpha1", "kind": "BenchmarkCampaign",
        "metadata": {"name": format!("c{index}")},
        "spec": {
            "engine": {"simulator": {"profile": "Tiny", "replicas": 1, "maxNumSeqs": 4, "maxModelLen": 4096},
                       "restart": "Campaign"},
            "models": [{"name": "tiny", "repository": "teebench/tiny", "revision": "0".repeat(40)}],
            "arms": [{"name": "plain", "tee": "Disabled", "nodePool": {"selector": {"scale": pool}}}],
            "routers": [{"name": "direct", "direct": {}}],
            "experiments": [{"name": "ask", "dataset": {"random": {"prompts": 8, "inputTokens": [64]}},
                "load": {"maxConcurrency": [4]}, "outputTokens": [8], "repetitions": {"minimum": runs}}],
            "energy": {"idleSeconds": 0},
            "loadGenerator": {"nodeSelector": {"scale": pool}},
            "failurePolicy": {"attemptsPerRun": 1, "maximumFailedRuns": 10000}
        }
    }))?)
}

fn machine(index: usize) -> String {
    format!("scale-{index}")
}

async fn make_machines(client: &Client, count: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let room = json!({"cpu": "512", "memory": "4Ti", "pods": "1000", "ephemeral-storage": "1Ti"});
    for index in 0..count {
        let name = machine(index);
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"scale": format!("p{index}")}}});
        let parameters = PatchParams::apply("operator-scale").force();
        nodes.patch(&name, &parameters, &Patch::Apply(&node)).await?;
        let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Played", "message": "operator-scale plays its kubelet",
             "lastHeartbeatTime": Timestamp::now(), "lastTransitionTime": Timestamp::now()}]}});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(())
}

/// Says of each machine, now and again, that it lives.
async fn heartbeats(client: Client, count: usize) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        beat.tick().await;
        for index in 0..count {
            let name = machine(index);
            let now = format!("{:.6}", Timestamp::now());
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}});
            let parameters = PatchParams::apply("operator-scale").force();
            if let Err(error) = leases.patch(&name, &parameters, &Patch::Apply(&lease)).await {
                eprintln!("{name}: {error}");
            }
        }
    }
}

/// What kubelets do with pods: servers become ready, load generators fail, what is deleted goes.
async fn kubelets(client: Client, address: String) {
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let placed = watcher(pods.clone(), watcher::Config::default()).default_backoff().applied_objects();
    placed
        .for_each_concurrent(AT_ONCE, |pod| async {
            let done = match pod {
                Ok(pod) => kubelet(&pods, &pod, &address).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                eprintln!("{error:#}");
            }
        })
        .await;
}

async fn kubelet(pods: &Api<Pod>, pod: &Pod, address: &str) -> anyhow::Result<()> {
    let name = pod.name_any();
    let is_placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let written = if pod.metadata.deletion_timestamp.is_some() {
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await.map(drop)
    } else if !is_placed || phase != "Pending" {
        Ok(())
    } else {
        let is_load = pod.labels().get("app.kubernetes.io/component").is_some_and(|part| part == "load");
        let now = Timestamp::now();
        let status = if is_load {
            json!({"phase": "Failed", "startTime": now, "message": "no load is executed here"})
        } else {
            json!({"phase": "Running", "startTime": now, "podIP": address, "podIPs": [{"ip": address}],
                   "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]})
        };
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&json!({"status": status}))).await.map(drop)
    };
    match written {
        // It went meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.with_context(|| format!("pod {name}")),
    }
}

/// What the operator has counted.
struct Counts {
    writes: f64,
    runs: f64,
}

async fn text(path: &str) -> anyhow::Result<String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{METRICS_PORT}/{path}")).await?.error_for_status()?;
    Ok(answer.text().await?)
}

async fn counts() -> anyhow::Result<Counts> {
    let metrics = text("metrics").await?;
    let sum = |of: &dyn Fn(&str) -> bool| -> f64 {
        let lines = metrics.lines().filter(|line| of(line));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let counts = Counts {
        writes: sum(&|line| line.starts_with("teebench_api_writes_total")),
        runs: sum(&|line| {
            line.starts_with("teebench_api_writes_total")
                && line.contains("kind=\"Job\"")
                && line.contains("verb=\"apply\"")
        }),
    };
    ensure!(counts.runs > 0.0, "no run was started");
    Ok(counts)
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the operator has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Processor time so far, at the kernel's hundred ticks a second.
fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the operator has ended")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no name")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    verb: String,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Reference {
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

/// Milliseconds from the last word on each Job's status to the creation of its campaign's next Job, in ascending order.
fn pauses_ms() -> anyhow::Result<Vec<f64>> {
    let log = audit_log()?.context("this cluster keeps no audit log")?;
    let (mut created, mut ended) = (BTreeMap::new(), BTreeMap::new());
    for request in log.lines().filter_map(|line| serde_json::from_str::<Request>(line).ok()) {
        let Request { verb, object_ref, response_status, stage_timestamp: at } = request;
        let Some(Reference { resource, namespace, name, subresource }) = object_ref else { continue };
        let Some((campaign, epoch)) = name.rsplit_once("-r") else { continue };
        let Ok(epoch) = epoch.parse::<u32>() else { continue };
        if resource != "jobs" || namespace != NAMESPACE {
            continue;
        }
        let key = (campaign.to_owned(), epoch);
        match (verb.as_str(), subresource.as_deref(), response_status.map(|status| status.code)) {
            ("patch", None, Some(201)) => {
                ended.remove(&key);
                created.insert(key, at);
            }
            ("update", Some("status"), Some(200)) => {
                ended.insert(key, at);
            }
            _ => {}
        }
    }
    let next =
        ended.iter().filter_map(|((campaign, epoch), at)| Some((at, created.get(&(campaign.clone(), epoch + 1))?)));
    let mut pauses: Vec<f64> =
        next.map(|(ended, created)| created.duration_since(*ended).as_secs_f64() * 1e3).collect();
    ensure!(!pauses.is_empty(), "no Job followed another");
    pauses.sort_by(f64::total_cmp);
    Ok(pauses)
}

/// By the nearest rank.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rank among some thousands"
)]
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let rank = (share * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

async fn clean_up(client: &Client, machines: usize) -> anyhow::Result<()> {
    let all = ListParams::default();
    let at_once = DeleteParams::background();
    Api::<BenchmarkCampaign>::namespaced(client.clone(), NAMESPACE).delete_collection(&at_once, &all).await?;
    Api::<Namespace>::all(client.clone()).delete(NAMESPACE, &at_once).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    for index in 0..machines {
        nodes.delete(&machine(index), &at_once).await?;
    }
    Ok(())
}
