//! What `next` is told: the world as an executor sees it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    campaign::{BenchmarkCampaignSpec, Budget, FailurePolicy, Metric},
    files::run::{Reason, Verdict},
    plan::RunId,
};

/// The world as an executor sees it. `next` keeps nothing between calls: all that matters is here, in the plan, or in
/// the decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The present time.
    pub now: Timestamp,
    /// When the campaign started; absent before its first boot.
    pub started_at: Option<Timestamp>,
    /// What may change while the campaign runs.
    pub limits: Limits,
    /// The only arm whose runs are executed; absent for all arms.
    pub scope: Option<String>,
    /// The servers that are up, coming up or going down; absent when there are none.
    pub servers: Option<Servers>,
    /// The attempt that is running.
    pub running: Option<AttemptRef>,
    /// All attempts that have ended, in any order. One whose files were never committed is `Interrupted`.
    pub attempts: Vec<AttemptOutcome>,
    /// What the campaign has cost so far, in the budget's currency; absent when arms have no price.
    pub spent: Option<Decimal>,
}

/// What may change while a campaign runs; read from its live spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Nothing new is started, and what runs is interrupted.
    pub suspended: bool,
    /// The campaign ends for good.
    pub cancelled: bool,
    /// Attempts of each run and failed runs that are borne.
    pub failure_policy: FailurePolicy,
    /// What it may cost.
    pub budget: Option<Budget>,
    /// Longest time in seconds from start to end.
    pub deadline_seconds: Option<u32>,
}

impl Limits {
    /// The limits that a spec sets.
    #[must_use]
    pub fn of(spec: &BenchmarkCampaignSpec) -> Self {
        Self {
            suspended: spec.suspend,
            cancelled: spec.cancel,
            failure_policy: spec.failure_policy,
            budget: spec.budget.clone(),
            deadline_seconds: spec.deadline_seconds,
        }
    }
}

/// The present servers. There is one set at a time: those of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Index of the boot.
    pub boot: usize,
    /// How often servers were started for that boot, as its [`Boot`](super::Action::Boot) action said.
    pub generation: u32,
    /// Arms whose servers are there; those that were stopped are left out.
    pub arms: Vec<String>,
    /// How they are.
    pub state: ServerState,
}

/// How servers are, as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Some do not serve yet.
    Starting,
    /// All serve, and none has been another process or pod since its start.
    Ready,
    /// Some have been told to stop and are still there; those of arms that shall stay are not told.
    Stopping,
    /// One did not become ready in time, ended, or was replaced.
    Failed {
        /// A sentence for people.
        reason: String,
    },
}

/// Names an attempt.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRef {
    /// The run.
    pub run: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

/// How an attempt ended: what `run.json` says of it, and the metrics on which decisions rest.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptOutcome {
    /// The attempt.
    pub id: AttemptRef,
    /// Its ordinal in the campaign.
    pub epoch: u64,
    /// Index of the boot it ran on.
    pub boot: usize,
    /// Generation of that boot.
    pub boot_generation: u32,
    /// Whether it counts.
    pub verdict: Verdict,
    /// Why it does not.
    pub reasons: Vec<Reason>,
    /// Seconds from its start to its end, resets and warm-up included.
    pub seconds: f64,
    /// Metrics of a valid attempt; one that is missing cannot enter a decision.
    pub metrics: BTreeMap<Metric, f64>,
}
