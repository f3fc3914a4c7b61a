//! The servers of the present boot: coming up, idling, ready, failed, going, gone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{
    files::run::Window,
    plan::{
        Plan,
        next::{ServerState, Servers},
    },
};

use super::pods;
use crate::{
    operator::{
        build,
        labels::{self, Component},
        names,
    },
    store::ledger::{Entry, Event},
};

/// How long the cluster may take to create a StatefulSet's pods before people are told that they are missing.
const CREATED_WITHIN_SECONDS: u32 = 10;

/// Containers of a server's pod that may not end during a boot.
pub const LASTING: [&str; 2] = ["vllm", "router"];

/// What is looked at.
pub struct Look<'a> {
    /// The effective plan.
    pub plan: &'a Plan,
    /// When servers came and went so far.
    pub ledger: &'a [Entry],
    /// The campaign's StatefulSets.
    pub sets: &'a [&'a StatefulSet],
    /// The pods of its servers and gateways.
    pub pods: &'a [&'a Pod],
    /// Whether a pod's probe has told what its machine and engine are.
    pub is_known: &'a dyn Fn(&Pod) -> bool,
    /// The present time.
    pub now: Timestamp,
}

/// The present servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What `next` is told; none when nothing is there.
    pub servers: Option<Servers>,
    /// What is to be recorded before anything else is done.
    pub due: Vec<Entry>,
    /// What keeps servers from serving, in their pods' words.
    pub trouble: Option<String>,
    /// When they idled with the model loaded.
    pub idle: Option<Window>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

impl Seen {
    const fn nothing() -> Self {
        Self { servers: None, due: Vec::new(), trouble: None, idle: None, wake_at: None }
    }
}

/// An arm whose servers were started and are not known to be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenArm {
    /// Name of the arm.
    pub arm: String,
    /// Index of the boot.
    pub boot: usize,
    /// Its generation.
    pub generation: u32,
    /// When they were started.
    pub started_at: Timestamp,
    /// When all servers of the boot first served.
    pub ready_at: Option<Timestamp>,
}

impl OpenArm {
    /// Whether a pod is one of its servers or gateways.
    #[must_use]
    pub fn has(&self, pod: &Pod) -> bool {
        let is = |key: &str, value: &str| pod.labels().get(key).is_some_and(|found| found == value);
        is(labels::ARM, &self.arm)
            && is(labels::BOOT, &self.boot.to_string())
            && is(labels::GENERATION, &self.generation.to_string())
    }
}

/// The arms whose servers were started and are not known to be gone, in the order of their start.
#[must_use]
pub fn open_arms(ledger: &[Entry]) -> Vec<OpenArm> {
    let mut open: Vec<OpenArm> = Vec::new();
    for Entry { boot, generation, arm, event, at } in ledger {
        match event {
            Event::Started => {
                open.retain(|known| known.arm != *arm);
                let (boot, generation, started_at) = (*boot, *generation, *at);
                open.push(OpenArm { arm: arm.clone(), boot, generation, started_at, ready_at: None });
            }
            Event::Ready => {
                if let Some(known) = open.iter_mut().find(|known| known.arm == *arm) {
                    known.ready_at = Some(*at);
                }
            }
            Event::Stopped => open.retain(|known| known.arm != *arm),
        }
    }
    open
}

/// Looks at the servers.
#[must_use]
pub fn look(at: &Look<'_>) -> Seen {
    let open = open_arms(at.ledger);
    let (gone, present): (Vec<&OpenArm>, Vec<&OpenArm>) = open.iter().partition(|arm| is_gone(at, arm));
    let due: Vec<Entry> = gone.iter().map(|arm| entry(arm, Event::Stopped, at.now)).collect();
    // Arms that were told to stop are of no concern to those that stay; only when none stays is their end waited for.
    let (going, staying): (Vec<&OpenArm>, Vec<&OpenArm>) = present.into_iter().partition(|arm| is_going(at, arm));
    let is_stopping = staying.is_empty();
    let present = if is_stopping { going } else { staying };
    let Some(first) = present.first() else { return Seen { due, ..Seen::nothing() } };
    let servers = |state| Servers {
        boot: first.boot,
        generation: first.generation,
        arms: present.iter().map(|arm| arm.arm.clone()).collect(),
        state,
    };
    let seen = Seen { due, ..Seen::nothing() };
    if is_stopping {
        return Seen { servers: Some(servers(ServerState::Stopping)), ..seen };
    }
    let troubles = present.iter().flat_map(|arm| pods_of(at, arm)).filter_map(|pod| pods::trouble(pod, &LASTING));
    let trouble = troubles.reduce(|worst, other| if other.fatal && !worst.fatal { other } else { worst });
    let message = trouble.as_ref().map(|trouble| trouble.message.clone());
    let failed = |reason: String| Some(servers(ServerState::Failed { reason }));
    if let Some(trouble) = &trouble
        && trouble.fatal
    {
        return Seen { servers: failed(trouble.message.clone()), trouble: message, ..seen };
    }
    if let Some(reason) = present.iter().find_map(|arm| replaced(at, arm)) {
        return Seen { servers: failed(reason), ..seen };
    }
    let starting = Some(servers(ServerState::Starting));
    match present.iter().map(|arm| arm.ready_at).min().flatten() {
        None => coming_up(at, &present, message, failed, starting, seen),
        Some(ready_at) => {
            let idle_end = after(ready_at, at.plan.spec.energy.idle_seconds);
            let idle = (idle_end > ready_at).then(|| window(ready_at, idle_end));
            if at.now < idle_end {
                return Seen { servers: starting, wake_at: Some(idle_end), ..seen };
            }
            let known = present.iter().flat_map(|arm| pods_of(at, arm)).all(|pod| (at.is_known)(pod));
            let state = if known { ServerState::Ready } else { ServerState::Starting };
            Seen { servers: Some(servers(state)), idle, ..seen }
        }
    }
}

