//! Requests that wait for a slot: first come first served, but for a worker that holds the prompt of one a little
//! further behind.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::slot::Slot;
use crate::policy::{Engine, Prompt, Work};
use crate::tree::WorkerIndex;
use crate::tree::chunk::ChunkPlan;

/// Waiting requests, from the first on, among which a free worker finds one whose prompt it holds. Looking at one costs
/// a walk through the tree.
const MOST_COMPARED: usize = 16;

/// Times that a request lets another one pass before it is next whatever it shares: with as many workers that is about
/// one round of all of them.
const MOST_PASSES: u32 = 8;

/// A request that waits.
#[derive(Debug)]
pub struct Waiter {
    /// Workers that failed this request already.
    pub excluded: Vec<WorkerIndex>,
    /// Gets the slot.
    pub grant: oneshot::Sender<Slot>,
    /// The worker that was chosen for it, as long as its slot may come from another router.
    wish: Option<WorkerIndex>,
    path: Box<[u64]>,
    work: Work,
    /// Requests behind it that were served before it.
    passed: u32,
}

impl Waiter {
    /// A request that begins to wait.
    pub fn new(
        prompt: &Prompt<'_>,
        excluded: &[WorkerIndex],
        wish: Option<WorkerIndex>,
        grant: oneshot::Sender<Slot>,
    ) -> Self {
        Self { excluded: excluded.to_vec(), grant, wish, path: prompt.path.into(), work: prompt.work, passed: 0 }
    }

    /// Its prompt, which was cut by `plan`.
    pub fn prompt<'a>(&'a self, plan: &'a ChunkPlan) -> Prompt<'a> {
        Prompt { path: &self.path, plan, work: self.work }
    }
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

    /// Takes the one that `worker` shall serve next, of those that wait for it or for any and may be served by it: where
    /// the policy goes by cost, the one that it saves most for, and otherwise the first.
    pub fn pop_for(&mut self, worker: WorkerIndex, engine: &mut Engine) -> Option<Waiter> {
        let mut may_take = |(_, waiter): &(&Ticket, &mut Waiter)| {
            waiter.wish.is_none_or(|wish| wish == worker) && engine.may_serve(worker, &waiter.excluded)
        };
        let own = &mut self.of_worker[worker.at()];
        let of_own = own.iter_mut().next().filter(&mut may_take).map(|(ticket, _)| *ticket);
        let of_any = self.any.iter_mut().find(may_take).map(|(ticket, _)| *ticket);
        let taken = match (of_own, of_any) {
            (Some(first), other) if other.is_none_or(|other| first < other) => own.remove(&first),
            (_, Some(first)) => {
                let chosen = self.best_of_any(first, worker, engine);
                self.any.remove(&chosen)
            }
            (_, None) => None,
        };
        self.count -= usize::from(taken.is_some());
        taken
    }

    /// Of the requests from `first` on, the one of whose prompt `worker` holds most in particular.
    fn best_of_any(&mut self, first: Ticket, worker: WorkerIndex, engine: &mut Engine) -> Ticket {
        if !engine.goes_by_cost() || self.any[&first].passed >= MOST_PASSES {
            return first;
        }
        let mut best = (0, first);
        for (ticket, waiter) in self.any.range(first..).take(MOST_COMPARED) {
            let saved = engine.saved_chunks(worker, &waiter.path);
            if saved > best.0
                && waiter.wish.is_none_or(|wish| wish == worker)
                && engine.may_serve(worker, &waiter.excluded)
            {
                best = (saved, *ticket);
            }
        }
        for (_, waiter) in self.any.range_mut(first..best.1) {
            waiter.passed += 1;
        }
        best.1
    }

    /// Lets one that wished for a worker take any.
    pub fn drop_wish(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.any.get_mut(&ticket) {
            waiter.wish = None;
        }
    }

    /// Requests that wait for each worker in particular, and the number of all others.
    pub fn wanted(&self) -> (Vec<u32>, u32) {
        let mut wanted: Vec<u32> = self.of_worker.iter().map(|line| line.len() as u32).collect();
        let mut any = 0;
        for waiter in self.any.values() {
            match waiter.wish {
                Some(worker) => wanted[worker.at()] += 1,
                None => any += 1,
            }
        }
        (wanted, any)
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
