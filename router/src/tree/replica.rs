//! A tree that several routers keep in step by deltas.
//!
//! A delta says that a worker, in one of its generations, holds a prefix. A worker's generation rises when it lost its
//! cache: what was said of an older one is void. So the state is a set that only grows within a generation and the
//! greatest generation wins; applying a delta twice, or several in any order, ends in the same state (as long as
//! nothing is evicted, which every router does by its own recency).

use super::{HashRadixTree, PrefixMatch, WorkerIndex};

/// How often a worker lost its cache in this epoch.
pub type Generation = u32;

/// What one router tells another: a worker holds a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<'a> {
    /// The worker that took the prompt.
    pub worker: WorkerIndex,
    /// The worker's generation at that time.
    pub generation: Generation,
    /// Hashes of the prompt's chunks, from the first on; bits above the tree's width are ignored.
    pub path: &'a [u64],
}

/// Whether something is heard for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It counts as traffic: of several routers, each sees too few requests to know soon what most of them share, and until
    /// then a common system prompt draws all to the worker that took the first.
    Fresh,
    /// It may have been heard before, so it does not.
    Repeated,
}

/// A tree with the generation of every worker.
#[derive(Clone, Debug)]
pub struct Replica {
    tree: HashRadixTree,
    generations: Vec<Generation>,
}

impl Replica {
    /// An empty replica for `workers` workers; the tree's bounds are those of [`HashRadixTree::new`].
    pub fn new(workers: usize, hash_bits: u32, capacity: u32) -> Self {
        Self { tree: HashRadixTree::new(hash_bits, capacity), generations: vec![0; workers] }
    }

    /// The tree.
    pub fn tree(&self) -> &HashRadixTree {
        &self.tree
    }

    /// The generation of each worker.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// What is known of a prompt; see [`HashRadixTree::longest`].
    pub fn longest(&self, path: &[u64], found: &mut PrefixMatch) {
        self.tree.longest(path, found);
    }

    /// Notes that `worker` took a prompt from this router. Returns how many of its chunks it held before.
    pub fn record(&mut self, path: &[u64], worker: WorkerIndex) -> usize {
        self.tree.insert(path, worker)
    }

    /// Takes over that `worker` holds a prefix in its present generation; not counted as traffic.
    pub fn learn(&mut self, path: &[u64], worker: WorkerIndex) {
        self.tree.learn(path, worker);
    }

    /// Notes that a worker lost its cache.
    pub fn forget(&mut self, worker: WorkerIndex) {
        let generation = self.generations[worker.at()].saturating_add(1);
        self.reach_generation(worker, generation);
    }

    /// Learns that a worker reached a generation; an older one is ignored, an unknown worker too.
    pub fn reach_generation(&mut self, worker: WorkerIndex, generation: Generation) {
        let Some(known) = self.generations.get_mut(worker.at()) else { return };
        if *known < generation {
            *known = generation;
            self.tree.remove_worker(worker);
        }
    }

    /// Learns what another router saw; what was said of an older generation or an unknown worker is ignored.
    pub fn apply(&mut self, delta: &Delta<'_>, news: News) {
        let Delta { worker, generation, path } = delta;
        self.reach_generation(*worker, *generation);
        if self.generations.get(worker.at()) == Some(generation) {
            match news {
                News::Fresh => self.tree.insert(path, *worker),
                News::Repeated => self.tree.learn(path, *worker),
            };
        }
    }
}
