//! A pod's trouble, and how soon people are told of it.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use teebench_api::{conditions::types, run::BenchmarkRun};

use super::{Suite, eventually};

/// Longest wait for the trouble itself.
const PATIENCE: Duration = Duration::from_secs(180);
/// How soon it has to stand in the run's condition.
const SOON: Duration = Duration::from_secs(15);

impl Suite {
    /// Waits until a pod of the campaign says one of these words (`|` between them), and then until a run's condition
    /// says one of them too, which it has to do soon; gives what the condition says.
    ///
    /// # Errors
    /// The trouble does not come, or is not told soon.
    pub async fn trouble_is_told_soon(&self, campaign: &str, words: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = words.split('|').collect();
        let says = |text: &str| words.iter().any(|word| text.contains(word));
        eventually(&format!("a pod of {campaign} says {words:?}"), PATIENCE, async || {
            let pods = self.of_campaign::<Pod>(campaign).await.map_err(|error| format!("{error:#}"))?;
            let said: Vec<String> = pods.iter().map(said_by).collect();
            if said.iter().any(|said| says(said)) { Ok(()) } else { Err(said.join("\n")) }
        })
        .await?;
        eventually(&format!("a run's condition says {words:?}"), SOON, async || {
            let runs = self.runs(campaign).await.map_err(|error| format!("{error:#}"))?;
            let told: Vec<String> = runs.iter().map(told_of).collect();
            told.iter().find(|told| says(told)).cloned().ok_or_else(|| told.join("\n"))
        })
        .await
        .with_context(|| format!("campaign {campaign}"))
    }
}

/// All that a pod says of what is wrong with it.
fn said_by(pod: &Pod) -> String {
    let mut said = vec![pod.name_any()];
    let Some(status) = &pod.status else { return said.concat() };
    let conditions = status.conditions.iter().flatten();
    said.extend(conditions.filter_map(|condition| condition.reason.clone()));
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    said.extend(containers.flat_map(said_by_container));
    said.join(" ")
}

fn said_by_container(container: &ContainerStatus) -> Vec<String> {
    let mut said = Vec::new();
    for state in [&container.state, &container.last_state].into_iter().flatten() {
        let waiting = state.waiting.iter().flat_map(|waiting| [waiting.reason.clone(), waiting.message.clone()]);
        let ended = state.terminated.iter().flat_map(|ended| [ended.reason.clone(), ended.message.clone()]);
        said.extend(waiting.chain(ended).flatten());
    }
    said
}

/// What a run's condition tells.
fn told_of(run: &BenchmarkRun) -> String {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    let succeeded = conditions.filter(|condition| condition.type_ == types::SUCCEEDED);
    succeeded.map(|condition| format!("{}: {}: {}", run.name_any(), condition.reason, condition.message)).collect()
}
