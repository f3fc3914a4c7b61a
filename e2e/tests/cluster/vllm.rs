//! vLLM from a gated repository: the download, the flags, the GPUs, and what a run without GPU evidence is worth.

use std::fs;

use anyhow::{Context, ensure};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, Pod},
};
use kube::ResourceExt;
use serde_json::Value;
use teebench_api::{
    conditions::types,
    files::run::{ReasonCode, Verdict},
};
use teebench_e2e::cluster::{Suite, reason_of, side_by_side};

use crate::{
    fetched::Fetched,
    model::{RIGHT_TOKEN, campaign, model},
};

fn component(pod: &Pod) -> &str {
    pod.labels().get("app.kubernetes.io/component").map_or("", String::as_str)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let variables = container.env.iter().flatten();
    variables.filter(|variable| variable.name == name).find_map(|variable| variable.value.as_deref())
}

fn sees_a_secret(container: &Container) -> bool {
    let variables = container.env.iter().flatten();
    variables.filter_map(|variable| variable.value_from.as_ref()).any(|source| source.secret_key_ref.is_some())
}

/// Its pods while a run is executed.
async fn pods_of_a_run(suite: &Suite, name: &str) -> anyhow::Result<Vec<Pod>> {
    suite
        .campaign_until(name, "a run is executed", |campaign| {
            let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
            progress.is_some_and(|progress| progress.current_run.is_some())
        })
        .await?;
    suite.of_campaign(name).await
}

fn the_token_is_seen_by_the_download_alone(pods: &[Pod]) -> anyhow::Result<()> {
    for pod in pods {
        for container in containers(pod) {
            let is_download = component(pod) == "download" && container.name == "download";
            ensure!(sees_a_secret(container) == is_download, "{} of {}", container.name, pod.name_any());
        }
    }
    ensure!(pods.iter().any(|pod| component(pod) == "download"), "there was no download");
    Ok(())
}

fn servers_have_a_gpu_and_read_only_weights(pods: &[Pod], image: &str) -> anyhow::Result<()> {
    let servers: Vec<&Pod> = pods.iter().filter(|pod| component(pod) == "server").collect();
    ensure!(servers.len() == 2, "{} servers", servers.len());
    for pod in servers {
        let name = pod.name_any();
        let spec = pod.spec.as_ref().context("a pod without a spec")?;
        ensure!(spec.runtime_class_name.as_deref() == Some("nvidia"), "{name}: {:?}", spec.runtime_class_name);
        let user = spec.security_context.as_ref().and_then(|context| context.run_as_user);
        ensure!(user == Some(3000), "{name} runs as {user:?}");
        let vllm = spec.containers.iter().find(|container| container.name == "vllm").context("no container vllm")?;
        ensure!(vllm.image.as_deref() == Some(image), "{name}: {:?}", vllm.image);
        let limits = vllm.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let gpus = limits.and_then(|limits| limits.get("nvidia.com/gpu")).map(|quantity| quantity.0.as_str());
        ensure!(gpus == Some("1"), "{name} asks for {gpus:?} GPUs");
        ensure!(variable(vllm, "HF_HUB_OFFLINE") == Some("1"), "{name} may look on the hub");
        let mount = vllm.volume_mounts.iter().flatten().find(|mount| mount.mount_path == "/models");
        ensure!(mount.and_then(|mount| mount.read_only) == Some(true), "{name} may write to its weights: {mount:?}");
    }
    Ok(())
}

#[tokio::test]
async fn vllm_serves_gated_weights_and_without_gpu_evidence_no_run_counts() -> anyhow::Result<()> {
    side_by_side("vllm", "vllm", async |suite| {
        const NAME: &str = "vllm";
        let file = campaign(&suite, NAME, RIGHT_TOKEN).await?;
        suite.begin(&file).await?;
        let pods = pods_of_a_run(&suite, NAME).await?;
        the_token_is_seen_by_the_download_alone(&pods)?;
        servers_have_a_gpu_and_read_only_weights(&pods, &suite.settings.vllm_image)?;
        let jobs = suite.of_campaign::<Job>(NAME).await?;
        let download = jobs.iter().find(|job| job.name_any().starts_with("weights-")).context("no download")?;
        let succeeded = download.status.as_ref().and_then(|status| status.succeeded);
        ensure!(succeeded == Some(1), "{:?}", download.status);

        let ended = suite.outcome(NAME).await?;
        // No NVML is there, so nothing shows whether confidential computing is on: no run may count.
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Inconclusive"), "{:?}", ended.status);
        ensure!(reason_of(&ended, types::ATTESTATION_VERIFIED) == Some("NotSupported"), "{:?}", ended.status);
        let runs = suite.runs(NAME).await?;
        ensure!(runs.len() == 2, "{} runs", runs.len());
        for run in runs {
            let status = run.status.as_ref().context("a run without a status")?;
            ensure!(status.validity == Some(Verdict::Inconclusive), "{status:?}");
            ensure!(status.reasons.iter().any(|reason| reason.code == ReasonCode::Evidence), "{status:?}");
            let completed =
                status.metrics.as_ref().map(|metrics| (metrics.completed_requests, metrics.failed_requests));
            ensure!(completed == Some((16, 0)), "{completed:?} requests");
            ensure!(!run.spec.simulated, "a campaign of vLLM is told to be simulated");
        }
        nothing_is_told_of_the_tee(&suite, NAME).await
    })
    .await
}

/// No effect stands in the summary and none in the columns.
pub async fn nothing_is_told_of_the_tee(suite: &Suite, name: &str) -> anyhow::Result<()> {
    let fetched = Fetched::of(suite, name).await?;
    let summary: Value = serde_json::from_slice(&fs::read(fetched.campaign().join("summary.json"))?)?;
    let text = summary.to_string();
    ensure!(!text.contains("\"ratio\":{"), "an effect was published: {text}");
    let columns = suite.kubectl(&["get", "bc", name, "--no-headers"]).await?.well()?;
    ensure!(!columns.contains('%'), "{columns}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_token_is_told_in_the_runs_condition() -> anyhow::Result<()> {
    side_by_side("vllm", "wrong-token", async |suite| {
        const NAME: &str = "wrong-token";
        let file = campaign(&suite, NAME, "another-token").await?;
        suite.begin(&file).await?;
        suite.trouble_is_told_soon(NAME, "Access to model stand-in/gated is restricted").await?;
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn a_wrong_revision_is_told_in_the_runs_condition() -> anyhow::Result<()> {
    side_by_side("vllm", "wrong-revision", async |suite| {
        const NAME: &str = "wrong-revision";
        let mut file = campaign(&suite, NAME, RIGHT_TOKEN).await?;
        model(&mut file)?.revision = "f".repeat(40);
        suite.begin(&file).await?;
        suite.trouble_is_told_soon(NAME, "Revision Not Found").await?;
        suite.end(NAME).await
    })
    .await
}
