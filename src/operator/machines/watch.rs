//! Pods of anyone that ask for GPUs, and campaigns that went without giving their machines back.

use std::{future::ready, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt, reflector,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use teebench_api::campaign::BenchmarkCampaign;

use super::Machines;
use crate::{
    operator::{context::Context, labels},
    preflight::gpus_requested,
};

/// How soon machines of a campaign that is gone are found: its deletion is told to no controller.
const SWEEP: Duration = Duration::from_secs(5);

/// Begins to watch all pods, and keeps of those that ask for GPUs what is looked at. The stream feeds the cache while it
/// is polled.
pub fn gpu_pods(client: &Client) -> (Store<Pod>, impl Stream<Item = Pod> + Send + 'static) {
    let (reader, writer) = reflector::store();
    let api: Api<Pod> = Api::all(client.clone());
    let events = watcher(api, watcher::Config::default()).default_backoff().filter_map(|event| {
        ready(match event {
            // What a pod asks for does not change while it lives.
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) if gpus_requested(&pod) == 0 => None,
            other => Some(other),
        })
    });
    let stream =
        events.modify(strip).reflect(writer).applied_objects().filter_map(|event| {
            ready(event.inspect_err(|error| tracing::warn!(%error, "pods cannot be watched")).ok())
        });
    (reader, stream)
}

/// A fleet has tens of thousands of pods: what is not looked at is not kept.
fn strip(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    pod.annotations_mut().clear();
    if let Some(spec) = pod.spec.take() {
        let containers = spec.containers.into_iter().map(|container| Container {
            name: container.name,
            resources: container.resources,
            ..Container::default()
        });
        pod.spec = Some(PodSpec { node_name: spec.node_name, containers: containers.collect(), ..PodSpec::default() });
    }
}

/// Gives back now and then the machines of campaigns that are gone with all their pods.
pub async fn sweep(machines: Arc<Machines>, contexts: Vec<Arc<Context>>) {
    for context in &contexts {
        context.filled().await;
    }
    let mut look = tokio::time::interval(SWEEP);
    loop {
        look.tick().await;
        for holder in machines.known() {
            let key = ObjectRef::<BenchmarkCampaign>::new(&holder.name).within(&holder.namespace);
            let is_campaign = |context: &Arc<Context>| {
                context.caches.campaigns.get(&key).is_some_and(|found| found.uid().as_ref() == Some(&holder.uid))
            };
            let is_of_it = |pod: &Pod| pod.labels().get(labels::CAMPAIGN_UID) == Some(&holder.uid);
            let has_pods = |context: &Arc<Context>| context.caches.pods.find(is_of_it).is_some();
            if contexts.iter().any(is_campaign) {
                continue;
            }
            machines.forget(&holder.uid);
            if contexts.iter().any(has_pods) {
                continue;
            }
            match machines.give_back(&holder.uid).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(campaign = %holder, %error, "its machines are not given back yet"),
            }
        }
    }
}
