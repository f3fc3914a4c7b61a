//! The sign-flip permutation test of paired differences.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Most pairs whose sign flips are all tried; beyond, flips are drawn.
pub const EXACT_PAIRS: usize = 20;

/// Flips drawn beyond [`EXACT_PAIRS`].
const DRAWS: u32 = 100_000;

/// Sums that differ by less than this share of the largest possible sum count as equal, as the order of additions
/// differs between them.
const TOLERANCE: f64 = 1e-12;

/// Two-sided p-value of the mean difference under random signs: the share of all 2^n sign flips whose mean is at least
/// as far from zero. Exact up to 20 pairs; beyond by 100,000 seeded draws, the observed one counted in
/// (B. Phipson and G. K. Smyth, *Statistical Applications in Genetics and Molecular Biology* 9 (2010)). `None` of no
/// differences.
#[must_use]
pub fn sign_flip(differences: &[f64], seed: u64) -> Option<f64> {
    let (first, rest) = differences.split_first()?;
    let slack = TOLERANCE * differences.iter().map(|difference| difference.abs()).sum::<f64>();
    let observed = differences.iter().sum::<f64>().abs() - slack;
    if differences.len() > EXACT_PAIRS {
        return Some(drawn(differences, observed, seed));
    }
    // A flip and its mirror image have the same distance, so the first sign is kept and half the flips are tried.
    let flips = 1_u32 << rest.len();
    let extreme = (0..flips)
        .filter(|flip| {
            let sum = rest.iter().enumerate().fold(*first, |sum, (position, difference)| {
                if flip >> position & 1 == 0 { sum + difference } else { sum - difference }
            });
            sum.abs() >= observed
        })
        .count();
    Some(extreme as f64 / f64::from(flips))
}

fn drawn(differences: &[f64], observed: f64, seed: u64) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let extreme = (0..DRAWS)
        .filter(|_| {
            let sum: f64 = differences
                .iter()
                .map(|difference| if random.random_bool(0.5) { *difference } else { -difference })
                .sum();
            sum.abs() >= observed
        })
        .count();
    (extreme + 1) as f64 / (f64::from(DRAWS) + 1.0)
}

/// The least p-value that `pairs` pairs can reach: 2/2^n.
#[must_use]
pub fn least_sign_flip_p(pairs: usize) -> f64 {
    2.0_f64.powi(1 - i32::try_from(pairs).unwrap_or(i32::MAX)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_signs_reach_the_least_p() {
        for pairs in 1..=12 {
            let differences: Vec<f64> = (1..=pairs).map(|value| 0.1 * f64::from(value)).collect();
            let p = sign_flip(&differences, 0).unwrap();
            assert!((p - least_sign_flip_p(differences.len())).abs() < 1e-15, "{pairs}: {p}");
        }
    }

    #[test]
    fn five_pairs_cannot_reach_0_05_and_six_can() {
        assert!(least_sign_flip_p(5) > 0.05);
        assert!(least_sign_flip_p(6) < 0.05);
    }

    #[test]
    fn the_drawn_p_is_near_the_exact_one() {
        let differences: Vec<f64> = (0..20_i32).map(|index| f64::from(index % 7 - 2)).collect();
        let exact = sign_flip(&differences, 0).unwrap();
        let observed = differences.iter().sum::<f64>().abs() - 1e-9;
        assert!((drawn(&differences, observed, 3) - exact).abs() < 0.01);
    }

    #[test]
    fn no_difference_at_all_is_no_evidence() {
        assert_eq!(sign_flip(&[0.0; 8], 0), Some(1.0));
    }
}
