//! Which attempt a pod executes: known to whoever watches the pods.

use teebench_api::{files::run::Reason, plan::RunId};

use crate::store::{CampaignKey, Committed};

/// An attempt that a pod executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptIdentity {
    /// Its campaign.
    pub campaign: CampaignKey,
    /// The run.
    pub run: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Ordinal of the attempt in the campaign.
    pub epoch: u64,
}

/// What the results service asks of those who watch pods and Jobs. All answers come from their caches, at once.
pub trait Attempts: Send + Sync + 'static {
    /// Whether the caches are filled; before, an unknown pod means nothing.
    fn ready(&self) -> bool;

    /// The attempt that a load pod executes; `None` of any other pod, or of one that is gone.
    fn of_pod(&self, namespace: &str, pod: &str, uid: &str) -> Option<AttemptIdentity>;

    /// Why the attempt was broken off, if it was.
    fn broken_off(&self, attempt: &AttemptIdentity) -> Option<Reason>;

    /// Says that an attempt is committed now.
    fn committed(&self, attempt: &AttemptIdentity, committed: &Committed);
}
