//! Requests that wait for a slot, first come first served.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::slot::Slot;
use crate::tree::WorkerIndex;

/// A request that waits.
#[derive(Debug)]
pub struct Waiter {
    /// Workers that failed this request already.
    pub excluded: Vec<WorkerIndex>,
    /// Estimated tokens of work.
    pub tokens: u64,
    /// Gets the slot.
    pub grant: oneshot::Sender<Slot>,
}

/// Names a waiter; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The waiting requests of one epoch: one line for those that take any worker, and one for each worker.
#[derive(Debug)]
pub struct WaitingLines {
    any: BTreeMap<Ticket, Waiter>,
    of_worker: Vec<BTreeMap<Ticket, Waiter>>,
    /// All of them together: asked for with every slot that comes back.
    count: usize,
    next: u64,
}

impl WaitingLines {
    /// Empty lines for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { any: BTreeMap::new(), of_worker: (0..workers).map(|_| BTreeMap::new()).collect(), count: 0, next: 0 }
    }

    /// Requests that wait.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a waiter for one worker, or for any.
    pub fn push(&mut self, worker: Option<WorkerIndex>, waiter: Waiter) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let line = match worker {
            Some(worker) => &mut self.of_worker[worker.at()],
            None => &mut self.any,
        };
        line.insert(ticket, waiter);
        self.count += 1;
        ticket
    }

    /// Takes the first that waits for `worker` or for any and that `may_take` it.
    pub fn pop_for(&mut self, worker: WorkerIndex, may_take: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        let own = &mut self.of_worker[worker.at()];
        let of_own = own.first_key_value().filter(|(_, waiter)| may_take(waiter)).map(|(ticket, _)| *ticket);
        let of_any = self.any.iter().find(|(_, waiter)| may_take(waiter)).map(|(ticket, _)| *ticket);
        let taken = match (of_own, of_any) {
            (Some(first), Some(other)) if other < first => self.any.remove(&other),
            (Some(first), _) => own.remove(&first),
            (None, Some(first)) => self.any.remove(&first),
            (None, None) => None,
        };
        self.count -= usize::from(taken.is_some());
        taken
    }

    /// Removes one that no longer waits, wherever it stands.
    pub fn remove(&mut self, ticket: Ticket) {
        let mut lines = std::iter::once(&mut self.any).chain(&mut self.of_worker);
        self.count -= usize::from(lines.any(|line| line.remove(&ticket).is_some()));
    }

    /// Lets those that wait for `worker` take any.
    pub fn release(&mut self, worker: WorkerIndex) {
        self.any.append(&mut self.of_worker[worker.at()]);
    }

    /// Ends all waiting: each waiter finds its grant gone.
    pub fn clear(&mut self) {
        self.count = 0;
        self.any.clear();
        self.of_worker.iter_mut().for_each(BTreeMap::clear);
    }
}
