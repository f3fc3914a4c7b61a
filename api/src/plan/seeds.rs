//! Everything random in a plan, derived by hashing what it belongs to: what is added elsewhere changes nothing here.

use sha2::{Digest, Sha256};

/// SHA-256 of a purpose, the campaign's seed and the parts that name what is drawn. Each part is preceded by its
/// length, so that no two lists of parts run together.
pub(super) fn derive(purpose: &str, seed: u64, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [purpose.as_bytes(), &seed.to_be_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Seed of the prompts and arrival times of one block: 53 bits, which every JSON reader keeps exactly.
pub(super) fn block_seed(seed: u64, experiment: &str, slug: &str, repetition: u32) -> u64 {
    let digest =
        derive("teebench block seed 1", seed, &[experiment.as_bytes(), slug.as_bytes(), &repetition.to_be_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) >> 11
}

/// A random order of `0..n`: numbers sorted by the hash of each. It does not depend on the version of a random
/// number generator, and all orders are equally likely.
pub(super) fn permutation(purpose: &str, seed: u64, parts: &[&[u8]], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_cached_key(|item| {
        let item = (*item as u64).to_be_bytes();
        derive(purpose, seed, &[parts, &[&item]].concat())
    });
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_block_seed_stays_what_it_was_in_earlier_versions() {
        assert_eq!(block_seed(54940, "ablation", "tiny-1b", 1), 4_259_409_411_567_392);
    }

    #[test]
    fn seeds_differ_between_repetitions_conditions_experiments_and_campaigns() {
        let mut seen = HashSet::new();
        for seed in 0..4 {
            for experiment in ["a", "ab", "b"] {
                for slug in ["x", "bx", "y"] {
                    for repetition in 1..9 {
                        let drawn = block_seed(seed, experiment, slug, repetition);
                        assert!(drawn < 1 << 53);
                        assert!(seen.insert(drawn), "{seed} {experiment} {slug} {repetition}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_order_of_three_occurs_about_equally_often() {
        let mut counts = std::collections::HashMap::new();
        for seed in 0..6000 {
            *counts.entry(permutation("test", seed, &[], 3)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
