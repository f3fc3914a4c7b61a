//! The nodes of the tree and the recency order in which they stand.

use super::WorkerIndex;
use super::holders::SetId;
use super::traffic::Visits;

/// "No node": the parent of the first level, and the ends of the recency list.
pub(super) const NONE: u32 = u32::MAX;

/// One chunk of a prefix: 32 bytes, and about ten more in the table that finds it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) edge: u64,
    pub(super) parent: u32,
    pub(super) holders: SetId,
    pub(super) visits: Visits,
    newer: u32,
    older: u32,
}

impl Node {
    pub(super) fn new(parent: u32, edge: u64) -> Self {
        Self { edge, parent, holders: SetId::EMPTY, visits: Visits::default(), newer: NONE, older: NONE }
    }

    /// True if it is the child of `parent` along `edge`.
    pub(super) fn is(&self, parent: u32, edge: u64) -> bool {
        self.edge == edge && self.parent == parent
    }
}

/// All nodes, with the list from the most to the least recently used one.
///
/// The caller keeps one rule, and eviction rests on it: a node is placed behind its parent, so the oldest node never
/// has children.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    slots: Vec<Node>,
    /// Slots that removed nodes left.
    vacant: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new(), newest: NONE, oldest: NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Bytes that the nodes occupy, free slots included.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Node>() + self.vacant.capacity() * size_of::<u32>()
    }

    /// Slots ever used: one more than the highest id.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, id: u32) -> &Node {
        &self.slots[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Node {
        &mut self.slots[id as usize]
    }

    /// The child of `parent` along `edge`, if it lies in a slot beside its parent. Paths are mostly stored in one go, in
    /// rising slots while the tree grows and in falling ones where evicted paths were; so a long walk reads memory in
    /// order and hashes nothing.
    pub(super) fn neighbour_with(&self, parent: u32, edge: u64) -> Option<u32> {
        let is_child = |id: &u32| self.slots.get(*id as usize).is_some_and(|node| node.is(parent, edge));
        [parent.wrapping_add(1), parent.wrapping_sub(1)].into_iter().find(is_child)
    }

    /// Stores a node that stands nowhere in the order yet.
    pub(super) fn store(&mut self, node: Node) -> u32 {
        if let Some(id) = self.vacant.pop() {
            self.slots[id as usize] = node;
            return id;
        }
        let id = u32::try_from(self.slots.len()).expect("the tree's capacity, a u32, bounds the nodes");
        self.slots.push(node);
        id
    }

    /// Frees the slot of a node that was unlinked before.
    pub(super) fn free(&mut self, id: u32) {
        // Nobody may find it any more; it has no parent that leads to itself.
        self.get_mut(id).parent = id;
        self.vacant.push(id);
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(super) fn next_newer(&self, id: u32) -> Option<u32> {
        let newer = self.get(id).newer;
        (newer != NONE).then_some(newer)
    }

    pub(super) fn unlink(&mut self, id: u32) {
        let (newer, older) = {
            let node = self.get(id);
            (node.newer, node.older)
        };
        match newer {
            NONE => self.newest = older,
            newer => self.get_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.get_mut(older).newer = newer,
        }
    }

    /// Places an unlinked node right behind `previous`, or first of all when `previous` is [`NONE`].
    pub(super) fn link_behind(&mut self, previous: u32, id: u32) {
        let older = match previous {
            NONE => std::mem::replace(&mut self.newest, id),
            previous => std::mem::replace(&mut self.get_mut(previous).older, id),
        };
        match older {
            NONE => self.oldest = id,
            older => self.get_mut(older).newer = id,
        }
        let node = self.get_mut(id);
        node.newer = previous;
        node.older = older;
    }

    /// Writes the edges from the root down to `id` into `path`.
    pub(super) fn path_to(&self, id: u32, path: &mut Vec<u64>) {
        path.clear();
        let mut at = id;
        while at != NONE {
            let node = self.get(at);
            path.push(node.edge);
            at = node.parent;
        }
        path.reverse();
    }
}

/// Workers of `earlier` that are missing from `later`; both are sorted.
pub(super) fn lost<'a>(earlier: &'a [WorkerIndex], later: &'a [WorkerIndex]) -> impl Iterator<Item = WorkerIndex> + 'a {
    let mut later = later.iter().peekable();
    earlier.iter().copied().filter(move |worker| {
        while later.next_if(|other| *other < worker).is_some() {}
        later.peek() != Some(&worker)
    })
}
