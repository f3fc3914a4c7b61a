//! Several models in one campaign, and settings of the engine that one arm or one model has of its own.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use teebench_api::{conditions::types, files::run::RunFile};
use teebench_e2e::cluster::{Suite, campaign_file, eventually, measured, reason_of};

use crate::fetched::Fetched;

/// Longest wait for a boot's pods.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn each_model_is_booted_with_its_own_settings_and_those_of_the_arm() -> anyhow::Result<()> {
    measured("gateway", "overrides", async |suite| {
        let (file, _) = campaign_file("overrides")?;
        let name = file.campaign.name_any();
        suite.begin(&file).await?;
        for (model, length) in [("long", "4096"), ("short", "2048")] {
            let arms = flags_of_a_boot(&suite, &name, model).await?;
            for (arm, sequences) in [("wide", "4"), ("narrow", "2")] {
                let flags = arms.get(arm).with_context(|| format!("no server of {arm}"))?;
                let value = |flag: &str| {
                    let at = flags.iter().position(|word| word == flag)?;
                    flags.get(at + 1).map(String::as_str)
                };
                let found = (value("--max-num-seqs"), value("--max-model-len"));
                ensure!(found == (Some(sequences), Some(length)), "{model} on {arm}: {flags:?}");
            }
        }
        let ended = suite.outcome(&name).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        settings_are_those_of_model_and_arm(&Fetched::of(&suite, &name).await?)?;
        suite.end(&name).await
    })
    .await
}

/// The words of each arm's server while it serves this model.
async fn flags_of_a_boot(suite: &Suite, campaign: &str, model: &str) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    eventually(&format!("both arms have a server of {model}"), PATIENCE, async || {
        let pods = suite.of_campaign::<Pod>(campaign).await.map_err(|error| format!("{error:#}"))?;
        let arms: BTreeMap<String, Vec<String>> = pods
            .iter()
            .filter_map(|pod| Some((pod.labels().get("teebench.dev/arm")?.clone(), engine_words(pod)?)))
            .filter(|(_, words)| words.iter().any(|word| word == model))
            .collect();
        if arms.len() == 2 { Ok(arms) } else { Err(format!("servers of {:?}", arms.keys())) }
    })
    .await
}

fn engine_words(pod: &Pod) -> Option<Vec<String>> {
    let engine = pod.spec.as_ref()?.containers.iter().find(|container| container.name == "vllm")?;
    Some(engine.command.iter().chain(&engine.args).flatten().cloned().collect())
}

/// The digests of the settings are four: no model's and no arm's servers had those of another.
fn settings_are_those_of_model_and_arm(fetched: &Fetched) -> anyhow::Result<()> {
    let mut of_settings = BTreeMap::new();
    for model in ["long", "short"] {
        for arm in ["wide", "narrow"] {
            let path = fetched.campaign().join(format!("runs/ask/{model}/{arm}/direct/r1a1/run.json"));
            let run: RunFile = serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?;
            let digest = run.servers.first().and_then(|server| server.flags_sha256.clone());
            let digest = digest.with_context(|| format!("{model} on {arm}: no digest of its settings"))?;
            let other = of_settings.insert(digest, (model, arm));
            ensure!(other.is_none(), "{model} on {arm} has the settings of {other:?}");
        }
    }
    Ok(())
}
