//! Routers of their own before the servers: the topology `Gateway`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{conditions::types, plan::RouterTarget};
use teebench_e2e::cluster::{campaign_file, deployed_image, measured, reason_of};

#[tokio::test]
async fn gateways_route_for_servers_that_have_no_router_beside_them() -> anyhow::Result<()> {
    measured("gateway", "gateway", async |suite| {
        let (file, _) = campaign_file("gateway")?;
        let name = file.campaign.name_any();
        suite.begin(&file).await?;
        suite
            .campaign_until(&name, "a run is executed", |campaign| {
                let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
                progress.is_some_and(|progress| progress.current_run.is_some())
            })
            .await?;
        let gateways = suite.of_campaign::<Deployment>(&name).await?;
        let [gateways] = gateways.as_slice() else { anyhow::bail!("{} Deployments", gateways.len()) };
        let replicas = gateways.spec.as_ref().and_then(|spec| spec.replicas);
        ensure!(replicas == Some(2), "{replicas:?} gateways");
        for pod in suite.of_campaign::<Pod>(&name).await? {
            let of_server = pod.labels()["app.kubernetes.io/component"] == "server";
            let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
            let has_router = init.into_iter().flatten().any(|container| container.name == "router");
            ensure!(!(of_server && has_router), "{} has a router beside it", pod.name_any());
        }
        let ended = suite.outcome(&name).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let fetched = tempfile::tempdir()?;
        let out = fetched.path().to_string_lossy().into_owned();
        suite.teebench(&["fetch", &name, "--namespace", &suite.namespace, "--out", &out]).await?.well()?;
        let mut targets = BTreeMap::new();
        for router in ["direct", "gateway"] {
            let path = fetched.path().join(format!("{name}/runs/ask/tiny/cc-off/{router}/r1a1/run.json"));
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let run: serde_json::Value = serde_json::from_str(&text)?;
            targets.insert(router, serde_json::from_value::<RouterTarget>(run["target"].clone())?);
        }
        ensure!(targets["direct"] != targets["gateway"], "{targets:?}");
        ensure!(suite.of_campaign::<Deployment>(&name).await?.is_empty(), "gateways outlive their campaign's end");
        Ok(())
    })
    .await
}

/// A server and a router before it, which no campaign has started.
fn foreign(image: &str) -> serde_json::Value {
    let workload = |name: &str, args: serde_json::Value, port: u16| {
        let labels = serde_json::json!({"app": name});
        let security = serde_json::json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let container = serde_json::json!({"name": name, "image": image, "command": ["/usr/local/bin/teebench"],
            "args": args, "securityContext": security, "env": [{"name": "VLLM_SERVER_DEV_MODE", "value": "1"}]});
        let pod = serde_json::json!({"nodeSelector": {"kubernetes.azure.com/mode": "system"}, "containers": [container],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 2000, "seccompProfile": {"type": "RuntimeDefault"}}});
        [
            serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
                "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}),
            serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": port}]}}),
        ]
    };
    let server = serde_json::json!([
        "mock-vllm",
        "--host",
        "0.0.0.0",
        "--port",
        "8000",
        "--model",
        "tiny",
        "--max-num-seqs",
        "4",
        "--profile",
        "Tiny"
    ]);
    let router = serde_json::json!([
        "router",
        "--host",
        "0.0.0.0",
        "--port",
        "8080",
        "--worker-urls",
        "http://existing:8000",
        "--policy",
        "round_robin"
    ]);
    let items = [workload("existing", server, 8000), workload("foreign-router", router, 8080)].concat();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items})
}

#[tokio::test]
async fn servers_and_routers_that_are_not_ours_are_measured_by_several_load_generators() -> anyhow::Result<()> {
    measured("gateway", "existing", async |suite| {
        let (file, _) = campaign_file("existing")?;
        let name = file.campaign.name_any();
        let image = deployed_image(&suite).await?;
        let objects = tempfile::NamedTempFile::new()?;
        serde_json::to_writer(&objects, &foreign(&image))?;
        let path = objects.path().to_string_lossy().into_owned();
        suite.kubectl(&["apply", "--filename", &path]).await?.well()?;
        suite
            .kubectl(&["wait", "deployment/existing", "deployment/foreign-router", "--for=condition=Available"])
            .await?
            .well()?;
        suite.begin(&file).await?;
        let ended = suite.outcome(&name).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let fetched = tempfile::tempdir()?;
        let out = fetched.path().to_string_lossy().into_owned();
        suite.teebench(&["fetch", &name, "--namespace", &suite.namespace, "--out", &out]).await?.well()?;
        for router in ["direct", "foreign"] {
            let path = fetched.path().join(format!("{name}/runs/ask/tiny/existing/{router}/r1a1"));
            let read = |file: &str| anyhow::Ok(serde_json::from_slice(&std::fs::read(path.join(file))?)?);
            let (run, bench): (serde_json::Value, serde_json::Value) = (read("run.json")?, read("bench.json")?);
            ensure!(run["evidenceLevel"] == "Declared", "{run}");
            ensure!(bench["completed"] == 24 && bench["max_concurrency"] == 6, "{bench}");
        }
        suite.end(&name).await?;
        suite.kubectl(&["delete", "--filename", &path]).await?.well().map(drop)
    })
    .await
}
