//! A machine whose driver changes its mode, or that restarts, or whose GPU is slowed down while a run is measured: the run is
//! worth nothing, and says why. The driver lies on the node, where the test changes what it answers from; so does the boot id that the probe of
//! these tests' image reads, since the machine under the cluster cannot be restarted.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use teebench_api::{
    campaign::BenchmarkCampaign,
    conditions::types,
    files::run::{ReasonCode, Verdict},
    validate::CampaignFile,
};
use teebench_e2e::cluster::{Said, Suite, eventually, reason_of, side_by_side};
use tokio::sync::Mutex;

use crate::{
    model::{RIGHT_TOKEN, campaign, vllm},
    vllm::nothing_is_told_of_the_tee,
};

/// Longest wait for a load to begin: both arms' engines start before.
const PATIENCE: Duration = Duration::from_secs(240);
/// The nodes of the two arms.
const NODES: [&str; 2] = ["cc-off-0", "cc-on-0"];

/// The nodes' drivers, of which each test here has the use alone.
static DRIVERS: Mutex<()> = Mutex::const_new(());

/// The driver of one node, and its boot id.
struct Driver(PathBuf);

impl Driver {
    /// Puts the driver whose GPU has confidential computing off on a node; `None` where nodes take none of a test's.
    fn install(node: &str) -> anyhow::Result<Option<Self>> {
        let (Some(drivers), Some(library)) = (std::env::var_os("TEEBENCH_DRIVERS"), std::env::var_os("E2E_DRIVER"))
        else {
            return Ok(None);
        };
        let driver = Self(Path::new(&drivers).join(node));
        fs::create_dir_all(&driver.0)?;
        fs::copy(library, driver.0.join("libnvidia-ml.so.1")).context("the driver cannot be put on the node")?;
        driver.says(|_| {})?;
        driver.booted("6f1e6a0e-9d1b-4d0c-8f8e-0c9c0b7a1d2e")?;
        Ok(Some(driver))
    }

    fn says(&self, change: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
        let mut file: Value = serde_json::from_str(include_str!("../../data/nvml-off.json"))?;
        change(&mut file);
        self.write("libnvidia-ml.so.1.json", &file.to_string())
    }

    fn booted(&self, id: &str) -> anyhow::Result<()> {
        self.write("boot_id", id)
    }

    /// Replaces a file as a whole, so that nobody reads half of it.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let part = self.0.join(format!("{name}.part"));
        fs::write(&part, text)?;
        Ok(fs::rename(part, self.0.join(name))?)
    }
}

#[tokio::test]
async fn a_mode_that_changes_or_a_machine_that_restarts_amid_a_run_makes_it_inconclusive() -> anyhow::Result<()> {
    side_by_side("vllm", "driver-changes", async |suite| {
        const NAME: &str = "driver-changes";
        let _alone = DRIVERS.lock().await;
        let mut drivers = Vec::new();
        for node in NODES {
            let Some(driver) = Driver::install(node)? else {
                eprintln!("nodes of this cluster take no driver of a test: not checked");
                return Ok(());
            };
            drivers.push(driver);
        }
        // Half a minute of load, amid which the driver is changed.
        let file = with_driver(&suite, NAME, 60).await?;
        suite.begin(&file).await?;

        amid_the_load(&suite, NAME, "cc-off").await?;
        for driver in &drivers {
            driver.says(|file| {
                file["confidentialCompute"] = json!({
                    "cpuCapability": 4, "gpusCapability": 1, "featureEnabled": true, "environmentProduction": true,
                    "devToolsEnabled": false, "gpusReady": true, "protectedMemoryMib": 95_000, "cpuidIsolationType": 2
                });
            })?;
            driver.booted("0b0a1c2d-1111-4222-8333-944445555666")?;
        }

        let ended = suite.outcome(NAME).await?;
        the_changes_are_told(&suite, NAME, &ended).await?;
        nothing_is_told_of_the_tee(&suite, NAME).await
    })
    .await
}

