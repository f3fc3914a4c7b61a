//! Cuts a prompt into chunks and hashes each in the light of those before it.

use xxhash_rust::xxh3::xxh3_64;

use super::MAXIMUM_DEPTH;

/// Bytes of each chunk of a prompt: listed lengths first, then one length for all the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlan {
    lengths: Box<[u32]>,
    remainder: u32,
}

impl ChunkPlan {
    /// All chunks have `bytes` bytes; 0 is taken as 1.
    pub fn fixed(bytes: u32) -> Self {
        Self::listed(&[], bytes)
    }

    /// The first chunks have the listed lengths in bytes, all others `remainder` bytes; 0 is taken as 1.
    pub fn listed(lengths: &[u32], remainder: u32) -> Self {
        Self { lengths: lengths.iter().map(|length| (*length).max(1)).collect(), remainder: remainder.max(1) }
    }

    /// Bytes of the first `chunks` chunks.
    pub fn bytes_of(&self, chunks: usize) -> u64 {
        let listed = &self.lengths[..chunks.min(self.lengths.len())];
        let rest = (chunks - listed.len()) as u64;
        listed.iter().copied().map(u64::from).sum::<u64>() + rest * u64::from(self.remainder)
    }

    fn length(&self, chunk: usize) -> usize {
        self.lengths.get(chunk).copied().unwrap_or(self.remainder) as usize
    }
}

/// Buffers of a [`PathHasher`], kept between prompts so that hashing one allocates nothing.
#[derive(Debug, Default)]
pub struct PathBuffers {
    /// The chain hash after each chunk: equal exactly when all bytes up to there are.
    pub path: Vec<u64>,
    /// Bytes of a chunk that came in pieces.
    partial: Vec<u8>,
}

/// Takes a prompt piece by piece and appends one chain hash per chunk to [`PathBuffers::path`].
///
/// Each chunk's hash is linked to the one before it. A tree edge keeps only some bits of it, so a false match of `n`
/// bits at one chunk says nothing about the next: at depth d its chance is 2^(-n d), as in the paper.
#[derive(Debug)]
pub struct PathHasher<'a> {
    plan: &'a ChunkPlan,
    buffers: &'a mut PathBuffers,
    chain: u64,
    wanted: usize,
}

impl<'a> PathHasher<'a> {
    /// Starts a prompt; `seed` separates what must never match, such as models.
    pub fn new(plan: &'a ChunkPlan, seed: u64, buffers: &'a mut PathBuffers) -> Self {
        buffers.path.clear();
        buffers.partial.clear();
        let wanted = plan.length(0);
        Self { plan, buffers, chain: seed, wanted }
    }

    /// Takes the next bytes of the prompt.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.buffers.path.len() < MAXIMUM_DEPTH {
            if self.buffers.partial.is_empty() && bytes.len() >= self.wanted {
                let (chunk, rest) = bytes.split_at(self.wanted);
                self.chain = link(self.chain, xxh3_64(chunk));
                self.close_chunk();
                bytes = rest;
            } else {
                let missing = self.wanted - self.buffers.partial.len();
                let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
                self.buffers.partial.extend_from_slice(taken);
                bytes = rest;
                if self.buffers.partial.len() == self.wanted {
                    self.chain = link(self.chain, xxh3_64(&self.buffers.partial));
                    self.buffers.partial.clear();
                    self.close_chunk();
                }
            }
        }
    }

    /// Ends the prompt. A last incomplete chunk counts only where it is the only one: no server can reuse a longer
    /// prompt's tail, but a short prompt that comes again must be found.
    pub fn finish(self) {
        if self.buffers.path.is_empty() && !self.buffers.partial.is_empty() {
            self.buffers.path.push(link(self.chain, xxh3_64(&self.buffers.partial)));
        }
    }

    fn close_chunk(&mut self) {
        self.buffers.path.push(self.chain);
        self.wanted = self.plan.length(self.buffers.path.len());
    }
}

/// The chain hash after a chunk: a multiplication to 128 bits, folded, as in wyhash. Seeding the hash itself would make
/// it derive a secret from the seed for every chunk, which takes as long as hashing 200 bytes.
fn link(chain: u64, chunk: u64) -> u64 {
    let product = u128::from(chain ^ 0x9e37_79b9_7f4a_7c15) * u128::from(chunk ^ 0xbf58_476d_1ce4_e5b9);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn path(plan: &ChunkPlan, pieces: &[&[u8]]) -> Vec<u64> {
        let mut buffers = PathBuffers::default();
        let mut hasher = PathHasher::new(plan, 0, &mut buffers);
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finish();
        buffers.path
    }

    #[rstest]
    #[case::fixed(ChunkPlan::fixed(4), 10, 2)]
    #[case::an_incomplete_tail_is_left_out(ChunkPlan::fixed(4), 11, 2)]
    #[case::a_short_prompt_is_one_chunk(ChunkPlan::fixed(16), 3, 1)]
    #[case::nothing_is_no_chunk(ChunkPlan::fixed(16), 0, 0)]
    #[case::listed_then_remainder(ChunkPlan::listed(&[5, 1], 2), 10, 4)]
    fn a_prompt_is_cut_as_planned(#[case] plan: ChunkPlan, #[case] bytes: usize, #[case] chunks: usize) {
        assert_eq!(path(&plan, &[&vec![b'a'; bytes]]).len(), chunks);
    }

    #[test]
    fn a_number_of_chunks_has_a_number_of_bytes() {
        let plan = ChunkPlan::listed(&[5, 1], 2);
        assert_eq!([0, 1, 2, 4].map(|chunks| plan.bytes_of(chunks)), [0, 5, 6, 10]);
    }

    #[test]
    fn the_order_of_bytes_and_of_chunks_matters() {
        let plan = ChunkPlan::fixed(2);
        let abcd = path(&plan, &[b"abcd"]);
        assert_ne!(abcd[0], path(&plan, &[b"bacd"])[0]);
        let cdab = path(&plan, &[b"cdab"]);
        assert_ne!(abcd[0], cdab[1], "the hash of a chunk depends on those before it");
        assert_ne!(abcd[1], cdab[1]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_the_path(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0_usize..200, 0..8),
            lengths in prop::collection::vec(1_u32..40, 0..4),
        ) {
            let plan = ChunkPlan::listed(&lengths, 16);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(path(&plan, &pieces), path(&plan, &[&bytes]));
        }
    }
}
