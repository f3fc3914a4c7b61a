//! A request on its way through the engine.

use std::time::Duration;

use super::block_hash::{BLOCK_TOKENS, BlockHash};
use super::block_pool::BlockId;
use super::outcome::RequestTimes;
use super::sampler::SamplingKey;

/// A token's number in the vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TokenId(pub u32);

/// Identity of a request, given by the caller and unique among the unfinished ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What a caller submits.
#[derive(Clone, PartialEq, Debug)]
pub struct NewRequest {
    /// Identity.
    pub id: RequestId,
    /// When it reached the server, since the engine's start.
    pub arrival: Duration,
    /// Prompt; at least one token.
    pub prompt: Vec<TokenId>,
    /// Output tokens after which it is cut off; at least one.
    pub max_tokens: u32,
    /// Output tokens after which the simulated model ends by itself; `None` when the end token is ignored.
    pub natural_tokens: Option<u32>,
    /// Whether tokens leave as they come; else all leave together at the end.
    pub streams: bool,
    /// Keeps its cached prefix apart from those of other salts.
    pub cache_salt: Option<String>,
    /// What the sampled tokens depend on.
    pub sampling_key: SamplingKey,
}

/// A request inside the engine.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) eligible: Duration,
    pub(super) times: RequestTimes,
    /// Prompt, then output.
    pub(super) tokens: Vec<TokenId>,
    pub(super) prompt_tokens: usize,
    pub(super) max_tokens: usize,
    pub(super) natural_tokens: Option<usize>,
    pub(super) streams: bool,
    pub(super) sampling_key: SamplingKey,
    /// Held blocks in the order of the tokens.
    pub(super) blocks: Vec<BlockId>,
    /// Hashes of the full blocks of `tokens`.
    pub(super) hashes: Vec<BlockHash>,
    hash_root: BlockHash,
    /// Leading blocks that were already offered to the prefix cache.
    pub(super) registered_blocks: usize,
    /// Leading tokens whose keys and values are in the blocks.
    pub(super) computed_tokens: usize,
    /// Tokens that the step in flight computes.
    pub(super) scheduled_tokens: usize,
    /// Prompt tokens that came from the prefix cache at the first admission.
    pub(super) cached_prompt_tokens: usize,
}

impl Request {
    pub(super) fn new(new: NewRequest) -> Self {
        let NewRequest { id, arrival, prompt, max_tokens, natural_tokens, streams, cache_salt, sampling_key } = new;
        let mut request = Self {
            id,
            eligible: arrival,
            times: RequestTimes { arrival, ..RequestTimes::default() },
            prompt_tokens: prompt.len(),
            tokens: prompt,
            max_tokens: max_tokens as usize,
            natural_tokens: natural_tokens.map(|tokens| tokens as usize),
            streams,
            sampling_key,
            blocks: Vec::new(),
            hashes: Vec::new(),
            hash_root: BlockHash::root(cache_salt.as_deref()),
            registered_blocks: 0,
            computed_tokens: 0,
            scheduled_tokens: 0,
            cached_prompt_tokens: 0,
        };
        request.hash_full_blocks();
        request
    }

    /// Brings `hashes` up to the number of full blocks.
    pub(super) fn hash_full_blocks(&mut self) {
        let (blocks, _) = self.tokens.as_chunks::<BLOCK_TOKENS>();
        for block in &blocks[self.hashes.len()..] {
            let parent = self.hashes.last().copied().unwrap_or(self.hash_root);
            self.hashes.push(parent.chain(block));
        }
    }

    pub(super) fn output_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    /// Tokens known but not yet computed.
    pub(super) fn pending_tokens(&self) -> usize {
        self.tokens.len() - self.computed_tokens
    }

    /// Whether the step in flight computes only the token that was sampled last.
    pub(super) fn decodes(&self) -> bool {
        self.scheduled_tokens == 1 && self.pending_tokens() == 1 && self.computed_tokens >= self.prompt_tokens
    }

    /// Whether the step in flight ends with a new token.
    pub(super) fn yields_token(&self) -> bool {
        self.scheduled_tokens > 0 && self.scheduled_tokens == self.pending_tokens()
    }

    /// Blocks missing to hold `tokens` tokens.
    pub(super) fn missing_blocks(&self, tokens: usize) -> usize {
        tokens.div_ceil(BLOCK_TOKENS).saturating_sub(self.blocks.len())
    }
}
