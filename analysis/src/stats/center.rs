//! Mean, variance, and the median with its interval.

use statrs::distribution::{Binomial, DiscreteCDF as _};

use super::{ALPHA, Interval, percentile::percentile_of_sorted};

/// Arithmetic mean; `None` of no values.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Variance of a sample (divided by n - 1); `None` of fewer than two values.
#[must_use]
pub fn sample_variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    Some(values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64)
}

/// Median of values in any order; `None` of no values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    percentile_of_sorted(&sorted(values), 50.0)
}

/// A median's interval and the confidence it really has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MedianInterval {
    /// The interval.
    pub interval: Interval,
    /// Probability that such an interval covers the median; at least 0.95.
    pub coverage: f64,
}

/// The interval of a median between two order statistics: at least 95 % whatever the distribution. `None` under six
/// values, where even the whole range covers less.
///
/// The k-th smallest and k-th largest of n values, with the largest k for which 2 P(B < k) ≤ 0.05, B binomial (n, 1/2):
/// J.-Y. Le Boudec, *Performance Evaluation of Computer and Communication Systems*, EPFL Press 2010, theorem 2.1.
/// Runs are few, and their spread is often lopsided (a slow boot, never a fast one), so that an interval which assumes
/// nothing is worth its somewhat greater width.
#[must_use]
pub fn median_interval(values: &[f64]) -> Option<MedianInterval> {
    let sorted = sorted(values);
    let binomial = Binomial::new(0.5, sorted.len() as u64).expect("one half is a probability");
    let outside = |rank: usize| 2.0 * binomial.cdf(rank as u64 - 1);
    let rank = (1..=sorted.len() / 2).take_while(|&rank| outside(rank) <= ALPHA).last()?;
    Some(MedianInterval {
        interval: Interval { low: sorted[rank - 1], high: sorted[sorted.len() - rank] },
        coverage: 1.0 - outside(rank),
    })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(5, None)]
    #[case(6, Some((1.0, 6.0)))]
    #[case(8, Some((1.0, 8.0)))]
    #[case(9, Some((2.0, 8.0)))]
    #[case(12, Some((3.0, 10.0)))]
    fn the_median_lies_between_the_tabled_ranks(#[case] count: u32, #[case] expected: Option<(f64, f64)>) {
        let values: Vec<f64> = (1..=count).rev().map(f64::from).collect();
        let found = median_interval(&values);
        assert_eq!(found.map(|found| (found.interval.low, found.interval.high)), expected);
        assert!(found.is_none_or(|found| found.coverage >= 0.95));
    }
}
