//! The simulated model's words: a fixed function of the prompt and the seeds, so that answers can be repeated.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::request::TokenId;

/// Four-byte words, so that an answer is tokenised into as many tokens as were generated.
const WORDS: [&[u8; 4]; 64] = [
    b" the", b" and", b" for", b" are", b" but", b" not", b" you", b" all", b" can", b" her", b" was", b" one",
    b" our", b" out", b" day", b" get", b" has", b" him", b" his", b" how", b" man", b" new", b" now", b" old",
    b" see", b" two", b" way", b" who", b" boy", b" did", b" its", b" let", b" put", b" say", b" she", b" too",
    b" use", b" air", b" box", b" car", b" dog", b" eat", b" far", b" fun", b" got", b" hot", b" ice", b" job",
    b" key", b" law", b" map", b" net", b" oak", b" pen", b" red", b" sea", b" sun", b" tea", b" top", b" van",
    b" war", b" yes", b" yet", b" zoo",
];

/// Mean length of an answer that nothing cuts off, in tokens: between the short and the long answers of chat models.
const MEAN_NATURAL_TOKENS: f64 = 400.0;

/// What the sampled tokens of a request depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SamplingKey(u64);

impl SamplingKey {
    /// Key of the `choice`-th answer to a prompt, by a server with `server_seed`, for a request with its own seed.
    #[must_use]
    pub fn new(server_seed: u64, request_seed: Option<i64>, prompt: &[TokenId], choice: u32) -> Self {
        let mut hash = Xxh3::with_seed(server_seed);
        hash.update(&request_seed.unwrap_or_default().to_le_bytes());
        hash.update(&choice.to_le_bytes());
        for token in prompt {
            hash.update(&token.0.to_le_bytes());
        }
        Self(hash.digest())
    }
}

/// The token at `position` of an answer, counted from 0.
#[must_use]
pub fn output_token(key: SamplingKey, position: usize) -> TokenId {
    let draw = xxh3_64_with_seed(&(position as u64).to_le_bytes(), key.0);
    TokenId(u32::from_le_bytes(*WORDS[(draw % WORDS.len() as u64) as usize]))
}

/// Length of the answer when neither a limit nor a stop string ends it: geometric, so without memory.
#[must_use]
pub fn natural_output_tokens(key: SamplingKey) -> u32 {
    let draw = xxh3_64_with_seed(b"natural length", key.0);
    let uniform = ((draw >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    (uniform.ln() / (1.0 - 1.0 / MEAN_NATURAL_TOKENS).ln()).ceil().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u64, request_seed: Option<i64>, choice: u32) -> SamplingKey {
        SamplingKey::new(seed, request_seed, &[TokenId(1), TokenId(2)], choice)
    }

    #[test]
    fn the_answer_depends_on_every_seed_and_on_nothing_else() {
        let answer = |key| (0..32).map(|position| output_token(key, position)).collect::<Vec<_>>();
        let reference = answer(key(1, None, 0));
        assert_eq!(reference, answer(key(1, None, 0)));
        for other in [key(2, None, 0), key(1, Some(5), 0), key(1, None, 1)] {
            assert_ne!(reference, answer(other));
        }
    }

    #[test]
    fn natural_lengths_have_the_stated_mean() {
        let total: f64 = (0..20_000).map(|seed| f64::from(natural_output_tokens(key(seed, None, 0)))).sum();
        let mean = total / 20_000.0;
        assert!((mean / MEAN_NATURAL_TOKENS - 1.0).abs() < 0.05, "mean {mean}");
    }
}
