//! numpy's linear percentile, and how many requests a percentile needs.

/// numpy's linear percentile (0 to 100) of ascending values; `None` of no values.
///
/// The rank is (n - 1) p/100, between whose neighbours is interpolated: `numpy/lib/_function_base_impl.py`, method
/// `linear`, which is method 7 of Hyndman and Fan, *The American Statistician* 50 (1996).
#[must_use]
pub fn percentile_of_sorted(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let (below, share) = rank(last, percent);
    Some(between(sorted[below], sorted[(below + 1).min(last)], share))
}

/// The same of values in any order, which it reorders. Selecting a rank takes linear time: of the inter-token latencies
/// of a run, which are many, sorting would take most of the time that reading them takes.
#[must_use]
pub fn percentile_of_unsorted(values: &mut [f64], percent: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let (below, share) = rank(last, percent);
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(between(low, high, share))
}

/// The rank below a percentile and the share of the way to the next one.
fn rank(last: usize, percent: f64) -> (usize, f64) {
    let rank = last as f64 * percent / 100.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is in 0..=last")]
    let below = (rank.floor() as usize).min(last);
    (below, rank - below as f64)
}

/// numpy interpolates from the nearer end, so that the upper end is met exactly.
fn between(low: f64, high: f64, share: f64) -> f64 {
    if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) }
}

/// Fewest requests from which the `percent`-th percentile is stated: with 99 % confidence at least one of them lies
/// beyond it, 1 - (p/100)^n ≥ 0.99. That is 44 for p90, 90 for p95 and 459 for p99.
#[must_use]
pub fn minimum_requests(percent: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let requests = (0.01_f64.ln() / (percent / 100.0).ln()).ceil() as usize;
    requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(90.0, 44)]
    #[case(95.0, 90)]
    #[case(99.0, 459)]
    fn a_percentile_needs_the_stated_number_of_requests(#[case] percent: f64, #[case] requests: usize) {
        assert_eq!(minimum_requests(percent), requests);
    }

    #[test]
    fn the_ends_are_met_exactly() {
        assert_eq!(percentile_of_sorted(&[0.1, 0.3], 100.0), Some(0.3));
        assert_eq!(percentile_of_sorted(&[0.1, 0.3], 0.0), Some(0.1));
        assert_eq!(percentile_of_sorted(&[], 50.0), None);
    }

    proptest! {
        #[test]
        fn the_order_of_values_does_not_matter(
            values in proptest::collection::vec(-1e3..1e3_f64, 1..60),
            percent in 0.0..100.0_f64,
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let mut unsorted = values;
            prop_assert_eq!(percentile_of_unsorted(&mut unsorted, percent), percentile_of_sorted(&sorted, percent));
        }
    }
}
