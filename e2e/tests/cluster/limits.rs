//! What keeps a campaign from starting or ends it before its plan is done, and what lengthens its plan: a budget, a
//! deadline, repetitions until an interval is narrow enough, the points of a saturation search.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde_json::json;
use teebench_api::{
    campaign::{BenchmarkCampaign, Budget, Metric, Restart, Saturation, Until},
    conditions::types,
    files::run::Verdict,
};
use teebench_e2e::cluster::{Suite, campaign_file, measured, reason_of};

use crate::faults::{in_the_midst, small};

/// The message of the condition that says how a campaign ended.
fn said(campaign: &BenchmarkCampaign) -> &str {
    let conditions = campaign.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let succeeded = conditions.iter().find(|condition| condition.type_ == types::SUCCEEDED);
    succeeded.map(|condition| condition.message.as_str()).unwrap_or_default()
}

/// A campaign that was stopped keeps what counts, has no servers, and does the rest once it may.
async fn goes_on(suite: &Suite, stopped: &BenchmarkCampaign, change: serde_json::Value) -> anyhow::Result<()> {
    let name = stopped.name_any();
    ensure!(suite.of_campaign::<StatefulSet>(&name).await?.is_empty(), "servers are left");
    let before: BTreeSet<String> = valid(suite, &name).await?;
    ensure!(before.len() < 4, "all runs count already: {before:?}");
    suite.change(&name, change).await?;
    let done = |campaign: &BenchmarkCampaign| matches!(reason_of(campaign, types::SUCCEEDED), Some("Completed"));
    suite.campaign_until(&name, "it completes", done).await?;
    let after = valid(suite, &name).await?;
    // The block of the run that was broken off is repeated whole.
    ensure!(before.is_subset(&after) && after.len() >= 4, "{before:?} became {after:?}");
    suite.end(&name).await
}

async fn valid(suite: &Suite, campaign: &str) -> anyhow::Result<BTreeSet<String>> {
    let runs = suite.runs(campaign).await?;
    let counts = |validity: Option<Verdict>| validity == Some(Verdict::Valid);
    let valid = runs.iter().filter(|run| run.status.as_ref().is_some_and(|status| counts(status.validity)));
    Ok(valid.map(ResourceExt::name_any).collect())
}

#[tokio::test]
async fn a_campaign_whose_deadline_passed_goes_on_when_it_is_raised() -> anyhow::Result<()> {
    measured("faults", "deadline", async |suite| {
        const NAME: &str = "deadline";
        suite.begin(&small(NAME)?).await?;
        in_the_midst(&suite, NAME).await?;
        suite.change(NAME, json!({"deadlineSeconds": 1})).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("DeadlineExceeded"), "{:?}", ended.status);
        ensure!(said(&ended).contains("raise spec.deadlineSeconds to go on"), "{}", said(&ended));
        goes_on(&suite, &ended, json!({"deadlineSeconds": 3600})).await
    })
    .await
}

#[tokio::test]
async fn a_campaign_starts_when_its_budget_pays_for_it_and_tells_what_was_spent() -> anyhow::Result<()> {
    measured("faults", "budget", async |suite| {
        const NAME: &str = "budget";
        let mut file = small(NAME)?;
        file.campaign.spec.budget = Some(Budget { currency: "USD".to_owned(), maximum: "0.001".to_owned() });
        suite.begin(&file).await?;
        let is_refused = |campaign: &BenchmarkCampaign| reason_of(campaign, types::ACCEPTED) == Some("OverBudget");
        let refused = suite.campaign_until(NAME, "the budget is refused", is_refused).await?;
        ensure!(refused.status.as_ref().is_some_and(|status| status.start_time.is_none()), "{:?}", refused.status);
        suite.change(NAME, json!({"budget": {"currency": "USD", "maximum": "100"}})).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let spent =
            ended.status.as_ref().and_then(|status| status.spent.as_ref()).context("nothing is told of money")?;
        ensure!(spent.currency == "USD" && spent.amount.parse::<f64>()? > 0.0, "{spent:?}");
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn a_campaign_whose_budget_runs_out_goes_on_when_it_is_raised() -> anyhow::Result<()> {
    measured("faults", "exhausted", async |suite| {
        const NAME: &str = "exhausted";
        let mut file = small(NAME)?;
        let spec = &mut file.campaign.spec;
        // Two boots, each of which takes longer than the least that is expected of it, at 19 cents a second.
        spec.engine.restart = Restart::Repetition;
        for experiment in &mut spec.experiments {
            experiment.output_tokens = vec![8];
        }
        for price in spec.arms.iter_mut().filter_map(|arm| arm.price.as_mut()) {
            price.per_machine_hour = "698".to_owned();
        }
        spec.budget = Some(Budget { currency: "USD".to_owned(), maximum: "3.90".to_owned() });
        suite.begin(&file).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("BudgetExhausted"), "{:?}", ended.status);
        ensure!(said(&ended).contains("of the budget of 3.90 are spent"), "{}", said(&ended));
        goes_on(&suite, &ended, json!({"budget": {"currency": "USD", "maximum": "1000"}})).await
    })
    .await
}

#[tokio::test]
async fn repetitions_go_on_to_an_intervals_width_and_a_search_to_its_knee() -> anyhow::Result<()> {
    measured("faults", "lengthened", async |suite| {
        const NAME: &str = "lengthened";
        let (mut file, _) = campaign_file("simulator")?;
        file.campaign.metadata.name = Some(NAME.to_owned());
        let spec = &mut file.campaign.spec;
        spec.routers.retain(|router| router.name == "direct");
        spec.headline = None;
        let ask = spec.experiments.pop().context("no experiment")?;
        for (name, ratio_half_width_permille, maximum) in [("narrow", 1, 8), ("wide", 1000, 12)] {
            let mut experiment = ask.clone();
            experiment.name = name.to_owned();
            experiment.repetitions.minimum = 6;
            experiment.repetitions.maximum = Some(maximum);
            experiment.repetitions.until = Some(Until { metric: Metric::OutputThroughput, ratio_half_width_permille });
            spec.experiments.push(experiment);
        }
        let mut search = ask;
        search.name = "search".to_owned();
        search.load.max_concurrency = Vec::new();
        search.load.saturation =
            Some(Saturation { minimum_concurrency: 1, maximum_concurrency: 16, gain_permille: 50 });
        search.repetitions.minimum = 1;
        spec.experiments.push(search);
        file.policies.clear();
        suite.begin(&file).await?;
        let ended = suite.outcome(NAME).await?;
        // A busy machine makes runs inconclusive, and how far the plan went is the same.
        let reason = reason_of(&ended, types::SUCCEEDED);
        ensure!(matches!(reason, Some("Completed" | "Inconclusive")), "{:?}", ended.status);
        let mut repetitions: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        let mut points = BTreeSet::new();
        for run in suite.runs(NAME).await? {
            if run.spec.experiment == "search" {
                points.insert(run.spec.condition.clone());
            }
            repetitions.entry(run.spec.experiment).or_default().insert(run.spec.repetition);
        }
        let counts: BTreeMap<&str, usize> =
            repetitions.iter().map(|(experiment, found)| (experiment.as_str(), found.len())).collect();
        ensure!(counts == BTreeMap::from([("narrow", 8), ("search", 1), ("wide", 6)]), "{counts:?}");
        // A search that ended at its first point would not have been one; where its knee lies is the machine's doing.
        ensure!((2..=5).contains(&points.len()), "{points:?}");
        suite.end(NAME).await
    })
    .await
}
