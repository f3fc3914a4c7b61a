//! The Hash Radix Tree: which server holds which prompt prefix, as a pure and bounded data structure.
//!
//! A prompt is cut into chunks ([`chunk`]); an edge of the tree is the hash of a chunk. Every node lists the servers
//! that hold the prefix ending there, so the holders of a node are always among the holders of its parent. Nodes stand
//! in one order of recency in which a parent is always ahead of its children: the oldest node is therefore a leaf, and
//! evicting it costs O(1) and orphans nothing. [`replica`] adds what keeps the trees of several routers in step.

pub mod chunk;
mod holders;
mod node;
pub mod replica;
pub mod sentry;
mod traffic;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use self::holders::{HolderSets, SetId};
use self::node::{NONE, Node, Nodes, lost};
use self::traffic::Traffic;

/// Index of a worker in its epoch's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerIndex(pub u16);

impl WorkerIndex {
    /// The index as a position in a slice.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// Most chunks of one prompt that are followed; what comes after them is ignored.
pub const MAXIMUM_DEPTH: usize = 16_384;

/// Holders of one depth that a match lists at most: a prefix that hundreds hold needs no list of them all.
pub const MOST_HOLDERS: usize = 64;

/// How deep one worker holds a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderDepth {
    /// The worker.
    pub worker: WorkerIndex,
    /// Chunks of the prompt, from its start, that the worker holds; at least 1.
    pub chunks: usize,
}

/// What the tree knows of a prompt. The caller keeps and refills it, so that a decision allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct PrefixMatch {
    /// Every worker that holds at least one chunk, each once, the shallowest first; of each depth [`MOST_HOLDERS`] at most.
    pub holders: Vec<HolderDepth>,
    /// Leading chunks that more than half of the recent traffic shares: they say nothing about where to go.
    pub common_chunks: usize,
}

impl PrefixMatch {
    /// Chunks of the prompt that `worker` holds.
    pub fn chunks_at(&self, worker: WorkerIndex) -> usize {
        self.holders.iter().find(|holder| holder.worker == worker).map_or(0, |holder| holder.chunks)
    }
}

/// A prefix that recent traffic shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusyPrefix {
    /// Hash of its last chunk.
    pub edge: u64,
    /// Its chunks.
    pub chunks: usize,
    /// Requests of the last hundred or so that passed it.
    pub recent_requests: u32,
    /// Workers that hold it.
    pub holders: Vec<WorkerIndex>,
}

/// The tree. A path holds the chain hashes of a prompt's chunks, from the first on.
#[derive(Clone, Debug)]
pub struct HashRadixTree {
    nodes: Nodes,
    /// Finds a node by its parent and edge; holds only ids, so a chunk costs five bytes here and not twenty.
    children: HashTable<u32>,
    hasher: DefaultHashBuilder,
    sets: HolderSets,
    traffic: Traffic,
    edge_mask: u64,
    capacity: usize,
    depth_limit: usize,
    evictions: u64,
}

impl HashRadixTree {
    /// An empty tree of at most `capacity` nodes (at least 4) whose edges keep `hash_bits` bits, 8 to 64, of each
    /// chunk's hash.
    pub fn new(hash_bits: u32, capacity: u32) -> Self {
        let capacity = capacity.clamp(4, NONE - 1) as usize;
        Self {
            nodes: Nodes::new(),
            children: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            sets: HolderSets::new(),
            traffic: Traffic::default(),
            edge_mask: u64::MAX >> (64 - hash_bits.clamp(8, 64)),
            capacity,
            // One prompt must neither fill the tree nor evict its own path while it is being inserted.
            depth_limit: MAXIMUM_DEPTH.min(capacity / 2),
            evictions: 0,
        }
    }

    /// Chunks of one prompt that the tree follows.
    pub fn depth_limit(&self) -> usize {
        self.depth_limit
    }

