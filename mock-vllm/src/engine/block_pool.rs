//! The bounded pool of KV blocks: reference counts, the prefix cache, eviction of the least recently freed block.

use std::collections::HashMap;

use super::block_hash::BlockHash;
use super::free_list::FreeList;

/// Index of a block in its pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BlockId(u32);

#[derive(Clone, Debug, Default)]
struct Block {
    references: u32,
    hash: Option<BlockHash>,
}

/// All KV blocks of one engine.
///
/// A block is *used* while a request refers to it, else *free*. A free block keeps its contents, and can be hit,
/// until it is given to another request: that is the whole eviction policy of vLLM V1.
#[derive(Clone, Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    free: FreeList,
    cached: HashMap<BlockHash, BlockId>,
}

impl BlockPool {
    /// A pool of `blocks` empty blocks.
    #[must_use]
    pub fn new(blocks: u32) -> Self {
        Self { blocks: vec![Block::default(); blocks as usize], free: FreeList::full(blocks), cached: HashMap::new() }
    }

    /// Number of blocks in the pool.
    #[must_use]
    pub fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Number of blocks that no request refers to, cached ones included.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Number of blocks whose contents can be found by hash.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cached.len()
    }

    /// Number of requests that refer to a block.
    #[must_use]
    pub fn references(&self, block: BlockId) -> u32 {
        self.blocks[block.0 as usize].references
    }

    /// The blocks that hold the longest cached prefix of `hashes`. Nothing is taken yet: see [`Self::acquire`].
    #[must_use]
    pub fn longest_prefix(&self, hashes: &[BlockHash]) -> Vec<BlockId> {
        hashes.iter().map_while(|hash| self.cached.get(hash).copied()).collect()
    }

    /// Whether [`Self::acquire`] would succeed.
    #[must_use]
    pub fn fits(&self, hits: &[BlockId], fresh: usize) -> bool {
        let free_hits = hits.iter().filter(|hit| self.references(**hit) == 0).count();
        free_hits + fresh <= self.free.len()
    }

    /// Takes `hits`, which are cached, and `fresh` empty blocks for one request; all or none.
    ///
    /// Returns the blocks in order, hits first, or `None` when the pool has too few free blocks.
    pub fn acquire(&mut self, hits: &[BlockId], fresh: usize) -> Option<Vec<BlockId>> {
        if !self.fits(hits, fresh) {
            return None;
        }
        for hit in hits {
            let block = &mut self.blocks[hit.0 as usize];
            if block.references == 0 {
                self.free.remove(hit.0);
            }
            block.references += 1;
        }
        let mut taken = Vec::with_capacity(hits.len() + fresh);
        taken.extend_from_slice(hits);
        taken.extend((0..fresh).map_while(|_| self.take_oldest()));
        Some(taken)
    }

    fn take_oldest(&mut self) -> Option<BlockId> {
        let index = self.free.pop_front()?;
        let block = &mut self.blocks[index as usize];
        block.references = 1;
        if let Some(evicted) = block.hash.take() {
            self.cached.remove(&evicted);
        }
        Some(BlockId(index))
    }

    /// Makes a full block findable by its hash. When another block already holds the same contents, that one stays
    /// the one that is found.
    pub fn register(&mut self, block: BlockId, hash: BlockHash) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.cached.entry(hash) {
            vacant.insert(block);
            self.blocks[block.0 as usize].hash = Some(hash);
        }
    }

    /// Gives back one reference to each block of a request, given in the request's order.
    ///
    /// The last block of the sequence is freed first, so that eviction eats a cached prefix from its end.
    pub fn release(&mut self, blocks: &[BlockId]) {
        for id in blocks.iter().rev() {
            let block = &mut self.blocks[id.0 as usize];
            debug_assert!(block.references > 0, "a block was released more often than it was acquired");
            block.references -= 1;
            if block.references == 0 {
                self.free.push_back(id.0);
            }
        }
    }

    /// Forgets all cached contents. Refused, as by vLLM, while a request refers to any block.
    pub fn reset(&mut self) -> bool {
        if self.free.len() < self.blocks.len() {
            return false;
        }
        self.cached.clear();
        for block in &mut self.blocks {
            block.hash = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BLOCK_TOKENS, TokenId};
    use proptest::prelude::*;

    fn hashes(prompt: u32, blocks: u32) -> Vec<BlockHash> {
        let mut hash = BlockHash::root(None);
        (0..blocks)
            .map(|block| {
                hash = hash.chain(&[TokenId(prompt * 1000 + block); BLOCK_TOKENS]);
                hash
            })
            .collect()
    }

    /// Runs a request of `blocks` blocks through the pool as the scheduler does; `None` when it does not fit.
    fn admit(pool: &mut BlockPool, prompt: u32, blocks: u32) -> Option<Vec<BlockId>> {
        let hashes = hashes(prompt, blocks);
        let hits = pool.longest_prefix(&hashes);
        let taken = pool.acquire(&hits, hashes.len() - hits.len())?;
        for (block, hash) in taken.iter().zip(&hashes).skip(hits.len()) {
            pool.register(*block, *hash);
        }
        Some(taken)
    }

    #[test]
    fn a_freed_prefix_is_found_again_and_shared() {
        let mut pool = BlockPool::new(8);
        let first = admit(&mut pool, 1, 3).unwrap();
        pool.release(&first);
        assert_eq!(pool.free(), 8);
        let second = admit(&mut pool, 1, 3).unwrap();
        let third = admit(&mut pool, 1, 3).unwrap();
        assert_eq!((&first, &first), (&second, &third));
        assert_eq!(pool.references(first[0]), 2);
        assert_eq!(pool.free(), 5);
    }

    #[test]
    fn the_least_recently_freed_prefix_is_evicted_first_and_from_its_end() {
        let mut pool = BlockPool::new(6);
        let old = admit(&mut pool, 1, 3).unwrap();
        let young = admit(&mut pool, 2, 3).unwrap();
        pool.release(&old);
        pool.release(&young);
        admit(&mut pool, 3, 2).unwrap();
        assert_eq!(pool.longest_prefix(&hashes(1, 3)).len(), 1);
        assert_eq!(pool.longest_prefix(&hashes(2, 3)).len(), 3);
    }

    #[test]
    fn a_hit_protects_its_blocks_from_eviction() {
        let mut pool = BlockPool::new(4);
        let kept = admit(&mut pool, 1, 2).unwrap();
        pool.release(&kept);
        let again = admit(&mut pool, 1, 2).unwrap();
        assert!(admit(&mut pool, 2, 3).is_none(), "only two blocks are free");
        assert!(admit(&mut pool, 2, 2).is_some());
        assert_eq!(pool.longest_prefix(&hashes(1, 2)), again);
    }

    #[test]
    fn nothing_is_taken_when_not_all_fits() {
        let mut pool = BlockPool::new(3);
        let held = admit(&mut pool, 1, 2).unwrap();
        pool.release(&held);
        let hits = pool.longest_prefix(&hashes(1, 2));
        assert!(pool.acquire(&hits, 2).is_none());
        assert_eq!((pool.free(), pool.references(hits[0])), (3, 0));
    }

    #[test]
    fn reset_is_refused_while_a_block_is_used() {
        let mut pool = BlockPool::new(4);
        let held = admit(&mut pool, 1, 2).unwrap();
        assert!(!pool.reset());
        assert_eq!(pool.cached(), 2);
        pool.release(&held);
        assert!(pool.reset());
        assert!(pool.longest_prefix(&hashes(1, 2)).is_empty());
    }

    proptest! {
        #[test]
        fn blocks_are_conserved_and_counted(
            total in 1_u32..24,
            moves in prop::collection::vec((0_u32..5, 1_u32..8, any::<bool>()), 1..80),
        ) {
            let mut pool = BlockPool::new(total);
            let mut held: Vec<Vec<BlockId>> = Vec::new();
            for (prompt, blocks, release) in moves {
                if release && !held.is_empty() {
                    let index = prompt as usize % held.len();
                    pool.release(&held.swap_remove(index));
                } else if let Some(taken) = admit(&mut pool, prompt, blocks) {
                    held.push(taken);
                }
                let mut expected = vec![0_u32; pool.total()];
                for block in held.iter().flatten() {
                    expected[block.0 as usize] += 1;
                }
                for (index, references) in expected.iter().enumerate() {
                    prop_assert_eq!(pool.references(BlockId(index as u32)), *references);
                }
                prop_assert_eq!(pool.free(), expected.iter().filter(|references| **references == 0).count());
                for (hash, block) in &pool.cached {
                    prop_assert_eq!(pool.blocks[block.0 as usize].hash, Some(*hash));
                }
            }
            held.iter().for_each(|blocks| pool.release(blocks));
            prop_assert_eq!(pool.free(), pool.total());
            prop_assert!(pool.reset());
        }

        #[test]
        fn a_hit_is_never_longer_than_what_was_computed(
            common in 0_u32..6,
            first in 0_u32..6,
            second in 0_u32..6,
        ) {
            let prompt = |own: u32, blocks: u32| {
                let mut hash = BlockHash::root(None);
                (0..common)
                    .map(|block| (0, block))
                    .chain((0..blocks).map(|block| (own, block)))
                    .map(|(owner, block)| {
                        hash = hash.chain(&[TokenId(owner * 1000 + block); BLOCK_TOKENS]);
                        hash
                    })
                    .collect::<Vec<_>>()
            };
            let mut pool = BlockPool::new(32);
            let stored = prompt(1, first);
            let taken = pool.acquire(&[], stored.len()).unwrap();
            for (block, hash) in taken.iter().zip(&stored) {
                pool.register(*block, *hash);
            }
            prop_assert_eq!(pool.longest_prefix(&prompt(2, second)).len(), common as usize);
        }
    }
}
