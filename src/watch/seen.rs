//! What the API server tells while a campaign is watched: campaigns of the namespace, its runs, and what the load
//! generator of the present run says.

use std::{pin::pin, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
    runtime::{WatchStreamExt, reflector, reflector::Store, watcher},
};
use teebench_api::{campaign::BenchmarkCampaign, run::BenchmarkRun};

use super::WatchError;
use crate::{
    measure::Step,
    operator::labels::{self, Component},
};

/// What is watched.
pub struct Seen {
    name: String,
    campaigns: Store<BenchmarkCampaign>,
    runs: Store<BenchmarkRun>,
    pods: Api<Pod>,
    /// Whether each change is one of the campaign itself.
    changes: BoxStream<'static, Result<bool, watcher::Error>>,
    /// How often in a row the watch was lost.
    misses: u32,
}

/// What the load generators of the present run say together.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Path of the attempt below `runs/`.
    pub attempt: String,
    /// What it is doing.
    pub step: Step,
}

impl Seen {
    /// Begins to watch, and returns when all that is there was seen once.
    pub async fn start(client: &Client, namespace: &str, name: &str) -> Result<Self, WatchError> {
        let (campaigns, campaign_writer) = reflector::store();
        let (runs, run_writer) = reflector::store();
        let every =
            watcher(Api::<BenchmarkCampaign>::namespaced(client.clone(), namespace), watcher::Config::default());
        let of_campaign = watcher::Config::default().labels(&format!("{}={name}", labels::CAMPAIGN));
        let its = watcher(Api::<BenchmarkRun>::namespaced(client.clone(), namespace), of_campaign);
        let watched = name.to_owned();
        let is_of_it = move |event: watcher::Event<BenchmarkCampaign>| matches!(event, watcher::Event::Apply(campaign) if campaign.name_any() == watched);
        let campaign_changes = reflector(campaign_writer, every).default_backoff().map_ok(is_of_it).boxed();
        let run_changes = reflector(run_writer, its).default_backoff().map_ok(|_| false).boxed();
        let mut seen = Self {
            name: name.to_owned(),
            campaigns,
            runs,
            pods: Api::namespaced(client.clone(), namespace),
            changes: futures::stream::select(campaign_changes, run_changes).boxed(),
            misses: 0,
        };
        let (campaigns, runs) = (seen.campaigns.clone(), seen.runs.clone());
        let mut filled = pin!(async {
            let _ = tokio::join!(campaigns.wait_until_ready(), runs.wait_until_ready());
        });
        loop {
            tokio::select! {
                () = &mut filled => break,
                changed = seen.changed() => changed?,
            }
        }
        if seen.campaign().is_none() {
            return Err(WatchError::Unknown { name: name.to_owned(), namespace: namespace.to_owned() });
        }
        Ok(seen)
    }

    /// Takes in changes until the campaign itself has changed. What else there is can wait: runs that ended stay to be
    /// told, while a state of the campaign may pass.
    ///
    /// # Errors
    /// The cluster refuses, or is not reached for a while.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        loop {
            match self.changes.next().await {
                Some(Ok(is_of_campaign)) => {
                    self.misses = 0;
                    if is_of_campaign {
                        return Ok(());
                    }
                }
                // What is not allowed or not installed stays so; a connection that is lost comes back.
                Some(Err(error @ watcher::Error::InitialListFailed(kube::Error::Api(_)))) => return Err(error.into()),
                Some(Err(error)) if self.misses >= MOST_MISSES => return Err(error.into()),
                Some(Err(error)) => {
                    self.misses += 1;
                    tracing::debug!(%error, "the watch was lost; trying again");
                }
                None => return Err(WatchError::Deleted(self.name.clone())),
            }
        }
    }

    /// The campaign.
    pub fn campaign(&self) -> Option<Arc<BenchmarkCampaign>> {
        self.campaigns.find(|campaign| campaign.name_any() == self.name)
    }

    /// Other campaigns of the namespace.
    pub fn others(&self) -> Vec<Arc<BenchmarkCampaign>> {
        self.campaigns.state_filter(|campaign| campaign.name_any() != self.name)
    }

    /// The campaign's runs, in the order in which they began.
    pub fn runs(&self) -> Vec<Arc<BenchmarkRun>> {
        let mut runs = self.runs.state();
        runs.sort_by_key(|run| run.spec.epoch);
        runs
    }

    /// What the load generators of the present run say; nothing where there is none, or where their logs may not be read.
    pub async fn live(&self, campaign: &BenchmarkCampaign) -> Option<Live> {
        let attempt = campaign.status.as_ref()?.progress.as_ref()?.current_run.clone()?;
        let selector = format!("{}={},{}={}", labels::CAMPAIGN, self.name, labels::COMPONENT, Component::Load.name());
        let pods = self.pods.list(&ListParams::default().labels(&selector)).await.ok()?;
        let of_attempt = pods.items.into_iter().filter(|pod| {
            let path = pod.annotations().get(labels::ATTEMPT);
            let is_running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            is_running && path.is_some_and(|path| path.starts_with(&attempt))
        });
        let mut steps = Vec::new();
        for pod in of_attempt {
            let parameters = LogParams { tail_lines: Some(LAST_LINES), ..LogParams::default() };
            let Ok(log) = self.pods.logs(&pod.name_any(), &parameters).await else { continue };
            steps.extend(log.lines().rev().find_map(|line| serde_json::from_str::<Step>(line).ok()));
        }
        Some(Live { attempt, step: Step::together(steps)? })
    }
}

const MOST_MISSES: u32 = 5;
/// Logs go between the steps to the same stream of a pod.
const LAST_LINES: i64 = 10;
