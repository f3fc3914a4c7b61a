//! Real engines beside a driver that answers: what each arm's runs are worth when no GPU has confidential computing on.

use std::fs;

use anyhow::{Context, ensure};
use teebench_api::{
    conditions::types,
    files::{
        evidence::{EvidenceLevel, TeeState},
        run::{ReasonCode, Verdict},
    },
    run::BenchmarkRun,
};
use teebench_e2e::cluster::{Suite, reason_of, side_by_side};
use teebench_probe::sampler::Sample;

use crate::{
    fetched::Fetched,
    model::{RIGHT_TOKEN, campaign, vllm},
    vllm::nothing_is_told_of_the_tee,
};

#[tokio::test]
async fn a_confidential_pool_whose_gpus_say_off_ends_inconclusive() -> anyhow::Result<()> {
    side_by_side("vllm", "nvml-off", async |suite| {
        const NAME: &str = "nvml-off";
        let mut file = campaign(&suite, NAME, RIGHT_TOKEN).await?;
        vllm(&mut file)?.image.clone_from(&suite.settings.nvml_image);
        suite.begin(&file).await?;

        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Inconclusive"), "{:?}", ended.status);
        ensure!(reason_of(&ended, types::ATTESTATION_VERIFIED) == Some("NotSupported"), "{:?}", ended.status);
        for run in suite.runs(NAME).await? {
            match run.spec.arm.as_str() {
                "cc-off" => the_plain_arm_is_supported(&run)?,
                _ => the_confidential_arm_is_not(&run)?,
            }
        }
        nothing_is_told_of_the_tee(&suite, NAME).await?;
        what_was_fetched_verifies(&suite, NAME).await
    })
    .await
}

fn the_plain_arm_is_supported(run: &BenchmarkRun) -> anyhow::Result<()> {
    let status = run.status.as_ref().context("a run without a status")?;
    let is_of_evidence = status.reasons.iter().any(|reason| reason.code == ReasonCode::Evidence);
    ensure!(!is_of_evidence, "{status:?}");
    let level = status.evidence.as_ref().map(|evidence| evidence.level);
    ensure!(level == Some(EvidenceLevel::SelfReported), "{status:?}");
    Ok(())
}

fn the_confidential_arm_is_not(run: &BenchmarkRun) -> anyhow::Result<()> {
    let status = run.status.as_ref().context("a run without a status")?;
    ensure!(status.validity == Some(Verdict::Inconclusive) && status.evidence.is_none(), "{status:?}");
    let told = status.reasons.iter().find(|reason| reason.code == ReasonCode::Evidence);
    let told = told.map(|reason| reason.message.as_str()).unwrap_or_default();
    ensure!(told.contains("evidence says Disabled where the campaign claims Enabled"), "{status:?}");
    Ok(())
}

/// The evidence of both arms says what the driver said, its samples are there, and `verify` finds nothing wrong.
async fn what_was_fetched_verifies(suite: &Suite, name: &str) -> anyhow::Result<()> {
    let fetched = Fetched::of(suite, name).await?;
    suite.teebench(&["verify", &fetched.path()]).await?.well()?;
    for arm in ["cc-off", "cc-on"] {
        let evidence = fetched.evidence(arm, "post")?;
        ensure!(evidence.state == TeeState::Disabled && !evidence.simulated, "{arm}: {evidence:?}");
        ensure!(evidence.environment.driver_version.as_deref() == Some("580.159.04"), "{arm}: {evidence:?}");
        ensure!(evidence.node.instance_type.is_some(), "{arm}: the node's instance type is not told");
        let uuid = &evidence.environment.gpus.first().context("no gpu in the evidence")?.uuid;
        let lines = fs::read_to_string(fetched.run(arm)?.join(format!("servers/0/power-{uuid}.jsonl")))?;
        let samples: Result<Vec<Sample>, _> = lines.lines().map(serde_json::from_str).collect();
        ensure!(samples?.iter().any(|sample| sample.power_instant_mw == Some(79_720)), "{arm}: no power was sampled");
    }
    Ok(())
}
