//! Which attempt a load pod executes, as the results service asks: answered from the watch caches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use teebench_api::{campaign::BenchmarkCampaign, files::run::Reason, plan::RunId, run::BenchmarkRun};

use super::{
    campaign::{memory::Memory, observe::attempts::broken_off, world::Ended},
    labels::{self, Component},
    names,
};
use crate::store::{
    CampaignKey, Committed,
    service::{AttemptIdentity, Attempts},
};

/// What one scope knows of its load pods.
pub struct Known {
    /// Pods of the scope.
    pub pods: Store<Pod>,
    /// Runs of the scope.
    pub runs: Store<BenchmarkRun>,
    /// What the store has of its campaigns.
    pub memory: Arc<Memory>,
    /// Asks for a pass over a campaign.
    pub wake: UnboundedSender<ObjectRef<BenchmarkCampaign>>,
}

/// What all scopes know together.
#[derive(Default)]
pub struct LoadPods {
    scopes: Vec<Known>,
    ready: AtomicBool,
}

impl LoadPods {
    /// Pods of these scopes.
    #[must_use]
    pub fn new(scopes: Vec<Known>) -> Self {
        Self { scopes, ready: AtomicBool::new(false) }
    }

    /// All caches have been filled once.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

impl Attempts for LoadPods {
    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn of_pod(&self, namespace: &str, pod: &str, uid: &str) -> Option<AttemptIdentity> {
        let key = ObjectRef::<Pod>::new(pod).within(namespace);
        let pod = self.scopes.iter().find_map(|scope| scope.pods.get(&key))?;
        if pod.metadata.uid.as_deref() != Some(uid) {
            return None;
        }
        identity(namespace, &pod)
    }

    fn broken_off(&self, attempt: &AttemptIdentity) -> Option<Reason> {
        let name = names::attempt(&attempt.campaign.name, attempt.epoch);
        let key = ObjectRef::<BenchmarkRun>::new(&name).within(&attempt.campaign.namespace);
        self.scopes.iter().find_map(|scope| scope.runs.get(&key)).and_then(|run| broken_off(&run))
    }

    fn committed(&self, attempt: &AttemptIdentity, committed: &Committed) {
        let campaign = &attempt.campaign;
        for scope in &self.scopes {
            scope.memory.committed(&campaign.uid, Ended::of(committed));
            let key = ObjectRef::new(&campaign.name).within(&campaign.namespace);
            // A controller that has ended is not woken any more.
            let _ = scope.wake.unbounded_send(key);
        }
    }
}

/// The attempt that a load pod's labels and annotations name.
fn identity(namespace: &str, pod: &Pod) -> Option<AttemptIdentity> {
    let label = |key: &str| pod.labels().get(key);
    if label(labels::COMPONENT)? != Component::Load.name() {
        return None;
    }
    let (run, attempt) = parse(pod.annotations().get(labels::ATTEMPT)?)?;
    Some(AttemptIdentity {
        campaign: CampaignKey {
            namespace: namespace.to_owned(),
            name: label(labels::CAMPAIGN)?.clone(),
            uid: label(labels::CAMPAIGN_UID)?.clone(),
        },
        run,
        attempt,
        epoch: label(labels::EPOCH)?.parse().ok()?,
    })
}

/// Reads an attempt's path back into its parts.
fn parse(path: &str) -> Option<(RunId, u32)> {
    let mut parts = path.split('/').map(str::to_owned);
    let (experiment, condition, arm, router) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let last = parts.next()?;
    let (repetition, attempt) = last.strip_prefix('r')?.split_once('a')?;
    let run = RunId { experiment, condition, arm, router, repetition: repetition.parse().ok()? };
    parts.next().is_none().then_some((run, attempt.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_path_is_read_back_into_its_parts() {
        let run = RunId {
            experiment: "ablation".into(),
            condition: "c1".into(),
            arm: "arm-a".into(),
            router: "r1".into(),
            repetition: 12,
        };

        assert_eq!(parse(&run.attempt_path(3)), Some((run, 3)));
    }

    #[rstest]
    #[case::short("a/b/c/r1a1")]
    #[case::long("a/b/c/d/r1a1/x")]
    #[case::no_attempt("a/b/c/d/r1")]
    #[case::no_number("a/b/c/d/rxa1")]
    fn anything_else_is_no_attempt(#[case] path: &str) {
        assert_eq!(parse(path), None);
    }
}
