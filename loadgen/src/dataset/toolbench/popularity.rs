//! Truncated Zipf: how often each of N tools is asked for.

use rand::{Rng, RngExt};

/// Popularity of ranks, from 0.
#[derive(Clone, Debug)]
pub(super) struct Popularity {
    /// Share of all ranks up to each one; the last is 1 but for rounding.
    cumulative: Vec<f64>,
}

impl Popularity {
    /// Rank k (from 1) has weight k^-exponent. No ranks are one rank.
    pub(super) fn zipf(ranks: usize, exponent: f64) -> Popularity {
        let weights = (1..=ranks.max(1)).map(|rank| (rank as f64).powf(-exponent));
        let total: f64 = weights.clone().sum();
        let cumulative = weights.scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Popularity { cumulative: cumulative.collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.cumulative.len()
    }

    /// Share of one rank.
    pub(super) fn share(&self, rank: usize) -> f64 {
        self.cumulative[rank] - rank.checked_sub(1).map_or(0.0, |before| self.cumulative[before])
    }

    /// Draws a rank.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> usize {
        let point: f64 = rng.random();
        self.cumulative.partition_point(|&share| share <= point).min(self.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_tools_have_the_published_shares() {
        let popularity = Popularity::zipf(200, 1.1);
        let top_ten: f64 = (0..10).map(|rank| popularity.share(rank)).sum();
        assert_eq!(format!("{:.2} {top_ten:.2}", popularity.share(0)), "0.21 0.57");
    }

    #[test]
    fn exponent_zero_makes_all_equally_popular() {
        let popularity = Popularity::zipf(8, 0.0);
        assert!((0..8).all(|rank| (popularity.share(rank) - 0.125).abs() < 1e-12));
    }
}
