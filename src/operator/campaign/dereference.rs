//! Reads everything that a pass looks at: the only step before the writes that holds a client.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::ListParams,
    runtime::reflector::{ObjectRef, Store},
};
use teebench_api::{
    campaign::BenchmarkCampaign,
    files::evidence::CpuEvidence,
    policy::{RouterPolicy, RouterPolicySpec},
};
use teebench_probe::client::ProbeClient;
use thiserror::Error;

use super::{
    observe::{
        attempts::has_begun,
        pods,
        servers::{OpenArm, open_arms},
    },
    world::{Children, Ended, Facts, Stored, World},
};
use crate::{
    executor::ServerFacts,
    operator::{
        build,
        caches::of_campaign,
        context::Context,
        labels::{self, Component},
        machines::MachinesError,
        names, writer,
    },
    preflight::{Catalogue, Cluster},
    store::{CampaignKey, CampaignStore, StoreError},
};

/// How long a probe may take to answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Something that a pass needs could not be read.
#[derive(Debug, Error)]
pub enum DereferenceError {
    /// The API server did not give an object.
    #[error("cannot read {kind} \"{name}\"")]
    Read {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object, or what was listed.
        name: String,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
    /// The store did not give its part.
    #[error("cannot read what the store has of the campaign")]
    Store(#[from] StoreError),
    /// The Leases of machines.
    #[error(transparent)]
    Machines(#[from] MachinesError),
    /// A probe did not answer.
    #[error("the probe of pod \"{pod}\" does not tell what it is beside; see the pod's log")]
    Probe {
        /// Name of the pod.
        pod: String,
        /// What went wrong.
        #[source]
        source: teebench_probe::client::ClientError,
    },
    /// A probe did not answer in time.
    #[error("the probe of pod \"{pod}\" does not answer within {} s; see the pod's log", PROBE_PATIENCE.as_secs())]
    Silent {
        /// Name of the pod.
        pod: String,
    },
}

impl DereferenceError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read { source, .. } => writer::is_retryable(source),
            Self::Store(error) => error.is_retryable(),
            Self::Machines(error) => error.is_retryable(),
            Self::Probe { .. } | Self::Silent { .. } => true,
        }
    }
}

/// The campaign's place in the store.
pub fn store_of(context: &Context, campaign: &BenchmarkCampaign) -> CampaignStore {
    context.store.campaign(&CampaignKey {
        namespace: campaign.namespace().unwrap_or_default(),
        name: campaign.name_any(),
        uid: campaign.uid().unwrap_or_default(),
    })
}

/// Reads the world of a campaign.
///
/// # Errors
/// Something could not be read; nothing was changed.
pub async fn dereference(context: &Context, campaign: Arc<BenchmarkCampaign>) -> Result<World, DereferenceError> {
    let stored = stored(context, &campaign).await?;
    let mut children = cached_children(context, &campaign);
    if let Some(stored) = &stored {
        let open = open_arms(&stored.ledger);
        doubt_missing_sets(context, &campaign, &open, &mut children).await?;
        doubt_missing_jobs(context, &campaign, stored, &mut children).await?;
        ask_probes(context, &open, &children, stored).await?;
    }
    let cluster = cluster(context, &campaign, stored.as_deref()).await?;
    let uid = campaign.uid().unwrap_or_default();
    context.machines.meet(&uid, &context.wake);
    let queue = context.machines.queue().await?;
    let facts =
        children.pods.iter().filter_map(|pod| pod.uid().and_then(|uid| Some((uid.clone(), context.facts.get(&uid)?))));
    Ok(World {
        now: Timestamp::now(),
        policies: policies(context, &campaign),
        facts: facts.collect(),
        cluster,
        queue,
        campaign,
        stored,
        children,
    })
}

/// Nodes and pods as they are watched; what the campaign names is looked up only while it has no servers.
async fn cluster(
    context: &Context,
    campaign: &BenchmarkCampaign,
    stored: Option<&Stored>,
) -> Result<Cluster, DereferenceError> {
    let is_up = stored.is_some_and(|stored| !open_arms(&stored.ledger).is_empty());
    let catalogue = if is_up || campaign.spec.suspend || campaign.spec.cancel {
        None
    } else {
        let namespace = campaign.namespace().unwrap_or_default();
        let found = Catalogue::of(&context.client, &namespace, &campaign.spec).await;
        Some(found.map_err(|error| DereferenceError::Read {
            kind: "what is named by BenchmarkCampaign",
            name: campaign.name_any(),
            source: Box::new(error),
        })?)
    };
    Ok(Cluster {
        nodes: context.nodes.as_ref().map(Store::state),
        gpu_pods: context.gpu_pods.as_ref().map(Store::state),
        catalogue,
    })
}

