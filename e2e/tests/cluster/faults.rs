//! What goes wrong around a campaign: references, deletion, an operator that dies, servers that are lost, a person who
//! changes their mind.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use teebench_api::{
    campaign::BenchmarkCampaign, conditions::types, files::run::Verdict, run::BenchmarkRun, validate::CampaignFile,
};
use teebench_e2e::cluster::{OPERATOR_NAMESPACE, Suite, campaign_file, eventually, measured, reason_of, side_by_side};

/// A campaign of one arm and one policy by this name: four runs of some seconds each, so that there is time to interfere.
pub fn small(name: &str) -> anyhow::Result<CampaignFile> {
    let (mut file, _) = campaign_file("simulator")?;
    file.campaign.metadata.name = Some(name.to_owned());
    let spec = &mut file.campaign.spec;
    spec.arms.retain(|arm| arm.name == "cc-off");
    spec.comparison = None;
    spec.headline = None;
    spec.routers.retain(|router| router.name != "least-loaded");
    for experiment in &mut spec.experiments {
        experiment.output_tokens = vec![256];
    }
    file.policies.retain(|policy, _| policy == "hr-tree");
    Ok(file)
}

fn runs_that_ended(campaign: &BenchmarkCampaign) -> u32 {
    let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
    progress.map_or(0, |progress| progress.valid + progress.inconclusive + progress.failed)
}

pub fn is_running(campaign: &BenchmarkCampaign) -> bool {
    let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
    progress.is_some_and(|progress| progress.current_run.is_some())
}

/// Waits until a run has ended and the load of the next is executed.
pub async fn in_the_midst(suite: &Suite, name: &str) -> anyhow::Result<()> {
    let first_has_ended = |campaign: &BenchmarkCampaign| runs_that_ended(campaign) >= 1;
    suite.campaign_until(name, "the first run has ended", first_has_ended).await?;
    eventually("the load of the next run is executed", Duration::from_secs(60), async || {
        let pods = suite.of_campaign::<Pod>(name).await.map_err(|error| format!("{error:#}"))?;
        let load = pods.iter().filter(|pod| pod.labels()["app.kubernetes.io/component"] == "load");
        let phases: Vec<_> = load.filter_map(|pod| pod.status.as_ref()?.phase.as_deref()).collect();
        if phases.contains(&"Running") && phases.contains(&"Succeeded") { Ok(()) } else { Err(format!("{phases:?}")) }
    })
    .await
}

/// Valid runs by what was planned, each with the number of times that it counts.
fn counted(runs: &[BenchmarkRun]) -> BTreeMap<(String, String, u32), usize> {
    let mut counted = BTreeMap::new();
    for run in runs {
        let is_valid = run.status.as_ref().is_some_and(|status| status.validity == Some(Verdict::Valid));
        let key = (run.spec.arm.clone(), run.spec.router.clone(), run.spec.repetition);
        *counted.entry(key).or_default() += usize::from(is_valid);
    }
    counted
}

