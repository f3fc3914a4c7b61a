//! One test in its namespace: it starts from nothing, and what it saw is kept when it fails.

use std::{
    fmt::Debug,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use teebench_api::{
    campaign::BenchmarkCampaign,
    policy::{RouterPolicy, RouterPolicySpec},
    run::BenchmarkRun,
    validate::CampaignFile,
};
use tokio::sync::RwLock;

use super::{
    Said, Settings, artefacts,
    campaigns::{is_over, seen},
    command,
    wait::{eventually, until},
};

/// Longest wait for what the cluster does by itself: an image, a pod, a deletion.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longest wait for a campaign of a dozen runs.
const CAMPAIGN_PATIENCE: Duration = Duration::from_secs(480);

/// The machine under the cluster. What is measured has it alone: beside other tests the load generator would be late,
/// and a run that was late does not count.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// One test's namespace and tools.
#[derive(Clone)]
pub struct Suite {
    /// A client with all rights.
    pub client: Client,
    /// What `e2e/run` has made ready.
    pub settings: Settings,
    /// The namespace of the test.
    pub namespace: String,
}

/// Runs a test whose campaigns must end with valid runs: alone on the machine.
///
/// # Errors
/// The test failed; the message names the directory with what was kept.
pub async fn measured(
    suite: &str,
    name: &str,
    test: impl AsyncFnOnce(Suite) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _alone = MACHINE.write().await;
    run(suite, name, test).await
}

/// Runs a test that does not mind others beside it.
///
/// # Errors
/// The test failed; the message names the directory with what was kept.
pub async fn side_by_side(
    suite: &str,
    name: &str,
    test: impl AsyncFnOnce(Suite) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _shared = MACHINE.read().await;
    run(suite, name, test).await
}

async fn run(suite: &str, name: &str, test: impl AsyncFnOnce(Suite) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    let client = Client::try_default().await.context("no cluster is configured; run these tests by e2e/run")?;
    let suite = Suite { client, settings, namespace: format!("e2e-{suite}") };
    let begun = Instant::now();
    let outcome = AssertUnwindSafe(test(suite.clone())).catch_unwind().await;
    eprintln!("{name}: {} s", begun.elapsed().as_secs());
    let outcome = outcome.unwrap_or_else(|panic| Err(anyhow!("{}", words_of(panic.as_ref()))));
    let Err(error) = outcome else { return Ok(()) };
    let kept = artefacts::keep(&suite, name).await;
    let kept = kept.map_or_else(|error| format!("nothing was kept: {error:#}"), |path| path.display().to_string());
    Err(error.context(format!("{name} failed; see {kept}")))
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

impl Suite {
    /// Objects of a kind in the test's namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Runs kubectl in the test's namespace.
    ///
    /// # Errors
    /// kubectl cannot be run.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let namespace = ["--namespace", &self.namespace];
        command("kubectl", &[&namespace, arguments].concat()).await
    }

    /// Runs kubectl without a namespace.
    ///
    /// # Errors
    /// kubectl cannot be run.
    pub async fn kubectl_anywhere(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        command("kubectl", arguments).await
    }

    /// Runs teebench.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn teebench(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        command(&self.settings.teebench, arguments).await
    }

    /// Creates or replaces an object of the test's own.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn apply<K>(&self, object: &K) -> anyhow::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let mut object = serde_json::to_value(object)?;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let name = object["metadata"]["name"].as_str().context("an object without a name")?.to_owned();
        let parameters = PatchParams::apply("teebench-e2e").force();
        let applied = self.api::<K>().patch(&name, &parameters, &Patch::Apply(&object)).await;
        applied.with_context(|| format!("{} \"{name}\"", K::kind(&())))
    }

    /// Applies policies.
    ///
    /// # Errors
    /// The API server refuses one.
    pub async fn apply_policies<'a>(
        &self,
        policies: impl IntoIterator<Item = (&'a String, &'a RouterPolicySpec)>,
    ) -> anyhow::Result<()> {
        for (name, spec) in policies {
            self.apply(&RouterPolicy::new(name, spec.clone())).await?;
        }
        Ok(())
    }

    /// Creates a campaign and its policies, after nothing is left of an earlier one of its name.
    ///
    /// # Errors
    /// The API server refuses one, or what is left does not go.
    pub async fn begin(&self, file: &CampaignFile) -> anyhow::Result<BenchmarkCampaign> {
        let CampaignFile { campaign, policies } = file;
        self.end(&campaign.name_any()).await?;
        self.apply_policies(policies).await?;
        let mut campaign = campaign.clone();
        campaign.metadata.namespace = Some(self.namespace.clone());
        Ok(self.api().create(&PostParams::default(), &campaign).await?)
    }

    /// Deletes a campaign and waits until nothing of it is left.
    ///
    /// # Errors
    /// Something does not go.
    pub async fn end(&self, campaign: &str) -> anyhow::Result<()> {
        let deleted = self.api::<BenchmarkCampaign>().delete(campaign, &DeleteParams::foreground()).await;
        if let Err(error) = deleted
            && !matches!(&error, kube::Error::Api(status) if status.is_not_found())
        {
            return Err(error.into());
        }
        let selector = format!("teebench.dev/campaign={campaign}");
        eventually(&format!("campaign {campaign} and all its objects go"), PATIENCE, async || {
            let kinds = "pods,statefulsets,deployments,services,jobs,configmaps,benchmarkruns";
            let left = self.kubectl(&["get", kinds, "--selector", &selector, "--output", "name"]).await;
            let left = left.and_then(Said::well).map_err(|error| format!("{error:#}"))?;
            let there = self.api::<BenchmarkCampaign>().get_opt(campaign).await.map_err(|error| error.to_string())?;
            if left.trim().is_empty() && there.is_none() { Ok(()) } else { Err(left) }
        })
        .await
    }

    /// Waits until a campaign has ended, however.
    ///
    /// # Errors
    /// It does not end.
    pub async fn outcome(&self, campaign: &str) -> anyhow::Result<BenchmarkCampaign> {
        until(&self.api(), campaign, &format!("campaign {campaign} ends"), CAMPAIGN_PATIENCE, |found| match found {
            Some(campaign) if is_over(campaign) => Ok(campaign.clone()),
            other => Err(seen(other)),
        })
        .await
    }

    /// Waits until a campaign is as `holds` says.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn campaign_until(
        &self,
        campaign: &str,
        what: &str,
        holds: impl Fn(&BenchmarkCampaign) -> bool,
    ) -> anyhow::Result<BenchmarkCampaign> {
        until(&self.api(), campaign, what, PATIENCE, |found| match found {
            Some(campaign) if holds(campaign) => Ok(campaign.clone()),
            other => Err(seen(other)),
        })
        .await
    }

    /// The runs of a campaign, in the order of their epochs.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn runs(&self, campaign: &str) -> anyhow::Result<Vec<BenchmarkRun>> {
        let mut runs = self.of_campaign::<BenchmarkRun>(campaign).await?;
        runs.sort_by_key(|run| run.spec.epoch);
        Ok(runs)
    }

    /// Objects of a kind that carry a campaign's label.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn of_campaign<K>(&self, campaign: &str) -> anyhow::Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let parameters = ListParams::default().labels(&format!("teebench.dev/campaign={campaign}"));
        Ok(self.api::<K>().list(&parameters).await?.items)
    }

    /// Changes a campaign's spec by a merge patch.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn change(&self, campaign: &str, spec: Value) -> anyhow::Result<BenchmarkCampaign> {
        let patch = Patch::Merge(json!({"spec": spec}));
        Ok(self.api().patch(campaign, &PatchParams::default(), &patch).await?)
    }
}
