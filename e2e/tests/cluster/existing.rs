//! Servers and routers that no campaign has started, named by their Services, and several load generators for one run.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::Pod,
};
use kube::ResourceExt;
use serde_json::{Value, json};
use teebench_api::{
    conditions::types,
    files::{energy::EnergyFile, evidence::EvidenceLevel, run::RunFile},
    plan::RouterTarget,
    policy::Topology,
};
use teebench_e2e::cluster::{Suite, campaign_file, deployed_image, measured, reason_of};

use crate::fetched::Fetched;

const LOAD_GENERATORS: i32 = 3;

/// A Deployment of one pod that runs the program with these words, and its Service.
fn workload(image: &str, name: &str, port: u16, words: &str) -> [Value; 2] {
    let labels = json!({"app": name});
    let container = json!({
        "name": name,
        "image": image,
        "command": ["/usr/local/bin/teebench"],
        "args": words.split_whitespace().collect::<Vec<_>>(),
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let pod = json!({
        "nodeSelector": {"kubernetes.azure.com/mode": "system"},
        "securityContext": {"runAsNonRoot": true, "runAsUser": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    });
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    [
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": template}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": port}]}}),
    ]
}

/// A server and a router before it.
fn foreign(image: &str) -> Value {
    let server = "mock-vllm --host 0.0.0.0 --port 8000 --model tiny --max-num-seqs 4 --profile Tiny";
    let router = "router --host 0.0.0.0 --port 8080 --worker-urls http://existing:8000 --policy round_robin";
    let items = [workload(image, "existing", 8000, server), workload(image, "foreign-router", 8080, router)].concat();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

#[tokio::test]
async fn servers_and_routers_that_are_not_ours_are_measured_by_several_load_generators() -> anyhow::Result<()> {
    measured("gateway", "existing", async |suite| {
        let (file, campaign) = campaign_file("existing")?;
        let campaign = campaign.to_string_lossy().into_owned();
        let preflight = async || suite.teebench(&["preflight", &campaign, "--namespace", &suite.namespace]).await;
        let lacking = preflight().await?;
        ensure!(lacking.code == Some(1), "{lacking:?}");
        for told in ["spec.arms[0].serviceRef.name: no Service \"existing\"", "no Service \"foreign-router\""] {
            ensure!(lacking.out.contains(told), "\"{told}\" was not told: {lacking:?}");
        }
        let objects = tempfile::NamedTempFile::new()?;
        serde_json::to_writer(&objects, &foreign(&deployed_image(&suite).await?))?;
        let path = objects.path().to_string_lossy().into_owned();
        suite.kubectl(&["apply", "--filename", &path]).await?.well()?;
        for name in ["deployment/existing", "deployment/foreign-router"] {
            suite.kubectl(&["rollout", "status", name, "--timeout", "120s"]).await?.well()?;
        }
        preflight().await?.well()?;
        let name = file.campaign.name_any();
        suite.begin(&file).await?;
        let ended = suite.outcome(&name).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        each_run_had_all_load_generators(&suite, &name).await?;
        what_is_not_ours_stays_and_nothing_was_put_beside_it(&suite, &name).await?;
        let fetched = Fetched::of(&suite, &name).await?;
        for router in ["direct", "foreign", "gateway"] {
            only_what_was_measured_is_told(&fetched, router)?;
        }
        suite.end(&name).await?;
        suite.kubectl(&["delete", "--filename", &path]).await?.well().map(drop)
    })
    .await
}

async fn each_run_had_all_load_generators(suite: &Suite, campaign: &str) -> anyhow::Result<()> {
    let jobs = suite.of_campaign::<Job>(campaign).await?;
    ensure!(jobs.len() == 3, "{} Jobs of three runs", jobs.len());
    for job in jobs {
        let succeeded = job.status.as_ref().and_then(|status| status.succeeded);
        ensure!(succeeded == Some(LOAD_GENERATORS), "{}: {:?}", job.name_any(), job.status);
    }
    Ok(())
}

async fn what_is_not_ours_stays_and_nothing_was_put_beside_it(suite: &Suite, campaign: &str) -> anyhow::Result<()> {
    let sets = suite.of_campaign::<StatefulSet>(campaign).await?;
    let deployments = suite.of_campaign::<Deployment>(campaign).await?;
    ensure!((sets.len(), deployments.len()) == (0, 0), "servers were started, or gateways stay");
    let pods = suite.of_campaign::<Pod>(campaign).await?;
    let components: BTreeSet<&str> =
        pods.iter().filter_map(|pod| pod.labels().get("app.kubernetes.io/component")).map(String::as_str).collect();
    ensure!(components.is_subset(&["load", "gateway"].into()), "{components:?}");
    for name in ["existing", "foreign-router"] {
        let found = suite.api::<Deployment>().get(name).await?;
        let ready = found.status.as_ref().and_then(|status| status.ready_replicas);
        ensure!(ready == Some(1), "{name}: {:?}", found.status);
    }
    Ok(())
}

/// The requests and the server's own counters are told; of its machine, its settings and its energy nothing is.
fn only_what_was_measured_is_told(fetched: &Fetched, router: &str) -> anyhow::Result<()> {
    let path = fetched.campaign().join(format!("runs/ask/tiny/existing/{router}/r1a1"));
    let read = |file: &str| fs::read(path.join(file)).with_context(|| format!("{router}: {file}"));
    let run: RunFile = serde_json::from_slice(&read("run.json")?)?;
    let energy: EnergyFile = serde_json::from_slice(&read("energy.json")?)?;
    let bench: Value = serde_json::from_slice(&read("bench.json")?)?;
    ensure!(bench["completed"] == 24 && bench["max_concurrency"] == 6, "{bench}");
    ensure!(run.evidence_level == Some(EvidenceLevel::Declared) && !run.simulated, "{run:?}");
    let [server] = run.servers.as_slice() else { anyhow::bail!("{} servers", run.servers.len()) };
    ensure!(server.uid == "service/existing" && server.engine_url == "http://existing:8000", "{server:?}");
    ensure!(server.prefix_cache_queries.is_some_and(|tokens| tokens > 0), "{server:?}");
    ensure!(server.flags_sha256.is_none() && server.ready_seconds.is_none(), "{server:?}");
    ensure!(server.environment.boot_id.is_none() && server.environment.gpus.is_empty(), "{server:?}");
    ensure!(energy.counter_joules.is_none() && energy.gpus.is_empty(), "{energy:?}");
    let went = match &run.target {
        RouterTarget::Direct { .. } => "direct",
        RouterTarget::Foreign { url } if url == "http://foreign-router:8080" => "foreign",
        RouterTarget::Policy(policy) if policy.topology == Topology::Gateway => "gateway",
        RouterTarget::Foreign { .. } | RouterTarget::Policy(_) => "elsewhere",
    };
    ensure!(went == router, "{router}: {:?}", run.target);
    Ok(())
}
