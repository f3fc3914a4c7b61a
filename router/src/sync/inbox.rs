//! What was heard from other routers: how far, and what load they told of.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::epoch::MAXIMUM_PEERS;
use crate::policy::worker::Load;
use crate::tree::WorkerIndex;

/// Silence after which a router's load no longer counts: it is gone, or its news are too old to go by.
pub const LOAD_EXPIRES_AFTER: Duration = Duration::from_secs(10);

/// Most requests in flight that a router is believed to have on one worker, and most tokens: no engine queues more, and
/// sums of liars' numbers stay far from overflow.
const MOST_LOAD: Load = Load {
    in_flight: 1 << 20,
    tokens: 1 << 40,
    awaited_tokens: 1 << 40,
    awaited: 1 << 20,
    due_ms: 1 << 50,
    sent_ms: 1 << 50,
};

/// A change in what others put on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadChange {
    /// The worker.
    pub worker: WorkerIndex,
    /// What counted until now.
    pub before: Load,
    /// What counts from now on.
    pub now: Load,
}

/// What the number of a frame tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// It is later than all before it.
    pub is_new: bool,
    /// Frames before it are missing.
    pub has_gap: bool,
}

/// One entry for each router heard of, by its incarnation.
#[derive(Debug, Default)]
pub struct Inbox {
    senders: HashMap<u64, Sender>,
}

#[derive(Debug)]
struct Sender {
    last_sequence: u64,
    loads: Vec<(WorkerIndex, Load)>,
    heard: Instant,
    wants_snapshot: bool,
}

impl Inbox {
    /// True if anything was heard from a router.
    pub fn knows(&self, sender: u64) -> bool {
        self.senders.contains_key(&sender)
    }

    /// True if something from a router was missed.
    pub fn wants_snapshot(&self, sender: u64) -> bool {
        self.senders.get(&sender).is_some_and(|sender| sender.wants_snapshot)
    }

    /// Notes a frame.
    pub fn note_frame(&mut self, sender: u64, sequence: u64, now: Instant, changes: &mut Vec<LoadChange>) -> Noted {
        let entry = self.entry(sender, now, changes);
        let has_gap = sequence > entry.last_sequence + 1;
        let is_new = sequence > entry.last_sequence;
        entry.last_sequence = entry.last_sequence.max(sequence);
        entry.wants_snapshot |= has_gap;
        Noted { is_new, has_gap }
    }

    /// Notes a snapshot that includes all frames up to `sequence`.
    pub fn note_snapshot(&mut self, sender: u64, sequence: u64, now: Instant, changes: &mut Vec<LoadChange>) {
        let entry = self.entry(sender, now, changes);
        entry.last_sequence = entry.last_sequence.max(sequence);
        entry.wants_snapshot = false;
    }

    /// Replaces the loads that a router told of, if `sequence` is its newest word.
    pub fn replace_loads(
        &mut self,
        sender: u64,
        sequence: u64,
        loads: Vec<(WorkerIndex, Load)>,
        changes: &mut Vec<LoadChange>,
    ) {
        let Some(entry) = self.senders.get_mut(&sender).filter(|entry| sequence >= entry.last_sequence) else { return };
        let believed = |load: Load| Load {
            in_flight: load.in_flight.min(MOST_LOAD.in_flight),
            tokens: load.tokens.min(MOST_LOAD.tokens),
            awaited_tokens: load.awaited_tokens.min(MOST_LOAD.awaited_tokens),
            awaited: load.awaited.min(MOST_LOAD.awaited),
            due_ms: load.due_ms.clamp(-MOST_LOAD.due_ms, MOST_LOAD.due_ms),
            sent_ms: load.sent_ms.clamp(-MOST_LOAD.sent_ms, MOST_LOAD.sent_ms),
        };
        let loads: Vec<_> = loads.into_iter().map(|(worker, load)| (worker, believed(load))).collect();
        take_back(std::mem::take(&mut entry.loads), changes);
        changes.extend(loads.iter().map(|(worker, load)| LoadChange {
            worker: *worker,
            before: Load::default(),
            now: *load,
        }));
        entry.loads = loads;
    }

