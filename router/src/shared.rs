//! What the threads of one router share: the epoch in force and what does not change.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use teebench_api::files::epoch::{EpochRequest, Worker};
use tokio::sync::Semaphore;

use crate::epoch::{Epoch, EpochError, authority};
use crate::limits::Limits;
use crate::policy::settings::PolicySettings;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    current: ArcSwap<Epoch>,
    /// Held while an epoch replaces another, so that two callers do not overtake each other.
    replacing: Mutex<()>,
    /// Names this router, from its start to its end, among its peers.
    pub incarnation: u64,
    /// What clients may take.
    pub limits: Limits,
    /// A permit for each byte that requests' bodies may still take.
    pub bodies: Arc<Semaphore>,
    /// A permit for each connection that clients may still open.
    pub connections: Arc<Semaphore>,
    /// True if every request is logged.
    pub access_log: bool,
}

impl Shared {
    /// A router without an epoch.
    pub fn new(settings: PolicySettings, incarnation: u64, limits: Limits, access_log: bool) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            current: ArcSwap::from_pointee(Epoch::neutral(settings, incarnation)),
            replacing: Mutex::new(()),
            incarnation,
            bodies: semaphore(limits.bodies_bytes),
            connections: semaphore(limits.connections),
            limits,
            access_log,
        }
    }

    /// The epoch in force.
    pub fn epoch(&self) -> Arc<Epoch> {
        self.current.load_full()
    }

    /// Begins the epoch of a request: an empty tree, no loads, no reputations. The number of the current one is allowed
    /// for the same run, which empties the router once more.
    pub fn begin(&self, request: &EpochRequest) -> Result<Arc<Epoch>, EpochError> {
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        if request.epoch < current.number {
            return Err(EpochError::Stale { given: request.epoch, current: current.number });
        }
        if request.epoch == current.number && request.run != current.run {
            return Err(EpochError::Taken { number: current.number, run: current.run.clone() });
        }
        let epoch = Arc::new(Epoch::new(request, self.incarnation)?);
        // One that lived through an earlier epoch gave nothing in this one yet; one that was just started may have.
        if (1..request.epoch).contains(&current.number)
            && let Some(slots) = epoch.state().engine.slots()
        {
            slots.settle();
        }
        self.current.swap(epoch.clone()).end();
        Ok(epoch)
    }

    /// Goes on with another list of workers; nothing changes if it is the same. Returns the epoch if it changed.
    pub fn change_workers(&self, workers: &[Worker]) -> Result<Option<Arc<Epoch>>, EpochError> {
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let is_same = current.workers.len() == workers.len()
            && workers.iter().all(|worker| {
                let known = current.worker(&worker.id).map(|index| &current.workers[index.at()].authority);
                known.is_some_and(|known| authority("workers[].url", &worker.url).is_ok_and(|new| new == *known))
            });
        if is_same {
            return Ok(None);
        }
        let successor = current.with_workers(workers)?;
        self.current.store(successor.clone());
        Ok(Some(successor))
    }
}
