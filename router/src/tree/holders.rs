//! Sets of workers, stored once however many nodes share them.
//!
//! The nodes of a path mostly have the same holders, so a node keeps the number of a set (four bytes, whatever the
//! number of workers), and two nodes have equal holders exactly when the numbers are equal.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::WorkerIndex;

/// The number of a set in its [`HolderSets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetId(u32);

impl SetId {
    /// The set without members; never counted, never freed.
    pub(super) const EMPTY: Self = Self(0);
}

#[derive(Clone, Debug)]
struct Entry {
    /// Sorted, without repetition.
    members: Box<[WorkerIndex]>,
    /// Nodes that have this set.
    references: u32,
}

/// All sets in use.
#[derive(Clone, Debug)]
pub(super) struct HolderSets {
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    by_members: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Kept for building the members of a set before looking it up.
    scratch: Vec<WorkerIndex>,
    bytes: usize,
}

impl HolderSets {
    pub(super) fn new() -> Self {
        let empty = Entry { members: Box::default(), references: 0 };
        Self {
            entries: vec![empty],
            vacant: Vec::new(),
            by_members: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            scratch: Vec::new(),
            bytes: 0,
        }
    }

    /// The members of a set, sorted.
    pub(super) fn members(&self, set: SetId) -> &[WorkerIndex] {
        &self.entries[set.0 as usize].members
    }

    /// Bytes that the sets occupy.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.entries.capacity() * size_of::<Entry>() + self.by_members.capacity() * (size_of::<u32>() + 1)
    }

    pub(super) fn contains(&self, set: SetId, worker: WorkerIndex) -> bool {
        self.members(set).binary_search(&worker).is_ok()
    }

    /// The set with `worker` added. Counts no reference.
    pub(super) fn with(&mut self, set: SetId, worker: WorkerIndex) -> SetId {
        let Err(place) = self.members(set).binary_search(&worker) else { return set };
        let mut members = std::mem::take(&mut self.scratch);
        members.clear();
        members.extend_from_slice(self.members(set));
        members.insert(place, worker);
        self.intern(members)
    }

    /// The set with `worker` taken out. Counts no reference.
    pub(super) fn without(&mut self, set: SetId, worker: WorkerIndex) -> SetId {
        let Ok(place) = self.members(set).binary_search(&worker) else { return set };
        let mut members = std::mem::take(&mut self.scratch);
        members.clear();
        members.extend_from_slice(self.members(set));
        members.remove(place);
        self.intern(members)
    }

    /// Moves one node's reference from `old` to `new`.
    pub(super) fn exchange(&mut self, old: SetId, new: SetId) {
        if new != SetId::EMPTY {
            self.entries[new.0 as usize].references += 1;
        }
        if old == SetId::EMPTY {
            return;
        }
        let entry = &mut self.entries[old.0 as usize];
        entry.references -= 1;
        if entry.references == 0 {
            let members = std::mem::take(&mut entry.members);
            self.bytes -= size_of_val(&*members);
            let hash = self.hasher.hash_one(&*members);
            if let Ok(found) = self.by_members.find_entry(hash, |id| *id == old.0) {
                found.remove();
            }
            self.vacant.push(old.0);
        }
    }

    fn intern(&mut self, members: Vec<WorkerIndex>) -> SetId {
        let found = if members.is_empty() {
            SetId::EMPTY
        } else {
            let hash = self.hasher.hash_one(&*members);
            match self.by_members.find(hash, |id| *self.entries[*id as usize].members == *members) {
                Some(id) => SetId(*id),
                None => self.add(&members, hash),
            }
        };
        self.scratch = members;
        found
    }

    fn add(&mut self, members: &[WorkerIndex], hash: u64) -> SetId {
        self.bytes += size_of_val(members);
        let entry = Entry { members: members.into(), references: 0 };
        let id = if let Some(id) = self.vacant.pop() {
            self.entries[id as usize] = entry;
            id
        } else {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).expect("there are no more sets than nodes, which a u32 counts")
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.by_members.insert_unique(hash, id, |id| hasher.hash_one(&*entries[*id as usize].members));
        SetId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_stored_once_and_freed_with_their_last_node() {
        let mut sets = HolderSets::new();
        let one = sets.with(SetId::EMPTY, WorkerIndex(7));
        sets.exchange(SetId::EMPTY, one);
        let both = sets.with(one, WorkerIndex(3));
        sets.exchange(SetId::EMPTY, both);
        assert_eq!(sets.members(both), [WorkerIndex(3), WorkerIndex(7)]);
        assert_eq!(sets.with(both, WorkerIndex(3)), both);
        assert_eq!(sets.without(both, WorkerIndex(3)), one);

        sets.exchange(both, SetId::EMPTY);
        let other = sets.with(one, WorkerIndex(9));
        assert_eq!(sets.members(other), [WorkerIndex(7), WorkerIndex(9)], "the freed slot is used again");
        assert!(sets.contains(one, WorkerIndex(7)));
        assert_eq!(sets.without(one, WorkerIndex(7)), SetId::EMPTY);
    }
}
