//! Which of several operators works: the one that holds a Lease. It labels its own pod, by which the results Service finds
//! it.
//!
//! A holder that cannot renew stops before another may take over: it gives up after [`RENEW_WITHIN`], others wait for
//! [`LEASE`]. Clocks of machines are never compared; a Lease has run out when it was seen unchanged for that long.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::labels::{LEADER, MANAGER};

const LEASE_NAME: &str = "teebench-operator";
/// How long a Lease holds without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// How long a holder tries to renew before it stops.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often it is renewed, and how often others look.
const PERIOD: Duration = Duration::from_secs(2);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The Lease was lost: another operator may lead, so this one must not go on.
#[derive(Debug, Error)]
#[error("lease \"{LEASE_NAME}\" could not be renewed for {} s: another operator may lead; starting anew", RENEW_WITHIN.as_secs())]
pub struct Lost;

/// One operator among several.
pub struct Candidate {
    leases: Api<Lease>,
    pods: Api<Pod>,
    pod: String,
}

/// What was seen of the Lease, and since when it has been so.
struct Sight {
    lease: Option<Lease>,
    since: Instant,
}

/// What to do about the Lease.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Lease),
    Replace(Lease),
    Wait,
}

impl Candidate {
    /// The operator that runs in this pod.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, pod: &str) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            pod: pod.to_owned(),
        }
    }

    /// Waits until this operator leads; false when it was told to stop before.
    pub async fn lead(&self, stop: &CancellationToken) -> bool {
        // The same pod may have led before its container ended.
        self.label(&Value::Null).await;
        let mut sight = Sight { lease: None, since: Instant::now() };
        let mut looks = interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                _ = looks.tick() => {}
            }
            match timeout(PATIENCE, self.try_to_hold(&mut sight)).await {
                Ok(Ok(true)) => break,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be read or written; trying again"),
                Err(_) => tracing::warn!("the API server does not answer about the lease; trying again"),
            }
        }
        self.label(&json!("true")).await;
        tracing::info!(pod = self.pod, "leads");
        true
    }

    /// Renews the Lease until told to stop, and then gives it back.
    ///
    /// # Errors
    /// It was lost.
    pub async fn keep(&self, stop: &CancellationToken) -> Result<(), Lost> {
        let mut sight = Sight { lease: None, since: Instant::now() };
        let mut renewed = Instant::now();
        let mut looks = interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            match timeout(PATIENCE, self.try_to_hold(&mut sight)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                // Another's name stands in it.
                Ok(Ok(false)) if sight.is_of_another(&self.pod) => return Err(Lost),
                Ok(Ok(false)) | Err(_) => tracing::warn!("the lease was not renewed; trying again"),
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed; trying again"),
            }
            if renewed.elapsed() >= RENEW_WITHIN {
                return Err(Lost);
            }
        }
    }

    /// Gives the Lease back, so that another operator need not wait for its end.
    pub async fn give_back(&self) {
        let given = async {
            let Some(mut lease) = self.leases.get_opt(LEASE_NAME).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.pod))
            else {
                return Ok(());
            };
            spec.holder_identity = None;
            self.leases.replace(LEASE_NAME, &parameters(), &lease).await.map(drop)
        };
        if !matches!(timeout(PATIENCE, given).await, Ok(Ok::<(), kube::Error>(()))) {
            tracing::warn!("the lease was not given back; another operator leads when it has run out");
        }
        self.label(&Value::Null).await;
    }

    async fn try_to_hold(&self, sight: &mut Sight) -> Result<bool, kube::Error> {
        sight.update(self.leases.get_opt(LEASE_NAME).await?);
        let written = match step(sight.lease.as_ref(), sight.since.elapsed(), &self.pod, Timestamp::now()) {
            Step::Create(lease) => self.leases.create(&parameters(), &lease).await,
            // With the version that was read: of two that try, one succeeds.
            Step::Replace(lease) => self.leases.replace(LEASE_NAME, &parameters(), &lease).await,
            Step::Wait => return Ok(false),
        };
        match written {
            Ok(lease) => {
                sight.update(Some(lease));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn label(&self, value: &Value) {
        let patch = Patch::Merge(json!({"metadata": {"labels": {LEADER: value}}}));
        let parameters = PatchParams::default();
        let request = self.pods.patch_metadata(&self.pod, &parameters, &patch);
        match timeout(PATIENCE, request).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(pod = self.pod, %error, "the operator's pod is not labelled"),
            Err(_) => tracing::warn!(pod = self.pod, "the operator's pod is not labelled: no answer"),
        }
    }
}

impl Sight {
    fn update(&mut self, lease: Option<Lease>) {
        if lease != self.lease {
            *self = Self { lease, since: Instant::now() };
        }
    }

    fn is_of_another(&self, me: &str) -> bool {
        holder(self.lease.as_ref()).is_some_and(|holder| holder != me)
    }
}

fn holder(lease: Option<&Lease>) -> Option<&str> {
    lease?.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// What this operator does about a Lease that it has seen unchanged for so long.
fn step(lease: Option<&Lease>, unchanged: Duration, me: &str, now: Timestamp) -> Step {
    let held = |acquired: Option<MicroTime>, transitions: i32| LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(i32::try_from(LEASE.as_secs()).expect("a lease is shorter than a lifetime")),
        acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let Some(found) = lease else {
        let metadata = ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
        return Step::Create(Lease { metadata, spec: Some(held(None, 0)) });
    };
    let transitions = found.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
    let spec = match holder(lease) {
        Some(holder) if holder == me => {
            held(found.spec.as_ref().and_then(|spec| spec.acquire_time.clone()), transitions)
        }
        Some(_) if unchanged < LEASE => return Step::Wait,
        Some(_) | None => held(None, transitions.saturating_add(1)),
    };
    Step::Replace(Lease { metadata: found.metadata.clone(), spec: Some(spec) })
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn lease(holder: Option<&str>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { resource_version: Some("7".to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec) }
    }

    #[rstest]
    #[case::another_holds_it(Some("b"), 14, None)]
    #[case::anothers_has_run_out(Some("b"), 15, Some(4))]
    #[case::given_back(None, 0, Some(4))]
    #[case::given_back_as_an_empty_name(Some(""), 0, Some(4))]
    #[case::our_own_is_renewed(Some("a"), 0, Some(3))]
    fn a_lease_is_taken_only_when_nobody_can_hold_it(
        #[case] holder: Option<&str>,
        #[case] unchanged_seconds: u64,
        #[case] transitions: Option<i32>,
    ) {
        let found = lease(holder);

        let step = step(Some(&found), Duration::from_secs(unchanged_seconds), "a", Timestamp::now());

        let Some(transitions) = transitions else {
            assert_eq!(step, Step::Wait);
            return;
        };
        let Step::Replace(Lease { metadata, spec: Some(spec) }) = step else { panic!("{step:?}") };
        assert_eq!(metadata.resource_version.as_deref(), Some("7"), "a write of what was read elsewhere would win");
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("a"), Some(transitions)));
        let is_ours = holder == Some("a");
        assert_eq!(spec.acquire_time == Some(MicroTime(Timestamp::UNIX_EPOCH)), is_ours);
    }

    #[test]
    fn the_first_operator_makes_the_lease() {
        let step = step(None, Duration::ZERO, "a", Timestamp::now());

        assert!(matches!(&step, Step::Create(lease) if holder(Some(lease)) == Some("a")), "{step:?}");
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        // The last try to renew may take a period and a request more than the limit.
        assert!(RENEW_WITHIN + PERIOD < LEASE);
    }
}