    /// Nodes held now.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True if no prefix is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nodes evicted since the tree was made.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Bytes of memory that the tree occupies.
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.children.allocation_size() + self.sets.bytes()
    }

    /// What is known of the prompt, written into `found`. Changes nothing: looking is not traffic.
    pub fn longest(&self, path: &[u64], found: &mut PrefixMatch) {
        found.holders.clear();
        found.common_chunks = 0;
        let (mut parent, mut holders, mut depth) = (NONE, SetId::EMPTY, 0);
        for hash in path.iter().take(self.depth_limit) {
            let Some(id) = self.child(parent, hash & self.edge_mask) else { break };
            let node = self.nodes.get(id);
            if node.holders != holders {
                let (before, now) = (self.sets.members(holders), self.sets.members(node.holders));
                let lost = lost(before, now).take(MOST_HOLDERS);
                found.holders.extend(lost.map(|worker| HolderDepth { worker, chunks: depth }));
                holders = node.holders;
            }
            if found.common_chunks == depth && self.traffic.passes_most(node.visits) {
                found.common_chunks += 1;
            }
            depth += 1;
            parent = id;
        }
        let deepest = self.sets.members(holders);
        let first = if deepest.len() > MOST_HOLDERS { path[0] as usize % deepest.len() } else { 0 };
        let (before, from_first) = deepest.split_at(first);
        let deepest = from_first.iter().chain(before).take(MOST_HOLDERS);
        found.holders.extend(deepest.map(|worker| HolderDepth { worker: *worker, chunks: depth }));
    }

    /// Notes that `worker` took a prompt and so holds all of it. Returns how many of its chunks it held before.
    pub fn insert(&mut self, path: &[u64], worker: WorkerIndex) -> usize {
        self.traffic.begin_request();
        self.hold(path, worker, true)
    }

    /// As [`insert`](Self::insert), but not counted as traffic.
    pub fn learn(&mut self, path: &[u64], worker: WorkerIndex) -> usize {
        self.hold(path, worker, false)
    }

    /// Forgets a worker, and every prefix that nobody else holds.
    pub fn remove_worker(&mut self, worker: WorkerIndex) {
        let mut at = self.nodes.oldest();
        while let Some(id) = at {
            at = self.nodes.next_newer(id);
            let holders = self.nodes.get(id).holders;
            if self.sets.contains(holders, worker) {
                let rest = self.sets.without(holders, worker);
                self.set_holders(id, rest);
                if rest == SetId::EMPTY {
                    // Its children, which are older, had no other holder either and are gone already.
                    self.remove(id);
                }
            }
        }
    }

    /// Visits every prefix that says something, the least recently used first: the path of each node with those of its
    /// holders that hold none of its children. Inserting all of them rebuilds the tree.
    pub fn for_each_held(&self, mut visit: impl FnMut(&[u64], &[WorkerIndex])) {
        // A node whose child has all its holders needs no visit; the pairs are for the children that lack some.
        let mut covered_wholly = vec![false; self.nodes.slots()];
        let mut covered: HashSet<(u32, WorkerIndex)> = HashSet::new();
        let (mut path, mut own) = (Vec::new(), Vec::new());
        let mut at = self.nodes.oldest();
        while let Some(id) = at {
            at = self.nodes.next_newer(id);
            let node = self.nodes.get(id);
            let holders = self.sets.members(node.holders);
            if !covered_wholly[id as usize] {
                own.clear();
                own.extend(holders.iter().copied().filter(|worker| !covered.contains(&(id, *worker))));
                if !own.is_empty() {
                    self.nodes.path_to(id, &mut path);
                    visit(&path, &own);
                }
            }
            if node.parent != NONE {
                if self.nodes.get(node.parent).holders == node.holders {
                    covered_wholly[node.parent as usize] = true;
                } else {
                    covered.extend(holders.iter().map(|worker| (node.parent, *worker)));
                }
            }
        }
    }

    /// The prefixes that most of the recent traffic ends in, the busiest first: at most `count` of them.
    pub fn busiest(&self, count: usize) -> Vec<BusyPrefix> {
        let mut of_children = vec![0; self.nodes.slots()];
        let mut ends = Vec::new();
        let mut at = self.nodes.oldest();
        // From the oldest on, every node comes after its children.
        while let Some(id) = at {
            at = self.nodes.next_newer(id);
            let node = self.nodes.get(id);
            let visits = self.traffic.recent(node.visits);
            if visits > of_children[id as usize] {
                ends.push((visits, id));
            }
            if node.parent != NONE {
                let busiest = &mut of_children[node.parent as usize];
                *busiest = visits.max(*busiest);
            }
        }
        ends.sort_unstable_by_key(|(visits, _)| std::cmp::Reverse(*visits));
        ends.truncate(count);
        let mut path = Vec::new();
        let describe = |(recent_requests, id): (u32, u32)| {
            self.nodes.path_to(id, &mut path);
            let node = self.nodes.get(id);
            let holders = self.sets.members(node.holders).to_vec();
            BusyPrefix { edge: node.edge, chunks: path.len(), recent_requests, holders }
        };
        ends.into_iter().map(describe).collect()
    }

    fn hold(&mut self, path: &[u64], worker: WorkerIndex, is_traffic: bool) -> usize {
        let mut held_before = 0;
        let mut parent = NONE;
        // An eviction below may free the last node of this set, which new nodes still need.
        let alone = self.sets.with(SetId::EMPTY, worker);
        self.sets.exchange(SetId::EMPTY, alone);
        // Neighbours on a path mostly have the same holders: the step from set to set is looked up once, not per node.
        let mut step = (SetId::EMPTY, alone);
        // A node that is new has no children to look for.
        let mut is_new = false;
        for hash in path.iter().take(self.depth_limit) {
            let edge = hash & self.edge_mask;
            let known = if is_new { None } else { self.child(parent, edge) };
            is_new = known.is_none();
            let id = match known {
                Some(id) => {
                    self.nodes.unlink(id);
                    id
                }
                None => self.create(parent, edge),
            };
            self.nodes.link_behind(parent, id);
            let holders = self.nodes.get(id).holders;
            if holders != step.0 {
                step = (holders, self.sets.with(holders, worker));
            }
            if step.1 == holders {
                held_before += 1;
            } else {
                self.set_holders(id, step.1);
            }
            if is_traffic {
                self.traffic.visit(&mut self.nodes.get_mut(id).visits);
            }
            parent = id;
        }
        self.sets.exchange(alone, SetId::EMPTY);
        held_before
    }

    fn child(&self, parent: u32, edge: u64) -> Option<u32> {
        if let Some(id) = self.nodes.neighbour_with(parent, edge) {
            return Some(id);
        }
        let hash = self.hasher.hash_one((parent, edge));
        self.children.find(hash, |id| self.nodes.get(*id).is(parent, edge)).copied()
    }

    fn create(&mut self, parent: u32, edge: u64) -> u32 {
        if self.nodes.len() >= self.capacity
            && let Some(oldest) = self.nodes.oldest()
        {
            self.set_holders(oldest, SetId::EMPTY);
            self.remove(oldest);
            self.evictions += 1;
        }
        let id = self.nodes.store(Node::new(parent, edge));
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        let hash_of = |id: &u32| {
            let node = nodes.get(*id);
            hasher.hash_one((node.parent, node.edge))
        };
        let is_full = self.children.len() == self.children.capacity();
        // The table fills seven eighths of its buckets at most.
        if is_full && self.children.num_buckets() / 8 * 7 >= self.capacity {
            // What fills it are the marks of removed nodes, for which it would grow to twice its size. That takes some
            // two million evictions at the default bound, so making it anew costs each of them ten nanoseconds.
            let marked = std::mem::replace(&mut self.children, HashTable::with_capacity(self.capacity));
            marked.into_iter().for_each(|id| {
                self.children.insert_unique(hash_of(&id), id, hash_of);
            });
        }
        self.children.insert_unique(hasher.hash_one((parent, edge)), id, hash_of);
        id
    }

    fn remove(&mut self, id: u32) {
        let node = self.nodes.get(id);
        let hash = self.hasher.hash_one((node.parent, node.edge));
        if let Ok(entry) = self.children.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.nodes.unlink(id);
        self.nodes.free(id);
    }

    fn set_holders(&mut self, id: u32, holders: SetId) {
        let old = std::mem::replace(&mut self.nodes.get_mut(id).holders, holders);
        self.sets.exchange(old, holders);
    }
}