    /// Takes back the loads of routers that fell silent.
    pub fn expire(&mut self, now: Instant, changes: &mut Vec<LoadChange>) {
        for sender in self.senders.values_mut() {
            if now.saturating_duration_since(sender.heard) > LOAD_EXPIRES_AFTER {
                take_back(std::mem::take(&mut sender.loads), changes);
            }
        }
    }

    /// The entry of a router; the one silent for longest makes room if there are too many (a router that restarts has a
    /// new incarnation each time).
    fn entry(&mut self, sender: u64, now: Instant, changes: &mut Vec<LoadChange>) -> &mut Sender {
        if !self.knows(sender)
            && self.senders.len() >= 2 * MAXIMUM_PEERS
            && let Some(oldest) = self.senders.iter().min_by_key(|(_, entry)| entry.heard).map(|(sender, _)| *sender)
            && let Some(oldest) = self.senders.remove(&oldest)
        {
            take_back(oldest.loads, changes);
        }
        let fresh = Sender { last_sequence: 0, loads: Vec::new(), heard: now, wants_snapshot: false };
        let entry = self.senders.entry(sender).or_insert(fresh);
        entry.heard = now;
        entry
    }
}

fn take_back(loads: Vec<(WorkerIndex, Load)>, changes: &mut Vec<LoadChange>) {
    changes.extend(loads.into_iter().map(|(worker, load)| LoadChange { worker, before: load, now: Load::default() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerIndex = WorkerIndex(0);

    fn load(in_flight: u32) -> Load {
        Load { in_flight, ..Load::default() }
    }

    /// The sum that an engine would have after all changes.
    fn sum(changes: &[LoadChange]) -> u32 {
        changes.iter().fold(load(0), |sum, change| sum.minus(change.before).plus(change.now)).in_flight
    }

    #[test]
    fn a_missing_frame_is_noticed_and_a_snapshot_mends_it() {
        let (mut inbox, now, mut changes) = (Inbox::default(), Instant::now(), Vec::new());
        assert!(!inbox.note_frame(1, 1, now, &mut changes).has_gap);
        assert!(!inbox.note_frame(1, 1, now, &mut changes).has_gap, "a repeated frame is none");
        assert!(inbox.note_frame(1, 4, now, &mut changes).has_gap);
        assert!(inbox.wants_snapshot(1) && !inbox.wants_snapshot(2));
        inbox.note_snapshot(1, 6, now, &mut changes);
        assert!(!inbox.wants_snapshot(1));
        assert!(!inbox.note_frame(1, 7, now, &mut changes).has_gap);
        assert!(inbox.note_frame(2, 9, now, &mut changes).has_gap, "who is heard for the first time was missed before");
    }

    #[test]
    fn the_load_of_a_router_is_its_last_word_and_ends_with_its_silence() {
        let (mut inbox, now, mut changes) = (Inbox::default(), Instant::now(), Vec::new());
        for (sequence, in_flight, expected) in [(1, 5, 5), (3, 7, 7), (2, 9, 7)] {
            inbox.note_frame(1, sequence, now, &mut changes);
            inbox.replace_loads(1, sequence, vec![(WORKER, load(in_flight))], &mut changes);
            assert_eq!(sum(&changes), expected);
        }
        inbox.note_frame(2, 1, now, &mut changes);
        inbox.replace_loads(2, 1, vec![(WORKER, load(2))], &mut changes);
        assert_eq!(sum(&changes), 9);
        inbox.note_frame(1, 4, now + LOAD_EXPIRES_AFTER, &mut changes);
        inbox.expire(now + LOAD_EXPIRES_AFTER + Duration::from_secs(1), &mut changes);
        assert_eq!(sum(&changes), 7, "the second fell silent");
    }

    #[test]
    fn routers_beyond_the_bound_and_loads_beyond_reason_harm_nobody() {
        let (mut inbox, now, mut changes) = (Inbox::default(), Instant::now(), Vec::new());
        for sender in 0..3 * MAXIMUM_PEERS as u64 {
            inbox.note_frame(sender, 1, now, &mut changes);
            inbox.replace_loads(sender, 1, vec![(WORKER, load(u32::MAX))], &mut changes);
        }
        assert_eq!(inbox.senders.len(), 2 * MAXIMUM_PEERS);
        inbox.expire(now + 2 * LOAD_EXPIRES_AFTER, &mut changes);
        assert_eq!(sum(&changes), 0);
    }
}
