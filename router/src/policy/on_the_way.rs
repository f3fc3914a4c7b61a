//! Prompts that were sent and not accepted yet. Their workers will hold them by the time that another of the same prefix
//! is served, so a burst with one prefix need not be computed everywhere; the tree learns only what was accepted.

use crate::tree::{Coming, HolderDepth, PrefixMatch, WorkerIndex};

/// Prompts that are remembered, the latest: each decision looks at all of them.
const MOST_PROMPTS: usize = 64;

/// Leading chunks of a prompt that are remembered.
const MOST_CHUNKS: usize = 1024;

/// Names a prompt among those of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Clone, Debug)]
struct Sent {
    ticket: Ticket,
    worker: WorkerIndex,
    path: Vec<u64>,
    /// Leading chunks that it shares with the prompt that was compared last.
    shared_chunks: usize,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct OnTheWay {
    prompts: Vec<Sent>,
    /// Buffers of prompts that arrived, so that sending allocates nothing.
    spare: Vec<Vec<u64>>,
    /// Of the prompt that was compared last: the chunks shared with each prompt, the most first.
    shared_chunks: Vec<usize>,
    next: u64,
}

impl OnTheWay {
    /// Notes that a prompt is sent to `worker`. Of too many, the one sent first is forgotten.
    pub(super) fn send(&mut self, path: &[u64], worker: WorkerIndex) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        if self.prompts.len() == MOST_PROMPTS {
            let first = self.prompts.remove(0);
            self.spare.push(first.path);
        }
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend(path.iter().take(MOST_CHUNKS));
        self.prompts.push(Sent { ticket, worker, path: kept, shared_chunks: 0 });
        ticket
    }

    /// Notes that a prompt was accepted, or that it failed; one that is forgotten already stays so.
    pub(super) fn arrive(&mut self, ticket: Ticket) {
        if let Some(place) = self.prompts.iter().position(|sent| sent.ticket == ticket) {
            let sent = self.prompts.remove(place);
            self.spare.push(sent.path);
        }
    }

    /// Goes on counting where another engine's tickets ended, so that none of them means one of these.
    pub(super) fn after(other: &Self) -> Self {
        Self { next: other.next, ..Self::default() }
    }

    /// Compares all with a prompt: what they have in common with it counts as traffic, too.
    pub(super) fn compare(&mut self, path: &[u64]) -> Coming<'_> {
        self.shared_chunks.clear();
        for sent in &mut self.prompts {
            sent.shared_chunks = sent.path.iter().zip(path).take_while(|(one, other)| one == other).count();
            self.shared_chunks.push(sent.shared_chunks);
        }
        self.shared_chunks.sort_unstable_by_key(|chunks| std::cmp::Reverse(*chunks));
        Coming { shared_chunks: &self.shared_chunks }
    }

    /// Adds what will be held soon of the prompt that was compared last to what the tree knows of it.
    pub(super) fn add_to(&self, found: &mut PrefixMatch) {
        let mut is_changed = false;
        for sent in self.prompts.iter().filter(|sent| sent.shared_chunks > 0) {
            let holder = HolderDepth { worker: sent.worker, chunks: sent.shared_chunks };
            match found.holders.iter_mut().find(|known| known.worker == sent.worker) {
                Some(known) if known.chunks >= holder.chunks => continue,
                Some(known) => *known = holder,
                None => found.holders.push(holder),
            }
            is_changed = true;
        }
        if is_changed {
            found.holders.sort_by_key(|holder| holder.chunks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerIndex = WorkerIndex(1);
    const TWO: WorkerIndex = WorkerIndex(2);

    fn held(sent: &mut OnTheWay, path: &[u64], known: &[(WorkerIndex, usize)]) -> Vec<(WorkerIndex, usize)> {
        let known = known.iter().map(|(worker, chunks)| HolderDepth { worker: *worker, chunks: *chunks });
        let mut found = PrefixMatch { holders: known.collect(), common_chunks: 0 };
        sent.compare(path);
        sent.add_to(&mut found);
        found.holders.iter().map(|holder| (holder.worker, holder.chunks)).collect()
    }

    #[test]
    fn a_prompt_on_its_way_counts_as_held_until_it_arrives() {
        let mut sent = OnTheWay::default();
        let first = sent.send(&[1, 2, 3, 4], ONE);
        let second = sent.send(&[1, 2, 9], TWO);

        assert_eq!(held(&mut sent, &[1, 2, 3, 5], &[]), [(TWO, 2), (ONE, 3)]);
        assert_eq!(
            held(&mut sent, &[1, 2, 3, 5], &[(TWO, 4)]),
            [(ONE, 3), (TWO, 4)],
            "what the tree knows to be more stays"
        );
        assert_eq!(held(&mut sent, &[1, 2, 3, 5], &[(ONE, 1), (TWO, 1)]), [(TWO, 2), (ONE, 3)]);
        assert_eq!(held(&mut sent, &[7], &[]), []);

        sent.arrive(first);
        sent.arrive(first);
        assert_eq!(held(&mut sent, &[1, 2, 3, 5], &[]), [(TWO, 2)]);
        sent.arrive(second);
        assert_eq!(held(&mut sent, &[1, 2, 3, 5], &[]), []);
    }

    #[test]
    fn only_the_latest_prompts_are_remembered_and_only_their_beginnings() {
        let mut sent = OnTheWay::default();
        let long: Vec<u64> = (0..5000).collect();
        for _ in 0..3 * MOST_PROMPTS {
            sent.send(&[77], TWO);
            sent.send(&long, ONE);
        }

        assert_eq!(sent.prompts.len(), MOST_PROMPTS);
        assert_eq!(held(&mut sent, &long, &[]), [(ONE, MOST_CHUNKS)]);
        let mut newer = OnTheWay::after(&sent);
        let ticket = newer.send(&[1], ONE);
        assert!(sent.prompts.iter().all(|old| old.ticket != ticket));
    }
}