/// A campaign of engines that find the node's driver, with this many requests, two of them a second.
async fn with_driver(suite: &Suite, name: &str, requests: u32) -> anyhow::Result<CampaignFile> {
    let mut file = campaign(suite, name, RIGHT_TOKEN).await?;
    vllm(&mut file)?.image = std::env::var("E2E_DRIVER_IMAGE").context("E2E_DRIVER_IMAGE is not set")?;
    let experiment = file.campaign.spec.experiments.first_mut().context("the campaign has an experiment")?;
    let mut changed = serde_json::to_value(&*experiment)?;
    changed["dataset"]["random"]["prompts"] = json!(requests);
    changed["load"] = json!({"requestRateMilli": [2000]});
    *experiment = serde_json::from_value(changed)?;
    Ok(file)
}

/// Waits until the load generator of an arm's run sends requests.
async fn amid_the_load(suite: &Suite, campaign: &str, arm: &str) -> anyhow::Result<()> {
    let selector = format!("teebench.dev/campaign={campaign},teebench.dev/arm={arm},app.kubernetes.io/component=load");
    eventually(&format!("the load of {arm} is under way"), PATIENCE, async || {
        let log = suite.kubectl(&["logs", "--selector", &selector, "--tail=-1"]).await;
        let log = log.and_then(Said::well).map_err(|error| format!("{error:#}"))?;
        if log.contains("in_flight") { Ok(()) } else { Err(log) }
    })
    .await
}

async fn the_changes_are_told(suite: &Suite, name: &str, ended: &BenchmarkCampaign) -> anyhow::Result<()> {
    ensure!(reason_of(ended, types::SUCCEEDED) == Some("Inconclusive"), "{:?}", ended.status);
    let runs = suite.runs(name).await?;
    let run = runs.iter().find(|run| run.spec.arm == "cc-off").context("the plain arm has no run")?;
    let status = run.status.as_ref().context("a run without a status")?;
    ensure!(status.validity == Some(Verdict::Inconclusive) && status.evidence.is_none(), "{status:?}");
    let told: Vec<&str> = status.reasons.iter().map(|reason| reason.message.as_str()).collect();
    for expected in [
        "the machine's boot id changed during the run",
        "the gpu's answers on confidential computing changed during the run",
    ] {
        ensure!(told.iter().any(|told| told.contains(expected)), "{expected:?} is not told: {status:?}");
    }
    ensure!(status.reasons.iter().all(|reason| reason.code != ReasonCode::ServerDied), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_gpu_that_its_hardware_slows_down_makes_the_run_inconclusive() -> anyhow::Result<()> {
    side_by_side("vllm", "gpu-throttles", async |suite| {
        const NAME: &str = "gpu-throttles";
        let _alone = DRIVERS.lock().await;
        let Some(driver) = Driver::install(NODES[0])? else {
            eprintln!("nodes of this cluster take no driver of a test: not checked");
            return Ok(());
        };
        // NVML's bit for a slow-down by hardware, for instance because the GPU is too hot.
        driver.says(|file| file["gpus"][0]["throttleReasons"] = json!(0x8))?;
        // The reasons are read once a second, so the load is one of several.
        let mut file = with_driver(&suite, NAME, 10).await?;
        file.campaign.spec.arms.retain(|arm| arm.name == "cc-off");
        file.campaign.spec.comparison = None;
        suite.begin(&file).await?;

        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Inconclusive"), "{:?}", ended.status);
        // The machine is not to blame for anything else: its evidence supports the arm.
        ensure!(reason_of(&ended, types::ATTESTATION_VERIFIED) == Some("Supported"), "{:?}", ended.status);
        let runs = suite.runs(NAME).await?;
        let status = runs.first().and_then(|run| run.status.as_ref()).context("no run has a status")?;
        ensure!(status.validity == Some(Verdict::Inconclusive), "{status:?}");
        let told = status.reasons.iter().find(|reason| reason.code == ReasonCode::Throttled);
        ensure!(told.is_some_and(|told| told.message.contains("hardware slowdown")), "{status:?}");
        ensure!(status.reasons.iter().all(|reason| reason.code != ReasonCode::Evidence), "{status:?}");
        Ok(())
    })
    .await
}
