//! What every reconcile shares.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Client,
    runtime::reflector::{ObjectRef, Store},
};
use teebench_api::{campaign::BenchmarkCampaign, policy::RouterPolicy};

use super::{
    attester::Attester,
    backoff::Backoff,
    build::Settings,
    caches::{self, Caches},
    campaign::{memory::Memory, world::Facts},
    events::Events,
    machines::Machines,
    metrics::Metrics,
    writer::Writer,
};
use crate::store::ResultsStore;

/// What every reconcile of one scope shares.
pub struct Context {
    /// Reads from the API server.
    pub client: Client,
    /// Writes to it.
    pub writer: Writer,
    /// Tells people.
    pub events: Events,
    /// Counts.
    pub metrics: Metrics,
    /// What is watched.
    pub caches: Caches,
    /// The nodes, where they may be read.
    pub nodes: Option<Store<Node>>,
    /// Pods that ask for GPUs, where all pods may be read.
    pub gpu_pods: Option<Store<Pod>>,
    /// Which campaign has which machines.
    pub machines: Arc<Machines>,
    /// Where results lie.
    pub store: ResultsStore,
    /// What the store has of the campaigns that are active.
    pub memory: Arc<Memory>,
    /// What the probes of present servers said, by the pods' uids.
    pub facts: FactsByPod,
    /// Has the CPUs of confidential machines attest them, where that is switched on.
    pub attester: Option<Attester>,
    /// How objects are built.
    pub settings: Settings,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// Asks for a pass over a campaign.
    pub wake: UnboundedSender<ObjectRef<BenchmarkCampaign>>,
    /// Asks for a pass over a policy.
    pub wake_policy: UnboundedSender<ObjectRef<RouterPolicy>>,
}

impl Context {
    /// Waits until all that is watched has been seen once: what is not there yet must not be taken for gone.
    pub async fn filled(&self) {
        self.caches.filled().await;
        if let Some(nodes) = &self.nodes {
            caches::filled(nodes).await;
        }
        if let Some(pods) = &self.gpu_pods {
            caches::filled(pods).await;
        }
    }
}

/// What probes said, by the pods' uids. A pod's machine and engine do not change while it lives.
#[derive(Default)]
pub struct FactsByPod(Mutex<HashMap<String, Facts>>);

impl FactsByPod {
    /// What the probe of this pod said.
    pub fn get(&self, uid: &str) -> Option<Facts> {
        self.lock().get(uid).cloned()
    }

    /// Remembers what the probe of a pod said.
    pub fn put(&self, uid: String, facts: Facts) {
        self.lock().insert(uid, facts);
    }

    /// Forgets pods that are gone.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| is_there(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Facts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
