//! Pods that do not come up, or end: their own reason stands in the run's condition soon afterwards.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use teebench_api::{
    campaign::engine::ServerResources,
    conditions::types,
    files::run::{ReasonCode, Verdict},
};
use teebench_e2e::cluster::{campaign_file, reason_of, side_by_side};

use crate::model::{RIGHT_TOKEN, campaign, model, vllm};

#[tokio::test]
async fn an_image_that_is_not_there_is_told_in_the_runs_condition() -> anyhow::Result<()> {
    side_by_side("pods", "no-image", async |suite| {
        const NAME: &str = "no-image";
        let mut file = campaign(&suite, NAME, RIGHT_TOKEN).await?;
        vllm(&mut file)?.image = format!("localhost/vllm-stand-in@sha256:{}", "d".repeat(64));
        // Without a claim it is the servers' own pods that lack the image.
        model(&mut file)?.cache = None;
        suite.begin(&file).await?;
        suite.trouble_is_told_soon(NAME, "ErrImagePull|ImagePullBackOff").await?;
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn servers_that_find_no_machine_are_told_in_the_runs_condition() -> anyhow::Result<()> {
    side_by_side("pods", "no-room", async |suite| {
        const NAME: &str = "no-room";
        let mut file = campaign(&suite, NAME, RIGHT_TOKEN).await?;
        model(&mut file)?.cache = None;
        vllm(&mut file)?.resources =
            Some(ServerResources { cpu: "500".to_owned(), memory: "512Mi".to_owned(), shared_memory: None });
        suite.begin(&file).await?;
        let told = suite.trouble_is_told_soon(NAME, "Unschedulable").await?;
        ensure!(told.contains("Insufficient cpu"), "{told}");
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn an_engine_that_ends_is_told_in_its_own_words() -> anyhow::Result<()> {
    side_by_side("pods", "engine-ends", async |suite| {
        const NAME: &str = "engine-ends";
        let mut file = campaign(&suite, NAME, RIGHT_TOKEN).await?;
        vllm(&mut file)?.settings.max_model_len = Some(65536);
        suite.begin(&file).await?;
        suite.trouble_is_told_soon(NAME, "is greater than the derived max_model_len").await?;
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn a_load_generator_out_of_memory_is_told_and_its_run_fails() -> anyhow::Result<()> {
    side_by_side("pods", "out-of-memory", async |suite| {
        const NAME: &str = "out-of-memory";
        let (mut file, _) = campaign_file("gateway")?;
        file.campaign.metadata.name = Some(NAME.to_owned());
        let spec = &mut file.campaign.spec;
        spec.routers.retain(|router| router.name == "direct");
        // Prompts and answers take little; two thousand connections at once take more than that.
        let experiment = spec.experiments.first_mut().context("the campaign has an experiment")?;
        experiment.load.max_concurrency = vec![2000];
        if let Some(random) = &mut experiment.dataset.random {
            random.prompts = 4000;
        }
        spec.load_generator.resources =
            Some(ServerResources { cpu: "100m".to_owned(), memory: "16Mi".to_owned(), shared_memory: None });
        spec.failure_policy.attempts_per_run = 1;
        file.policies = BTreeMap::new();
        suite.begin(&file).await?;
        suite.trouble_is_told_soon(NAME, "OOMKilled").await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("RunFailed"), "{:?}", ended.status);
        for run in suite.runs(NAME).await? {
            let status = run.status.clone().unwrap_or_default();
            ensure!(status.validity == Some(Verdict::Failed), "{}: {status:?}", run.name_any());
            ensure!(status.reasons.iter().any(|reason| reason.code == ReasonCode::LoadFailed), "{status:?}");
        }
        let pods = suite.of_campaign::<Pod>(NAME).await?;
        ensure!(!pods.iter().any(|pod| pod.name_any().contains("-b0g1-")), "servers outlive their campaign's end");
        Ok(())
    })
    .await
}
