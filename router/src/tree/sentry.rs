//! Finds the lengths of shared system prompts by watching the traffic, as the paper's Sentry does.
//!
//! Each watched prompt is compared with the last few: two prompts that share a system prompt and nothing else are equal
//! up to its end exactly, so its length comes again and again, while chance beginnings scatter. Only hashes are kept.

use std::collections::{BTreeMap, VecDeque};

use super::chunk::ChunkPlan;

/// Bytes between two hashes of a watched prompt: lengths are found to this resolution, rounded down, so that a chunk
/// never reaches beyond what is shared.
const GRAIN_BYTES: u32 = 64;

/// Hashes of a prompt that are watched: 64 KiB, far beyond any system prompt.
const MOST_GRAINS: usize = 1024;

/// Prompts that the next one is compared with.
const COMPARED: usize = 32;

/// Watched prompts between two judgements.
const JUDGED_EVERY: u32 = 64;

/// Share of the compared pairs, one in so many, that must end at a length before it is believed.
const BELIEVED_SHARE: u32 = 25;

/// Most lengths that are believed at a time.
const MOST_LENGTHS: usize = 8;

/// Watches prompts and proposes how to cut them.
#[derive(Debug)]
pub struct Sentry {
    remainder: u32,
    recent: VecDeque<Box<[u64]>>,
    /// Pairs of prompts, by the grains that they share.
    shared: BTreeMap<usize, u32>,
    pairs: u32,
    watched: u32,
    last_judgement: Vec<usize>,
    adopted: Vec<usize>,
}

impl Sentry {
    /// A sentry that saw nothing; what no system prompt ends in is cut every `remainder` bytes.
    pub fn new(remainder: u32) -> Self {
        Self {
            remainder,
            recent: VecDeque::with_capacity(COMPARED),
            shared: BTreeMap::new(),
            pairs: 0,
            watched: 0,
            last_judgement: Vec::new(),
            adopted: Vec::new(),
        }
    }

    /// How prompts are cut before anything is learned.
    pub fn first_plan(&self) -> ChunkPlan {
        ChunkPlan::fixed(self.remainder)
    }

    /// How the prompts are cut that [`watch`](Self::watch) takes.
    pub fn grain_plan() -> ChunkPlan {
        ChunkPlan::fixed(GRAIN_BYTES)
    }

    /// Takes the path of a prompt cut by [`grain_plan`](Self::grain_plan). Returns a new way to cut prompts when the
    /// traffic asks for one; twice in a row, so that a passing burst does not change what the tree holds.
    pub fn watch(&mut self, path: &[u64]) -> Option<ChunkPlan> {
        let path = &path[..path.len().min(MOST_GRAINS)];
        for other in &self.recent {
            let shared = path.iter().zip(other).take_while(|(one, other)| one == other).count();
            self.pairs += 1;
            // A prompt that comes again, or goes on where another one ended, tells of no system prompt.
            if shared > 0 && shared < path.len().min(other.len()) {
                *self.shared.entry(shared).or_default() += 1;
            }
        }
        if self.recent.len() == COMPARED {
            self.recent.pop_front();
        }
        self.recent.push_back(path.into());
        self.watched += 1;
        if !self.watched.is_multiple_of(JUDGED_EVERY) {
            return None;
        }
        let judgement = self.judge();
        self.shared.retain(|_, pairs| {
            *pairs /= 2;
            *pairs > 0
        });
        self.pairs /= 2;
        let is_confirmed = judgement == self.last_judgement;
        self.last_judgement = judgement;
        if !is_confirmed || self.last_judgement == self.adopted {
            return None;
        }
        self.adopted.clone_from(&self.last_judgement);
        Some(self.plan())
    }

    /// The lengths in grains at which enough pairs part. Neighbours count together, at the shorter one: some user texts
    /// begin alike.
    fn judge(&self) -> Vec<usize> {
        let mut peaks: Vec<(usize, u32)> = Vec::new();
        for (length, pairs) in &self.shared {
            match peaks.last_mut() {
                Some((shorter, sum)) if *length - *shorter <= 1 => *sum += pairs,
                _ => peaks.push((*length, *pairs)),
            }
        }
        peaks.retain(|(_, pairs)| pairs.saturating_mul(BELIEVED_SHARE) >= self.pairs);
        peaks.sort_unstable_by_key(|(length, pairs)| (std::cmp::Reverse(*pairs), *length));
        peaks.truncate(MOST_LENGTHS);
        let mut lengths: Vec<usize> = peaks.into_iter().map(|(length, _)| length).collect();
        lengths.sort_unstable();
        lengths
    }

    /// The paper's lengths: up to each end of a system prompt, and one short chunk behind it, which tells apart those that
    /// go on differently: l1, d, l2 - l1 - d, d, and so on.
    fn plan(&self) -> ChunkPlan {
        let mut cuts = Vec::with_capacity(2 * self.adopted.len());
        let mut end = 0;
        for length in &self.adopted {
            if let Some(chunk) = length.checked_sub(end).filter(|chunk| *chunk > 0) {
                cuts.push(chunk as u32 * GRAIN_BYTES);
                cuts.push(GRAIN_BYTES);
                end = length + 1;
            }
        }
        ChunkPlan::listed(&cuts, self.remainder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A prompt of a system prompt of so many grains and a text of its own.
    fn prompt(system: u64, grains: u64, own: u64) -> Vec<u64> {
        let of_system = (0..grains).map(|grain| system << 32 | grain);
        of_system.chain((0..20).map(|grain| (1 << 40) + (own << 8) + grain)).collect()
    }

    fn learned(prompts: impl IntoIterator<Item = Vec<u64>>) -> Option<ChunkPlan> {
        let mut sentry = Sentry::new(256);
        prompts.into_iter().fold(None, |plan, prompt| sentry.watch(&prompt).or(plan))
    }

    #[test]
    fn the_lengths_of_shared_system_prompts_are_found_from_traffic_alone() {
        // Two system prompts, of 30 and of 50 grains, of which the second begins as the first does.
        let second = |own: u64| {
            let mut path = prompt(1, 30, own);
            path.splice(
                30..,
                (0..20).map(|grain| 7 << 48 | grain).chain((0..9).map(|grain| (2 << 50) + (own << 8) + grain)),
            );
            path
        };
        let traffic = (0..400).map(|own| if own % 2 == 0 { prompt(1, 30, own) } else { second(own) });
        let bytes = [30, 1, 19, 1].map(|grains| grains * GRAIN_BYTES);
        assert_eq!(learned(traffic), Some(ChunkPlan::listed(&bytes, 256)));
    }

    #[test]
    fn traffic_that_shares_nothing_teaches_nothing() {
        assert_eq!(learned((0..1000).map(|own| prompt(own, 30, own))), None);
    }

    #[test]
    fn prompts_that_come_again_are_no_system_prompts() {
        assert_eq!(learned((0..1000).map(|own| prompt(own % 3, 30, own % 3))), None);
    }

    proptest! {
        #[test]
        fn no_traffic_makes_it_panic_or_grow(paths in prop::collection::vec(prop::collection::vec(0_u64..2, 0..40), 0..300)) {
            let mut sentry = Sentry::new(256);
            for path in paths {
                sentry.watch(&path);
            }
            prop_assert!(sentry.recent.len() <= COMPARED && sentry.shared.len() <= MOST_GRAINS);
            prop_assert!(sentry.adopted.len() <= MOST_LENGTHS);
        }
    }
}