#[tokio::test]
async fn a_policy_that_is_not_there_is_named_and_applying_it_lets_the_campaign_go_on() -> anyhow::Result<()> {
    side_by_side("faults", "unknown-policy", async |suite| {
        const NAME: &str = "unknown-policy";
        const POLICY: &str = "not-there-yet";
        let mut file = small(NAME)?;
        let spec = file.policies.remove("hr-tree").context("the file has the policy")?;
        let policy = file.campaign.spec.routers.iter_mut().find_map(|router| router.policy_ref.as_mut());
        policy.context("the campaign names the policy")?.name = POLICY.to_owned();
        suite.kubectl(&["delete", "rp", POLICY, "--ignore-not-found"]).await?.well()?;
        suite.begin(&file).await?;
        let refused = |campaign: &BenchmarkCampaign| reason_of(campaign, types::ACCEPTED) == Some("UnknownPolicy");
        let campaign = suite.campaign_until(NAME, "the policy is missed", refused).await?;
        let conditions = campaign.status.unwrap_or_default().conditions;
        let accepted = conditions.iter().find(|condition| condition.type_ == types::ACCEPTED);
        ensure!(accepted.is_some_and(|condition| condition.message.contains(POLICY)), "{accepted:?}");
        suite.apply_policies([(&POLICY.to_owned(), &spec)]).await?;
        let begun =
            |campaign: &BenchmarkCampaign| campaign.status.as_ref().is_some_and(|status| status.start_time.is_some());
        suite.campaign_until(NAME, "it goes on", begun).await?;
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn a_pool_without_nodes_is_named_before_anything_starts() -> anyhow::Result<()> {
    side_by_side("faults", "no-nodes", async |suite| {
        const NAME: &str = "no-nodes";
        let mut file = small(NAME)?;
        let pool = file.campaign.spec.arms.first_mut().and_then(|arm| arm.node_pool.as_mut());
        pool.context("the arm has a pool")?.selector = [("pool".to_owned(), "nowhere".to_owned())].into();
        suite.begin(&file).await?;
        let missed = |campaign: &BenchmarkCampaign| reason_of(campaign, types::PREFLIGHT_PASSED) == Some("NoNodes");
        let campaign = suite.campaign_until(NAME, "the nodes are missed", missed).await?;
        ensure!(campaign.status.is_some_and(|status| status.start_time.is_none()), "it was started");
        ensure!(suite.of_campaign::<Pod>(NAME).await?.is_empty(), "pods were created");
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn a_campaign_deleted_amid_a_run_leaves_nothing_but_its_results() -> anyhow::Result<()> {
    side_by_side("faults", "deleted", async |suite| {
        const NAME: &str = "deleted";
        let campaign = suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        suite.end(NAME).await?;
        let uid = campaign.uid().context("a campaign without a uid")?;
        let fetched = tempfile::tempdir()?;
        let out = fetched.path().to_string_lossy().into_owned();
        let words = ["fetch", NAME, "--namespace", &suite.namespace, "--uid", &uid, "--out", &out];
        suite.teebench(&words).await?.well()?;
        let script = "cd \"$1\" && find . -name SHA256SUMS | grep . | while read -r sums; do \
            (cd \"$(dirname \"$sums\")\" && sha256sum --quiet --check SHA256SUMS) || exit 1; done";
        let root = fetched.path().join(NAME).to_string_lossy().into_owned();
        teebench_e2e::cluster::command("sh", &["-c", script, "sh", &root]).await?.well()?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_operator_that_dies_amid_a_run_goes_on_and_counts_every_run_once() -> anyhow::Result<()> {
    measured("faults", "operator-dies", async |suite| {
        const NAME: &str = "operator-dies";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        let operators: Api<Pod> = Api::namespaced(suite.client.clone(), OPERATOR_NAMESPACE);
        let of_operator = ListParams::default().labels("app.kubernetes.io/component=operator");
        let now = DeleteParams::default().grace_period(0);
        operators.delete_collection(&now, &of_operator).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let counted = counted(&suite.runs(NAME).await?);
        ensure!(counted.len() == 4 && counted.values().all(|count| *count == 1), "{counted:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_lost_amid_a_run_costs_an_attempt_and_not_the_campaign() -> anyhow::Result<()> {
    measured("faults", "server-lost", async |suite| {
        const NAME: &str = "server-lost";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        let pods = suite.of_campaign::<Pod>(NAME).await?;
        let server = pods.iter().find(|pod| pod.labels()["app.kubernetes.io/component"] == "server");
        let server = server.context("no server")?.name_any();
        suite.api::<Pod>().delete(&server, &DeleteParams::default().grace_period(0)).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let runs = suite.runs(NAME).await?;
        let lost = runs.iter().filter(|run| {
            run.status.as_ref().is_some_and(|status| !matches!(status.validity, None | Some(Verdict::Valid)))
        });
        ensure!(lost.count() >= 1, "no attempt was lost with its server");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_suspended_campaign_halts_and_goes_on_where_it_was() -> anyhow::Result<()> {
    measured("faults", "suspended", async |suite| {
        const NAME: &str = "suspended";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        suite.change(NAME, json!({"suspend": true})).await?;
        let halted = |campaign: &BenchmarkCampaign| {
            reason_of(campaign, types::SUCCEEDED) == Some("Suspended") && !is_running(campaign)
        };
        suite.campaign_until(NAME, "it halts", halted).await?;
        let before = suite.runs(NAME).await?.len();
        suite.change(NAME, json!({"suspend": false})).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let runs = suite.runs(NAME).await?;
        ensure!(runs.len() > before, "nothing ran after it went on");
        let counted = counted(&runs);
        ensure!(counted.len() == 4 && counted.values().all(|count| *count >= 1), "{counted:?}");
        Ok(())
    })
    .await
}
