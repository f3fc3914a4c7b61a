//! What many campaigns cost the operator: applies them to a real API server, plays the kubelet of as many machines as
//! shall be busy, and tells the time from an event to the action on it, writes for each run, and memory. `e2e/scale`
//! runs it. No load is executed: a load generator's pod runs for a while and fails, and each such run ends Failed.

mod machines;
mod operator;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::{Json, Router, routing::get};
use clap::Parser;
use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use teebench_api::{campaign::BenchmarkCampaign, files::evidence::Environment};
use teebench_e2e::cluster::{eventually, pauses_between_jobs_ms, quantile};
use tokio::net::TcpListener;

use self::{
    machines::{Kubelet, MACHINE, MANAGER},
    operator::Operator,
};

const NAMESPACE: &str = "scale";
/// Where every server's probe answers, which is this program.
const PROBE: &str = "0.0.0.0:9400";
/// Objects that are written at once while the campaigns are applied.
const AT_ONCE: usize = 16;
/// How often the operator's memory is looked at.
const LOOK: Duration = Duration::from_secs(10);
const CLEAN_UP: Duration = Duration::from_secs(600);

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
    /// Seconds that a run takes.
    #[arg(long, default_value_t = 15)]
    run_seconds: u64,
    /// Seconds for which what a campaign leaves besides its results is kept.
    #[arg(long, default_value_t = 60)]
    ttl_seconds: u32,
    /// Seconds to watch them for; all is told of what was done by then.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Address by which this program is reached, and which every server's pod has.
    #[arg(long, default_value = "10.200.0.1")]
    address: String,
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
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    namespaces.patch(NAMESPACE, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&namespace)).await?;
    machines::make(&client, args.machines).await?;
    tokio::spawn(machines::live(client.clone(), args.machines));
    let kubelet = Kubelet {
        pods: Api::namespaced(client.clone(), NAMESPACE),
        address: args.address.clone(),
        run: Duration::from_secs(args.run_seconds),
    };
    tokio::spawn(kubelet.work());

    let begun = Instant::now();
    let campaigns: Api<BenchmarkCampaign> = Api::namespaced(client.clone(), NAMESPACE);
    stream::iter((0..args.campaigns).map(anyhow::Ok))
        .try_for_each_concurrent(AT_ONCE, async |index| {
            let campaign = campaign(index, args)?;
            campaigns.create(&PostParams::default(), &campaign).await?;
            Ok(())
        })
        .await?;
    eprintln!("{} campaigns applied in {} s", args.campaigns, begun.elapsed().as_secs());

    let store = tempfile::tempdir()?;
    let operator = Operator::start(&args.teebench, NAMESPACE, store.path()).await?;
    watch(args, &operator).await?;
    // The operator lets go of a campaign that is deleted.
    campaigns.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    eventually("the campaigns are gone", CLEAN_UP, async || {
        let left = campaigns.list(&ListParams::default().limit(1)).await.map_err(|error| error.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err("some are left".to_owned()) }
    })
    .await?;
    drop(operator);
    namespaces.delete(NAMESPACE, &DeleteParams::background()).await?;
    machines::remove(&client, args.machines).await
}

/// Looks at the operator for as long as was asked, and tells what it cost.
async fn watch(args: &Args, operator: &Operator) -> anyhow::Result<()> {
    let begun = Instant::now();
    let first = operator.processor_seconds()?;
    let mut memory = Vec::new();
    let mut looks = tokio::time::interval(LOOK);
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        looks.tick().await;
        memory.push(operator.resident_mib()?);
        eprint!("\r{:>5} of {} s, {:>6.1} MiB", begun.elapsed().as_secs(), args.seconds, memory.last().unwrap_or(&0.0));
    }
    eprintln!();
    let watched = begun.elapsed().as_secs_f64();
    let used = operator.processor_seconds()? - first;
    let counts = operator.counts().await?;

    let row = |what: &str, found: String| println!("{what:<56} {found:>10}");
    row("seconds watched", format!("{watched:.0}"));
    row("runs begun", format!("{:.0}", counts.runs));
    row("writes to the API server for each run", format!("{:.1}", counts.writes / counts.runs));
    row("processor time, millicores", format!("{:.0}", used / watched * 1e3));
    for sixth in 0..=6 {
        let index = (memory.len() - 1) * sixth / 6;
        row(&format!("memory (resident) after {} s, MiB", index * 10), format!("{:.1}", memory[index]));
    }
    row("memory, most, MiB", format!("{:.1}", memory.iter().copied().fold(0.0, f64::max)));
    let pauses = pauses_between_jobs_ms(NAMESPACE)?.context("this cluster keeps no audit log")?;
    let mut pauses: Vec<f64> = pauses.into_values().flatten().collect();
    pauses.sort_by(f64::total_cmp);
    row("events with an action", pauses.len().to_string());
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("most", 1.0)] {
        row(&format!("event to action, writes included, ms, {name}"), format!("{:.0}", quantile(&pauses, share)));
    }
    Ok(())
}

fn probe_routes() -> Router {
    let engine = json!({"version": "simulator", "num_gpu_blocks": 1000, "served_model": null, "ready_seconds": 1.0,
        "started_unix_ns": 1, "alive": true});
    let environment: Value = json!(Environment::default());
    Router::new()
        .route("/engine", get(move || std::future::ready(Json(engine.clone()))))
        .route("/environment", get(move || std::future::ready(Json(environment.clone()))))
}

fn campaign(index: usize, args: &Args) -> anyhow::Result<BenchmarkCampaign> {
    let pool = machines::machine(index % args.machines);
    Ok(serde_json::from_value(json!({
        "apiVersion": "teebench.dev/v1alpha1", "kind": "BenchmarkCampaign",
        "metadata": {"name": format!("c{index}")},
        "spec": {
            "engine": {"simulator": {"profile": "Tiny", "replicas": 1, "maxNumSeqs": 4, "maxModelLen": 4096},
                       "restart": "Campaign"},
            "models": [{"name": "tiny", "repository": "teebench/tiny", "revision": "0".repeat(40)}],
            "arms": [{"name": "plain", "tee": "Disabled", "nodePool": {"selector": {MACHINE: pool}}}],
            "routers": [{"name": "direct", "direct": {}}],
            "experiments": [{"name": "ask", "dataset": {"random": {"prompts": 8, "inputTokens": [64]}},
                "load": {"maxConcurrency": [4]}, "outputTokens": [8], "repetitions": {"minimum": args.runs}}],
            "energy": {"idleSeconds": 0},
            "ttlSecondsAfterFinished": args.ttl_seconds,
            "loadGenerator": {"nodeSelector": {MACHINE: pool}},
            "failurePolicy": {"attemptsPerRun": 1, "maximumFailedRuns": 10000}
        }
    }))?)
}
