//! Everything that one pass over a campaign looks at: read at its start, not touched afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::Pod};
use rust_decimal::Decimal;
use teebench_api::{
    campaign::BenchmarkCampaign,
    files::evidence::{CpuEvidence, EvidenceLevel},
    plan::{
        Plan,
        next::{AttemptOutcome, AttemptRef, Decision, Limits, Observed, Servers, effective},
    },
    policy::RouterPolicySpec,
    run::BenchmarkRun,
};

use crate::{
    executor::ServerFacts,
    operator::machines::queue::Queue,
    preflight::Cluster,
    store::{
        Committed,
        ledger::{self, Entry},
    },
};

/// Everything that one pass looks at.
pub struct World {
    /// The present time.
    pub now: Timestamp,
    /// The campaign.
    pub campaign: Arc<BenchmarkCampaign>,
    /// The policies that its routers name, as far as they are there.
    pub policies: BTreeMap<String, RouterPolicySpec>,
    /// What the store has of it; absent before its first boot.
    pub stored: Option<Arc<Stored>>,
    /// Its objects.
    pub children: Children,
    /// What the probes of ready servers say, by the pods' uids.
    pub facts: BTreeMap<String, Facts>,
    /// What is known of the cluster.
    pub cluster: Cluster,
    /// Who waits for machines, and who holds them.
    pub queue: Queue,
}

/// What the store has of a campaign that has begun.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The plan as it was made.
    pub plan: Plan,
    /// Its digest.
    pub plan_sha256: String,
    /// What was decided since.
    pub decisions: Vec<Decision>,
    /// When servers came and went.
    pub ledger: Vec<Entry>,
    /// Attempts that have ended.
    pub attempts: Vec<Ended>,
}

/// An attempt that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What `next` needs to know of it.
    pub outcome: AttemptOutcome,
    /// Weakest evidence among its servers.
    pub evidence: Option<EvidenceLevel>,
}

/// A campaign's objects.
#[derive(Default)]
pub struct Children {
    /// Its servers.
    pub sets: Vec<Arc<StatefulSet>>,
    /// Load Jobs and downloads.
    pub jobs: Vec<Arc<Job>>,
    /// Pods of all of them.
    pub pods: Vec<Arc<Pod>>,
    /// Its runs.
    pub runs: Vec<Arc<BenchmarkRun>>,
    /// Downloads of its models' weights, whichever campaign began them.
    pub downloads: Vec<Arc<Job>>,
    /// Whether objects of a deleted campaign of this name are still there.
    pub has_leftovers: bool,
}

/// What a server's probe says of its engine and machine.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What is compared between arms.
    pub compared: ServerFacts,
    /// Seconds from the engine's start to its first served token.
    pub ready_seconds: Option<f64>,
    /// What its machine's CPU signed since it booted, where that was asked for.
    pub cpu: Option<Arc<CpuEvidence>>,
}

impl Stored {
    /// The plan with all that was decided since.
    #[must_use]
    pub fn effective(&self) -> Plan {
        effective(&self.plan, &self.decisions)
    }

    /// Ordinals of the attempts that have ended.
    #[must_use]
    pub fn committed(&self) -> BTreeSet<u64> {
        self.attempts.iter().map(|ended| ended.outcome.epoch).collect()
    }

    /// What the campaign has cost.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> Option<Decimal> {
        ledger::spent(&self.plan, &self.ledger, now)
    }

    /// The world as `next` is told of it.
    #[must_use]
    pub fn observed(&self, at: Moment) -> Observed {
        let Moment { now, limits, servers, running } = at;
        Observed {
            now,
            started_at: self.ledger.first().map(|entry| entry.at),
            limits,
            scope: None,
            servers,
            running,
            attempts: self.attempts.iter().map(|ended| ended.outcome.clone()).collect(),
            spent: self.spent(now),
        }
    }
}

/// What is true now and stands in no file.
#[derive(Clone)]
pub struct Moment {
    /// The present time.
    pub now: Timestamp,
    /// What may change while the campaign runs.
    pub limits: Limits,
    /// The present servers.
    pub servers: Option<Servers>,
    /// The attempt under way.
    pub running: Option<AttemptRef>,
}

impl Ended {
    /// What is kept of an attempt that was committed.
    #[must_use]
    pub fn of(committed: &Committed) -> Self {
        Self { outcome: committed.outcome(), evidence: committed.run.evidence_level }
    }
}