fn policies(context: &Context, campaign: &BenchmarkCampaign) -> BTreeMap<String, RouterPolicySpec> {
    let namespace = campaign.namespace().unwrap_or_default();
    let named = campaign.spec.routers.iter().filter_map(|router| router.policy_ref.as_ref());
    let found = named.filter_map(|policy| {
        let key = ObjectRef::<RouterPolicy>::new(&policy.name).within(&namespace);
        context.caches.policies.get(&key).map(|found| (policy.name.clone(), found.spec.clone()))
    });
    found.collect()
}

async fn stored(context: &Context, campaign: &BenchmarkCampaign) -> Result<Option<Arc<Stored>>, StoreError> {
    let uid = campaign.uid().unwrap_or_default();
    if let Some(stored) = context.memory.get(&uid) {
        return Ok(Some(stored));
    }
    let store = store_of(context, campaign);
    let Some(plan) = store.plan().await? else { return Ok(None) };
    let committed = store.committed().await?;
    let stored = Stored {
        plan_sha256: plan.digest(),
        decisions: store.decisions(&plan).await?,
        ledger: store.ledger().await?,
        attempts: committed.iter().map(Ended::of).collect(),
        plan,
    };
    Ok(Some(context.memory.put(&uid, stored)))
}

fn cached_children(context: &Context, campaign: &BenchmarkCampaign) -> Children {
    let (namespace, name) = (campaign.namespace().unwrap_or_default(), campaign.name_any());
    let caches = &context.caches;
    let mut children = Children {
        sets: of_campaign(&caches.sets, &namespace, &name),
        jobs: of_campaign(&caches.jobs, &namespace, &name),
        pods: of_campaign(&caches.pods, &namespace, &name),
        runs: of_campaign(&caches.runs, &namespace, &name),
        downloads: downloads(context, campaign),
        has_leftovers: false,
    };
    // A namesake that was deleted may still be going, and its children with it.
    let uid = campaign.uid().unwrap_or_default();
    let mut others = keep_own(&mut children.sets, &uid);
    others += keep_own(&mut children.jobs, &uid);
    others += keep_own(&mut children.pods, &uid);
    others += keep_own(&mut children.runs, &uid);
    children.has_leftovers = others > 0;
    children
}

/// Keeps the objects of the campaign with this uid; gives how many others there were.
fn keep_own<K: Resource>(objects: &mut Vec<Arc<K>>, uid: &str) -> usize {
    let before = objects.len();
    objects.retain(|object| object.labels().get(labels::CAMPAIGN_UID).is_some_and(|owner| owner == uid));
    before - objects.len()
}

/// The downloads of the campaign's models, whichever campaign began them.
fn downloads(context: &Context, campaign: &BenchmarkCampaign) -> Vec<Arc<Job>> {
    let namespace = campaign.namespace().unwrap_or_default();
    let claims = campaign.spec.models.iter().filter_map(|model| {
        let claim = model.cache.as_ref()?.shared_claim.as_ref()?;
        Some(names::weights(&model.repository, &model.revision, claim))
    });
    let found = claims.filter_map(|name| context.caches.jobs.get(&ObjectRef::new(&name).within(&namespace)));
    found.collect()
}

/// A cache may be behind our own writes. That servers are gone is believed only of the API server itself.
async fn doubt_missing_sets(
    context: &Context,
    campaign: &BenchmarkCampaign,
    open: &[OpenArm],
    children: &mut Children,
) -> Result<(), DereferenceError> {
    let (namespace, campaign) = (campaign.namespace().unwrap_or_default(), campaign.name_any());
    for OpenArm { arm, boot, generation, .. } in open {
        let name = names::servers(&campaign, arm, *boot, *generation);
        if children.sets.iter().any(|set| set.name_any() == name) {
            continue;
        }
        let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
        let read = |kind, source| DereferenceError::Read { kind, name: name.clone(), source: Box::new(source) };
        if let Some(set) = sets.get_opt(&name).await.map_err(|error| read("StatefulSet", error))? {
            children.sets.push(Arc::new(set));
            continue;
        }
        let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
        let selector = format!(
            "{}={campaign},{}={arm},{}={boot},{}={generation}",
            labels::CAMPAIGN,
            labels::ARM,
            labels::BOOT,
            labels::GENERATION
        );
        let found = pods
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(|error| read("the pods of StatefulSet", error))?;
        for pod in found {
            if children.pods.iter().all(|known| known.uid() != pod.uid()) {
                children.pods.push(Arc::new(pod));
            }
        }
    }
    Ok(())
}

