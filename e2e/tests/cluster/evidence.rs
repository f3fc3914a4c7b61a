//! Real engines beside a driver that answers: what each arm's runs are worth when no GPU has confidential computing on.

use std::{fs, path::Path};

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
    let fetched = tempfile::tempdir()?;
    let out = fetched.path().to_string_lossy().into_owned();
    suite.teebench(&["fetch", name, "--namespace", &suite.namespace, "--out", &out]).await?.well()?;
    suite.teebench(&["verify", &out]).await?.well()?;
    for arm in ["cc-off", "cc-on"] {
        let server = find(&fetched.path().join(name).join("runs"), &format!("/{arm}/direct/r1a1/servers/0"))
            .with_context(|| format!("no server of {arm} was fetched"))?;
        let evidence: teebench_api::files::evidence::Evidence =
            serde_json::from_slice(&fs::read(Path::new(&server).join("evidence/post.json"))?)?;
        ensure!(evidence.state == TeeState::Disabled && !evidence.simulated, "{arm}: {evidence:?}");
        ensure!(evidence.environment.driver_version.as_deref() == Some("580.159.04"), "{arm}: {evidence:?}");
        ensure!(evidence.node.instance_type.is_some(), "{arm}: the node's instance type is not told");
        let uuid = &evidence.environment.gpus.first().context("no gpu in the evidence")?.uuid;
        let lines = fs::read_to_string(Path::new(&server).join(format!("power-{uuid}.jsonl")))?;
        let samples: Result<Vec<Sample>, _> = lines.lines().map(serde_json::from_str).collect();
        ensure!(samples?.iter().any(|sample| sample.power_instant_mw == Some(79_720)), "{arm}: no power was sampled");
    }
    Ok(())
}

/// The directory below `root` whose path ends so.
fn find(root: &Path, end: &str) -> Option<String> {
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let path = directory.to_string_lossy().into_owned();
        if path.ends_with(end) {
            return Some(path);
        }
        let below = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        open.extend(below.filter(|path| path.is_dir()));
    }
    None
}
