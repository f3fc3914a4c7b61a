//! Chained hashes that name a full KV block by its tokens and everything before them.

use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use super::request::TokenId;

/// Tokens in a KV block, as vLLM's default.
pub const BLOCK_TOKENS: usize = 16;

/// Name of a full block: equal only when its tokens, all tokens before them and the cache salt are equal.
///
/// 128 bits keep a false hit out of reach at any number of blocks that a simulation holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockHash(u128);

impl BlockHash {
    /// What the first block of a prompt is chained to; prompts with different salts share nothing.
    #[must_use]
    pub fn root(cache_salt: Option<&str>) -> Self {
        Self(cache_salt.map_or(0, |salt| xxh3_128(salt.as_bytes())))
    }

    /// The hash of the block that follows this one and holds `tokens`.
    #[must_use]
    pub fn chain(self, tokens: &[TokenId; BLOCK_TOKENS]) -> Self {
        let mut bytes = [0_u8; 16 + 4 * BLOCK_TOKENS];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        for (slot, token) in bytes[16..].chunks_exact_mut(4).zip(tokens) {
            slot.copy_from_slice(&token.0.to_le_bytes());
        }
        Self(xxh3_128_with_seed(&bytes, BLOCK_TOKENS as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u32) -> [TokenId; BLOCK_TOKENS] {
        std::array::from_fn(|offset| TokenId(first + offset as u32))
    }

    #[test]
    fn equal_tokens_after_different_prefixes_are_different_blocks() {
        let root = BlockHash::root(None);
        assert_ne!(root.chain(&block(0)).chain(&block(7)), root.chain(&block(1)).chain(&block(7)));
        assert_eq!(root.chain(&block(0)).chain(&block(7)), root.chain(&block(0)).chain(&block(7)));
    }

    #[test]
    fn the_order_of_tokens_counts() {
        let mut reversed = block(0);
        reversed.reverse();
        assert_ne!(BlockHash::root(None).chain(&block(0)), BlockHash::root(None).chain(&reversed));
    }

    #[test]
    fn prompts_with_different_salts_share_nothing() {
        assert_ne!(BlockHash::root(Some("a")).chain(&block(0)), BlockHash::root(Some("b")).chain(&block(0)));
        assert_ne!(BlockHash::root(Some("a")).chain(&block(0)), BlockHash::root(None).chain(&block(0)));
    }
}
