//! What the operator watches: one watch and one cache for each kind, and the campaign that each change concerns.

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    future::ready,
    stream::{BoxStream, select_all},
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Node, Pod, PodSpec},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{
        PredicateConfig, WatchStreamExt, predicates, reflector,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use teebench_api::{campaign::BenchmarkCampaign, policy::RouterPolicy, run::BenchmarkRun};
use tokio::time::timeout;

use super::labels;

/// Where the operator looks for campaigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace.
    Cluster,
    /// In one namespace.
    Namespace(String),
}

/// What is watched in one scope.
pub struct Caches {
    /// Campaigns.
    pub campaigns: Store<BenchmarkCampaign>,
    /// Policies.
    pub policies: Store<RouterPolicy>,
    /// Runs.
    pub runs: Store<BenchmarkRun>,
    /// Servers, without their spec.
    pub sets: Store<StatefulSet>,
    /// Load generators and downloads, without their spec.
    pub jobs: Store<Job>,
    /// Pods of all of them; of their spec only the node.
    pub pods: Store<Pod>,
}

/// A change of a campaign itself.
pub type CampaignStream = BoxStream<'static, Result<BenchmarkCampaign, watcher::Error>>;
/// A change of a policy itself.
pub type PolicyStream = BoxStream<'static, Result<RouterPolicy, watcher::Error>>;

/// Streams that drive the controllers of one scope; they feed the caches while they are polled.
pub struct Streams {
    /// Campaigns whose spec changed.
    pub campaigns: CampaignStream,
    /// Policies whose spec changed.
    pub policies: PolicyStream,
    /// Campaigns of which a child changed.
    pub children: BoxStream<'static, ObjectRef<BenchmarkCampaign>>,
}

/// Begins to watch a scope.
pub fn watch(client: &Client, scope: &Scope) -> (Caches, Streams) {
    let owned = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let all = watcher::Config::default();
    let (campaigns, campaign_stream) = cached::<BenchmarkCampaign>(client, scope, all.clone(), |_| {});
    let (policies, policy_stream) = cached::<RouterPolicy>(client, scope, all, |_| {});
    let (runs, run_stream) = cached::<BenchmarkRun>(client, scope, owned.clone(), |_| {});
    let (sets, set_stream) = cached::<StatefulSet>(client, scope, owned.clone(), |set| set.spec = None);
    let (jobs, job_stream) = cached::<Job>(client, scope, owned.clone(), |job| job.spec = None);
    let (pods, pod_stream) = cached::<Pod>(client, scope, owned, keep_node);
    let children =
        select_all([concerning(run_stream), concerning(set_stream), concerning(job_stream), concerning(pod_stream)]);
    let caches = Caches { campaigns, policies, runs, sets, jobs, pods };
    // What we write to a status changes no generation, and is no news.
    let news = predicates::generation;
    let streams = Streams {
        campaigns: campaign_stream.predicate_filter(news, PredicateConfig::default()).boxed(),
        policies: policy_stream.boxed(),
        children: children.boxed(),
    };
    (caches, streams)
}

/// Begins to watch the nodes, which belong to no namespace. The stream feeds the cache while it is polled.
pub fn watch_nodes(client: &Client) -> (Store<Node>, impl Stream<Item = ()> + Send + 'static) {
    let (reader, writer) = reflector::store();
    let api: Api<Node> = Api::all(client.clone());
    let stream = reflector(writer, watcher(api, watcher::Config::default()))
        .default_backoff()
        .filter_map(|event| ready(event.err().map(|error| tracing::warn!(%error, "nodes cannot be watched"))));
    (reader, stream)
}

impl Caches {
    /// Waits until every cache has been filled once.
    pub async fn filled(&self) {
        let Self { campaigns, policies, runs, sets, jobs, pods } = self;
        filled(campaigns).await;
        filled(policies).await;
        filled(runs).await;
        filled(sets).await;
        filled(jobs).await;
        filled(pods).await;
    }
}

/// Waits until a cache has been filled once. Only the last of several who wait for a cache is woken, and its controller
/// waits too; so it is asked again.
pub async fn filled<K>(cache: &Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    const AGAIN: Duration = Duration::from_millis(50);
    while timeout(AGAIN, cache.wait_until_ready()).await.is_err() {}
}

/// Objects of a cache that belong to a campaign.
pub fn of_campaign<K>(cache: &Store<K>, namespace: &str, campaign: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    cache.state_filter(|object| {
        object.meta().namespace.as_deref() == Some(namespace)
            && object.labels().get(labels::CAMPAIGN).is_some_and(|name| name == campaign)
    })
}

fn cached<K>(
    client: &Client,
    scope: &Scope,
    config: watcher::Config,
    strip: fn(&mut K),
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Eq + Hash,
{
    let api: Api<K> = match scope {
        Scope::Cluster => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let (reader, writer) = reflector::store();
    let stream = watcher(api, config)
        // A thousand campaigns leave ten thousand Jobs and pods: what is never read here is not kept. Who last wrote
        // which field fills half of an object, and what a pod shall be most of the rest.
        .modify(move |object| {
            object.managed_fields_mut().clear();
            strip(object);
        })
        .default_backoff()
        .reflect(writer)
        .touched_objects();
    (reader, stream)
}

fn keep_node(pod: &mut Pod) {
    let node_name = pod.spec.take().and_then(|spec| spec.node_name);
    pod.spec = Some(PodSpec { node_name, ..PodSpec::default() });
}

/// The campaigns that changed objects belong to.
fn concerning<K>(
    stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> BoxStream<'static, ObjectRef<BenchmarkCampaign>>
where
    K: Resource<DynamicType = ()> + 'static,
{
    stream
        .filter_map(|object| {
            ready(match object {
                Ok(object) => campaign_of(&object),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "cannot be watched; trying again");
                    None
                }
            })
        })
        .boxed()
}

/// The campaign that an object belongs to.
pub fn campaign_of<K: Resource>(object: &K) -> Option<ObjectRef<BenchmarkCampaign>> {
    let name = object.labels().get(labels::CAMPAIGN)?;
    Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
}
