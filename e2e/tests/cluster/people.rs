//! What a person does to a campaign after applying it: cancel, raise attempts, set a time to live, ask for what is
//! frozen, delete a policy in use, delete the namespace.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{Api, ResourceExt, api::DeleteParams};
use serde_json::json;
use teebench_api::{campaign::BenchmarkCampaign, conditions::types, files::run::Verdict, run::BenchmarkRun};
use teebench_e2e::cluster::{Suite, eventually, measured, reason_of, side_by_side};

use crate::faults::{in_the_midst, small};

#[tokio::test]
async fn a_cancelled_campaign_ends_for_good_and_keeps_its_results() -> anyhow::Result<()> {
    side_by_side("faults", "cancelled", async |suite| {
        const NAME: &str = "cancelled";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        suite.change(NAME, json!({"cancel": true})).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Cancelled"), "{:?}", ended.status);
        ensure!(suite.of_campaign::<StatefulSet>(NAME).await?.is_empty(), "servers are left");
        let results = ended.status.and_then(|status| status.results).context("no results")?;
        let name = results.config_map_ref.context("no ConfigMap")?;
        ensure!(suite.api::<ConfigMap>().get_opt(&name).await?.is_some(), "no ConfigMap {name}");
        let refused = suite.change(NAME, json!({"cancel": false})).await.err().context("it was taken back")?;
        ensure!(format!("{refused:#}").contains("a cancelled campaign stays cancelled"), "{refused:#}");
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn after_its_time_to_live_only_the_campaign_and_its_results_are_left() -> anyhow::Result<()> {
    side_by_side("faults", "time-to-live", async |suite| {
        const NAME: &str = "time-to-live";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        suite.change(NAME, json!({"cancel": true})).await?;
        suite.outcome(NAME).await?;
        ensure!(!suite.runs(NAME).await?.is_empty(), "no runs before the time to live was set");
        suite.change(NAME, json!({"ttlSecondsAfterFinished": 1})).await?;
        eventually("Jobs and runs go", Duration::from_secs(60), async || {
            let told = |error: anyhow::Error| format!("{error:#}");
            let runs = suite.of_campaign::<BenchmarkRun>(NAME).await.map_err(told)?.len();
            let jobs = suite.of_campaign::<Job>(NAME).await.map_err(told)?.len();
            if runs + jobs == 0 { Ok(()) } else { Err(format!("{runs} runs and {jobs} Jobs")) }
        })
        .await?;
        let campaign = suite.api::<BenchmarkCampaign>().get(NAME).await?;
        ensure!(reason_of(&campaign, types::SUCCEEDED) == Some("Cancelled"), "{:?}", campaign.status);
        let left: Vec<String> = suite.of_campaign::<ConfigMap>(NAME).await?.iter().map(ResourceExt::name_any).collect();
        ensure!(left == [format!("{NAME}-results")], "{left:?}");
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn raising_the_attempts_of_a_campaign_that_failed_repeats_only_the_block_of_what_failed() -> anyhow::Result<()> {
    measured("faults", "more-attempts", async |suite| {
        const NAME: &str = "more-attempts";
        let mut file = small(NAME)?;
        file.campaign.spec.failure_policy.attempts_per_run = 1;
        file.campaign.spec.failure_policy.maximum_failed_runs = 10;
        suite.begin(&file).await?;
        in_the_midst(&suite, NAME).await?;
        // A pod that somebody deletes costs a load generator no attempt; a server that is lost costs its run one.
        let pods = suite.of_campaign::<Pod>(NAME).await?;
        let server = pods.iter().find(|pod| pod.labels()["app.kubernetes.io/component"] == "server");
        let server = server.context("no server")?.name_any();
        suite.api::<Pod>().delete(&server, &DeleteParams::default().grace_period(0)).await?;
        let failed = suite.outcome(NAME).await?;
        ensure!(reason_of(&failed, types::SUCCEEDED) == Some("RunFailed"), "{:?}", failed.status);
        let before = suite.runs(NAME).await?.len();
        suite.change(NAME, json!({"failurePolicy": {"attemptsPerRun": 2, "maximumFailedRuns": 10}})).await?;
        let completed = |campaign: &BenchmarkCampaign| reason_of(campaign, types::SUCCEEDED) == Some("Completed");
        suite.campaign_until(NAME, "it completes", completed).await?;
        let runs = suite.runs(NAME).await?;
        // The servers of the other run of that block are gone, so it is repeated beside the one that failed.
        ensure!(before == 4 && runs.len() == 6, "{before} runs became {}", runs.len());
        let valid =
            runs.iter().filter(|run| run.status.as_ref().is_some_and(|status| status.validity == Some(Verdict::Valid)));
        ensure!(valid.count() == 5, "{runs:?}");
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn what_is_frozen_is_refused_with_the_mend_and_a_policy_in_use_may_go() -> anyhow::Result<()> {
    side_by_side("faults", "frozen", async |suite| {
        const NAME: &str = "frozen";
        let file = small(NAME)?;
        suite.begin(&file).await?;
        in_the_midst(&suite, NAME).await?;
        for change in [
            json!({"seed": 6}),
            json!({"engine": {"readyTimeoutSeconds": 100}}),
            json!({"loadGenerator": {"keepTexts": true}}),
            json!({"energy": {"idleSeconds": 5}}),
            json!({"headline": {"experiment": "ask"}}),
            json!({"scheduling": {"queueName": "gpu"}}),
            json!({"parity": {"allow": ["Flags"]}}),
        ] {
            let refused = suite.change(NAME, change.clone()).await.err();
            let refused = refused.with_context(|| format!("{change} was taken"))?;
            ensure!(format!("{refused:#}").contains("apply a new campaign instead"), "{change}: {refused:#}");
        }
        // The campaign runs on the copy in its plan.
        suite.kubectl(&["delete", "rp", "hr-tree"]).await?.well()?;
        suite.change(NAME, json!({"deadlineSeconds": 3600})).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(
            matches!(reason_of(&ended, types::SUCCEEDED), Some("Completed" | "Inconclusive")),
            "{:?}",
            ended.status
        );
        suite.apply_policies(&file.policies).await?;
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn a_namespace_deleted_amid_a_run_goes_and_its_machines_are_free_again() -> anyhow::Result<()> {
    side_by_side("gone", "namespace-deleted", async |suite| {
        const NAME: &str = "lost";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        let namespaces: Api<Namespace> = Api::all(suite.client.clone());
        namespaces.delete(&suite.namespace, &DeleteParams::background()).await?;
        eventually("the namespace goes", Duration::from_secs(120), async || {
            match namespaces.get_opt(&suite.namespace).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(namespace) => Err(format!("{:?}", namespace.status)),
            }
        })
        .await?;
        nobody_holds_machines_of(&suite).await
    })
    .await
}

async fn nobody_holds_machines_of(suite: &Suite) -> anyhow::Result<()> {
    eventually("its machines are free", Duration::from_secs(60), async || {
        let words = ["get", "leases", "-n", "teebench-system", "-o", "jsonpath={.items[*].spec.holderIdentity}"];
        let held = suite.kubectl_anywhere(&words).await.map_err(|error| format!("{error:#}"))?.out;
        if held.contains(&suite.namespace) { Err(held) } else { Ok(()) }
    })
    .await
}