/// That an attempt's Job is gone is believed only of the API server itself.
async fn doubt_missing_jobs(
    context: &Context,
    campaign: &BenchmarkCampaign,
    stored: &Stored,
    children: &mut Children,
) -> Result<(), DereferenceError> {
    let committed = stored.committed();
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &campaign.namespace().unwrap_or_default());
    for run in children.runs.iter().filter(|run| has_begun(run)) {
        let name = run.name_any();
        let is_committed = u64::try_from(run.spec.epoch).is_ok_and(|epoch| committed.contains(&epoch));
        if is_committed || children.jobs.iter().any(|job| job.name_any() == name) {
            continue;
        }
        let job = jobs.get_opt(&name).await;
        let job = job.map_err(|source| DereferenceError::Read { kind: "Job", name, source: Box::new(source) })?;
        children.jobs.extend(job.map(Arc::new));
    }
    Ok(())
}

/// Asks the probes of ready servers, once for each pod.
async fn ask_probes(
    context: &Context,
    open: &[OpenArm],
    children: &Children,
    stored: &Stored,
) -> Result<(), DereferenceError> {
    let servers = children.pods.iter().filter(|pod| {
        let is_server = pod.labels().get(labels::COMPONENT).is_some_and(|name| name == Component::Server.name());
        is_server && pods::is_ready(pod) && open.iter().any(|arm| arm.ready_at.is_some() && arm.has(pod))
    });
    let unknown: Vec<_> =
        servers.filter(|pod| pod.uid().is_some_and(|uid| context.facts.get(&uid).is_none())).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let present: BTreeSet<String> = context.caches.pods.state().iter().filter_map(|pod| pod.uid()).collect();
    context.facts.keep(|uid| present.contains(uid));
    let plan = stored.effective();
    let asked = unknown.into_iter().map(|pod| {
        let arm = pod.labels().get(labels::ARM).cloned().unwrap_or_default();
        let boot = open.iter().find(|open| open.arm == arm).map_or(0, |open| open.boot);
        let flags_sha256 = build::engine_facts(&plan, boot, &arm).map(|facts| facts.flags_sha256).unwrap_or_default();
        async move {
            let mut facts = facts_of(pod, arm, flags_sha256).await?;
            facts.cpu = attested(context, stored, pod, &facts).await;
            context.facts.put(pod.uid().unwrap_or_default(), facts);
            Ok(())
        }
    });
    try_join_all(asked).await.map(|_| ())
}

async fn facts_of(pod: &Pod, arm: String, flags_sha256: String) -> Result<Facts, DereferenceError> {
    let name = pod.name_any();
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let address = format!("http://{ip}:{}", build::PROBE_PORT);
    let failed = |source| DereferenceError::Probe { pod: name.clone(), source };
    let probe = ProbeClient::new(&address).map_err(failed)?;
    let asked = async { Ok((probe.engine().await?, probe.environment().await?)) };
    let (engine, environment) = match tokio::time::timeout(PROBE_PATIENCE, asked).await {
        Ok(answer) => answer.map_err(failed)?,
        Err(_) => return Err(DereferenceError::Silent { pod: name }),
    };
    let compared =
        ServerFacts { arm, environment, engine: engine.version, num_gpu_blocks: engine.num_gpu_blocks, flags_sha256 };
    Ok(Facts { compared, ready_seconds: engine.ready_seconds, cpu: None })
}

/// What the CPU of a pod's machine signed since it booted, for arms that are to be endorsed. Without it their evidence
/// says so, and is judged.
async fn attested(context: &Context, stored: &Stored, pod: &Pod, facts: &Facts) -> Option<Arc<CpuEvidence>> {
    stored.plan.arm(&facts.compared.arm)?.endorsement.as_ref()?;
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let boot_id = facts.compared.environment.boot_id.as_deref()?;
    match context.attester.as_ref()?.evidence(&context.settings, node, boot_id).await {
        Ok(evidence) => Some(evidence),
        Err(error) => {
            tracing::warn!(node, error = %teebench_api::with_causes(&error), "the cpu was not attested");
            None
        }
    }
}