fn coming_up(
    at: &Look<'_>,
    present: &[&OpenArm],
    trouble: Option<String>,
    failed: impl Fn(String) -> Option<Servers>,
    starting: Option<Servers>,
    mut seen: Seen,
) -> Seen {
    if present.iter().all(|arm| is_complete(at, arm) && pods_of(at, arm).all(pods::is_ready)) {
        seen.due.extend(present.iter().map(|arm| entry(arm, Event::Ready, at.now)));
        return Seen { servers: starting, ..seen };
    }
    let created_by = present.iter().map(|arm| after(arm.started_at, CREATED_WITHIN_SECONDS)).max().unwrap_or(at.now);
    let is_late = at.now >= created_by;
    let trouble = trouble.or_else(|| present.iter().find_map(|arm| missing(at, arm).filter(|_| is_late)));
    let seconds = at.plan.spec.engine.ready_timeout_seconds;
    let deadline = present.iter().map(|arm| after(arm.started_at, seconds)).max().unwrap_or(at.now);
    if at.now < deadline {
        let wake_at = if is_late { deadline } else { created_by.min(deadline) };
        return Seen { servers: starting, trouble, wake_at: Some(wake_at), ..seen };
    }
    let why = trouble.clone().unwrap_or_else(|| "raise spec.engine.readyTimeoutSeconds or see the server's log".into());
    Seen { servers: failed(format!("no token within {seconds} s: {why}")), trouble, ..seen }
}

fn entry(arm: &OpenArm, event: Event, at: Timestamp) -> Entry {
    Entry { boot: arm.boot, generation: arm.generation, arm: arm.arm.clone(), event, at }
}

fn set_of<'a>(at: &Look<'a>, arm: &OpenArm) -> Option<&'a StatefulSet> {
    let name = names::servers(&at.plan.campaign, &arm.arm, arm.boot, arm.generation);
    at.sets.iter().find(|set| set.name_any() == name).copied()
}

fn pods_of<'a>(at: &Look<'a>, arm: &OpenArm) -> impl Iterator<Item = &'a Pod> {
    let arm = arm.clone();
    at.pods.iter().copied().filter(move |pod| arm.has(pod))
}

/// Whether an arm's servers were there before: they neither come nor go.
pub fn is_existing(plan: &Plan, arm: &str) -> bool {
    plan.arm(arm).is_some_and(|arm| arm.service_ref.is_some())
}

fn is_gone(at: &Look<'_>, arm: &OpenArm) -> bool {
    !is_existing(at.plan, &arm.arm) && set_of(at, arm).is_none() && pods_of(at, arm).next().is_none()
}

fn is_going(at: &Look<'_>, arm: &OpenArm) -> bool {
    !is_existing(at.plan, &arm.arm) && set_of(at, arm).is_none_or(|set| set.metadata.deletion_timestamp.is_some())
}

/// Whether as many servers and gateways are there as were asked for.
fn is_complete(at: &Look<'_>, arm: &OpenArm) -> bool {
    let gateways = build::gateway_count(at.plan).unwrap_or(0);
    count(at, arm, Component::Server) == servers_of(at, arm) && count(at, arm, Component::Gateway) == gateways
}

/// How many pods of an arm are there.
/// Pods that an arm's servers are.
fn servers_of(at: &Look<'_>, arm: &OpenArm) -> u32 {
    if is_existing(at.plan, &arm.arm) { 0 } else { at.plan.replicas() }
}

fn count(at: &Look<'_>, arm: &OpenArm, component: Component) -> u32 {
    let is_component = |pod: &&Pod| pod.labels().get(labels::COMPONENT).is_some_and(|name| name == component.name());
    u32::try_from(pods_of(at, arm).filter(is_component).count()).unwrap_or(u32::MAX)
}

/// Pods that the cluster does not even create say nothing themselves.
fn missing(at: &Look<'_>, arm: &OpenArm) -> Option<String> {
    let (there, wanted) = (count(at, arm, Component::Server), servers_of(at, arm));
    (there < wanted).then(|| {
        let name = names::servers(&at.plan.campaign, &arm.arm, arm.boot, arm.generation);
        format!("StatefulSet {name} has {there} of {wanted} pods; its events say why")
    })
}

/// A server that is going, missing, or another than when all were ready: what it held is lost.
fn replaced(at: &Look<'_>, arm: &OpenArm) -> Option<String> {
    let going = pods_of(at, arm).find(|pod| pod.metadata.deletion_timestamp.is_some());
    if let Some(pod) = going {
        return Some(format!("pod {} is being deleted", pod.name_any()));
    }
    let ready_at = arm.ready_at?;
    let other = pods_of(at, arm)
        .find(|pod| pod.metadata.creation_timestamp.as_ref().is_some_and(|created| created.0 > ready_at));
    match other {
        Some(pod) => Some(format!("pod {} is another one than when the servers became ready", pod.name_any())),
        None if !is_complete(at, arm) => Some(format!("a server of arm {} is gone", arm.arm)),
        None => None,
    }
}

fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

fn window(start: Timestamp, end: Timestamp) -> Window {
    let unix_ns = |at: Timestamp| u64::try_from(at.as_nanosecond()).unwrap_or(0);
    Window { start_unix_ns: unix_ns(start), end_unix_ns: unix_ns(end) }
}
