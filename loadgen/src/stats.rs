//! numpy's reductions over `f64`, to the last bit: sums in pairs, population deviation, linear percentiles.
//!
//! Result files are compared with those that vLLM's client writes through numpy, so the order of additions matters:
//! `numpy/_core/src/umath/loops_utils.h.src` (pairwise sum) and `numpy/lib/_function_base_impl.py` (linear percentile).

/// Values up to which numpy adds in one block of eight interleaved sums.
const PAIRWISE_BLOCK: usize = 128;

/// Sum in numpy's order of additions.
pub fn sum(values: &[f64]) -> f64 {
    sum_of(values, &|value| value)
}

/// Sum of what `map` makes of each value: the long arrays of a detailed run are not copied to be squared.
fn sum_of(values: &[f64], map: &impl Fn(f64) -> f64) -> f64 {
    let count = values.len();
    if count < 8 {
        return values.iter().fold(0.0, |total, &value| total + map(value));
    }
    if count <= PAIRWISE_BLOCK {
        let (blocks, rest) = values.as_chunks::<8>();
        let mut lanes = blocks[0].map(map);
        for block in &blocks[1..] {
            for (lane, &value) in lanes.iter_mut().zip(block) {
                *lane += map(value);
            }
        }
        let [a, b, c, d, e, f, g, h] = lanes;
        let total = ((a + b) + (c + d)) + ((e + f) + (g + h));
        return rest.iter().fold(total, |total, &value| total + map(value));
    }
    let half = count / 2;
    let (left, right) = values.split_at(half - half % 8);
    sum_of(left, map) + sum_of(right, map)
}

/// Arithmetic mean; `None` of no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| sum(values) / values.len() as f64)
}

/// Standard deviation of the population (divided by n, not n - 1); `None` of no values.
pub fn population_std(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares = sum_of(values, &|value| (value - mean) * (value - mean));
    Some((squares / values.len() as f64).sqrt())
}

/// Median of ascending values; `None` of no values.
pub fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted {
        [] => None,
        _ if sorted.len() % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// numpy's linear percentile (0 to 100) of ascending values; `None` of no values.
pub fn percentile_of_sorted(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = (last as f64 * (percent / 100.0)).clamp(0.0, last as f64);
    let below = position.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    let weight = position - below as f64;
    // numpy interpolates from the nearer end, so that the result never leaves the interval.
    Some(if weight >= 0.5 { high - (high - low) * (1.0 - weight) } else { low + (high - low) * weight })
}

/// The values in ascending order.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn nothing_has_no_statistics() {
        assert_eq!(mean(&[]), None);
        assert_eq!(population_std(&[]), None);
        assert_eq!(median_of_sorted(&[]), None);
        assert_eq!(percentile_of_sorted(&[], 50.0), None);
    }

    #[rstest]
    #[case(0.0, 1.0)]
    #[case(25.0, 1.75)]
    #[case(50.0, 2.5)]
    #[case(99.0, 3.97)]
    #[case(100.0, 4.0)]
    fn percentiles_are_linear(#[case] percent: f64, #[case] expected: f64) {
        let found = percentile_of_sorted(&[1.0, 2.0, 3.0, 4.0], percent).unwrap();
        assert!((found - expected).abs() < 1e-12, "p{percent} = {found}");
    }

    proptest! {
        #[test]
        fn a_percentile_stays_within_its_values(
            values in prop::collection::vec(-1e6..1e6f64, 1..200), percent in 0.0..=100.0f64
        ) {
            let values = sorted(values);
            let found = percentile_of_sorted(&values, percent).unwrap();
            prop_assert!(values[0] <= found && found <= values[values.len() - 1]);
        }

        #[test]
        fn summing_in_pairs_agrees_with_plain_summing(values in prop::collection::vec(0.0..1e3f64, 0..2000)) {
            let plain: f64 = values.iter().sum();
            prop_assert!((sum(&values) - plain).abs() <= 1e-9 * plain.max(1.0));
        }
    }
}
