//! The CPU of a confidential machine, asked once a boot by a Job of the operator: what its TPM quoted stands in the
//! evidence of each run there and verifies. The TPM is one in software, whose CPU's certificates end in a root for tests; the
//! GPU is simulated and signs nothing, so that a run that is to be endorsed ends Inconclusive and says what it lacks.

use std::fs;

use anyhow::{Context, ensure};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use sha2::{Digest, Sha256};
use teebench_api::{
    campaign::{Endorsement, MinimumEvidence},
    conditions::types,
    files::{
        evidence::EvidenceLevel,
        run::{ReasonCode, Verdict},
    },
    run::BenchmarkRun,
    validate::CampaignFile,
};
use teebench_e2e::cluster::{Suite, campaign_file, reason_of, side_by_side};
use teebench_probe::{attestation::Root, cpu};

use crate::{fetched::Fetched, vllm::nothing_is_told_of_the_tee};

const NAME: &str = "attester";
/// The chart's default.
const ATTESTER_NAMESPACE: &str = "teebench-cpu-attester";
const CONFIDENTIAL_NODE: &str = "cc-on-0";
const MANIFEST: &str = include_str!("../../data/manifest.xml");

fn manifest_sha256() -> String {
    hex::encode(Sha256::digest(MANIFEST))
}

/// The simulator's campaign, whose confidential arm is to be endorsed.
fn to_be_endorsed() -> anyhow::Result<CampaignFile> {
    let (mut file, _) = campaign_file("simulator")?;
    file.campaign.metadata.name = Some(NAME.to_owned());
    let spec = &mut file.campaign.spec;
    spec.routers.retain(|router| router.name == "direct");
    spec.experiments.iter_mut().for_each(|experiment| experiment.repetitions.minimum = 1);
    let arm = spec.arms.iter_mut().find(|arm| arm.name == "cc-on").context("the campaign has a confidential arm")?;
    arm.minimum_evidence = Some(MinimumEvidence::Endorsed);
    arm.endorsement = Some(Endorsement { rim_sha256: vec![manifest_sha256()], config_map: Some(NAME.to_owned()) });
    file.policies.clear();
    Ok(file)
}

#[tokio::test]
async fn the_cpu_of_a_confidential_machine_is_attested_once_a_boot() -> anyhow::Result<()> {
    side_by_side("attester", NAME, async |suite| {
        let Ok(root) = std::env::var("E2E_CPU_TEST_ROOT") else {
            eprintln!("nodes of this cluster have no TPM of a test: not checked");
            return Ok(());
        };
        let jobs: Api<Job> = Api::namespaced(suite.client.clone(), ATTESTER_NAMESPACE);
        // On a cluster that was kept, the machine was attested with another TPM.
        jobs.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let data = Some([("manifest.xml".to_owned(), MANIFEST.to_owned())].into());
        suite.apply(&ConfigMap { metadata, data, ..ConfigMap::default() }).await?;
        suite.begin(&to_be_endorsed()?).await?;

        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Inconclusive"), "{:?}", ended.status);
        ensure!(reason_of(&ended, types::ATTESTATION_VERIFIED) == Some("NotSupported"), "{:?}", ended.status);
        for run in suite.runs(NAME).await? {
            match run.spec.arm.as_str() {
                "cc-off" => the_plain_arm_needs_no_endorsement(&run)?,
                _ => the_level_that_is_demanded_is_not_reached(&run)?,
            }
        }
        nothing_is_told_of_the_tee(&suite, NAME).await?;
        one_machine_was_asked_once(&jobs).await?;
        the_evidence_of_the_cpu_verifies(&suite, &root).await
    })
    .await
}

fn the_plain_arm_needs_no_endorsement(run: &BenchmarkRun) -> anyhow::Result<()> {
    let status = run.status.as_ref().context("a run without a status")?;
    let level = status.evidence.as_ref().map(|evidence| evidence.level);
    ensure!(level == Some(EvidenceLevel::SelfReported), "{status:?}");
    Ok(())
}

fn the_level_that_is_demanded_is_not_reached(run: &BenchmarkRun) -> anyhow::Result<()> {
    let status = run.status.as_ref().context("a run without a status")?;
    ensure!(status.validity == Some(Verdict::Inconclusive) && status.evidence.is_none(), "{status:?}");
    let told = status.reasons.iter().filter(|reason| reason.code == ReasonCode::Evidence);
    let told: Vec<&str> = told.map(|reason| reason.message.as_str()).collect();
    ensure!(told.iter().any(|told| told.contains("Endorsed")), "{status:?}");
    Ok(())
}

async fn one_machine_was_asked_once(jobs: &Api<Job>) -> anyhow::Result<()> {
    let jobs = jobs.list(&ListParams::default()).await?.items;
    let nodes: Vec<Option<&str>> =
        jobs.iter().map(|job| job.spec.as_ref()?.template.spec.as_ref()?.node_name.as_deref()).collect();
    ensure!(nodes == [Some(CONFIDENTIAL_NODE)], "jobs on {nodes:?}");
    Ok(())
}

/// What the Job printed went into the evidence of the confidential arm alone, before and after the run, with the manifests.
async fn the_evidence_of_the_cpu_verifies(suite: &Suite, root: &str) -> anyhow::Result<()> {
    let fetched = Fetched::of(suite, NAME).await?;
    suite.teebench(&["verify", &fetched.path(), "--cpu-test-root", root]).await?.well()?;
    let root = Root::from_test_hex(Some(root))?;
    for phase in ["pre", "post"] {
        ensure!(fetched.evidence("cc-off", phase)?.cpu.is_none(), "the plain arm's machine was attested");
        let evidence = fetched.evidence("cc-on", phase)?;
        let boot_id = evidence.environment.boot_id.as_deref().context("no boot id")?;
        let attested = cpu::verify(evidence.cpu.as_ref().context("no evidence of the cpu")?, boot_id, root)?;
        ensure!(attested.test && attested.registers == 24, "{phase}: {attested:?}");
        ensure!(evidence.references_sha256 == [manifest_sha256()], "{phase}: {:?}", evidence.references_sha256);
    }
    let kept = fs::read_to_string(fetched.run("cc-on")?.join(format!("rim-{}.xml", manifest_sha256())))?;
    ensure!(kept == MANIFEST, "another manifest was kept");
    Ok(())
}
