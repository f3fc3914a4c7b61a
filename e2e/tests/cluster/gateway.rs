//! Routers of their own before the servers: the topology `Gateway`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{conditions::types, plan::RouterTarget};
use teebench_e2e::cluster::{campaign_file, measured, reason_of};

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
