//! Streams of random numbers that depend on nothing but the seed, what they are for, and an index.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The generator for one purpose and index: the same in every build, and unrelated to any other's.
pub(crate) fn stream(purpose: &str, seed: u64, index: u64) -> ChaCha8Rng {
    let key = Sha256::new()
        .chain_update(purpose.as_bytes())
        // Ends the purpose: no purpose can be continued by another's seed.
        .chain_update([0])
        .chain_update(seed.to_le_bytes())
        .chain_update(index.to_le_bytes())
        .finalize();
    ChaCha8Rng::from_seed(key.into())
}
