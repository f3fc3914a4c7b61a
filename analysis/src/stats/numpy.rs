//! Sums and spreads with numpy's own order of additions, so that results equal numpy's to the last bit.

/// Longest stretch that numpy adds up without halving it.
const STRETCH: usize = 128;

/// The sum of `numpy.sum` over contiguous doubles: eight running sums, and halves of long arrays apart.
#[must_use]
pub fn sum(values: &[f64]) -> f64 {
    if values.len() < 8 {
        return values.iter().sum();
    }
    if values.len() > STRETCH {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % 8);
        return sum(left) + sum(right);
    }
    let (eights, rest) = values.as_chunks::<8>();
    let [a, b, c, d, e, f, g, h] = eights[1..].iter().fold(eights[0], |mut sums, chunk| {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
        sums
    });
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}

/// `numpy.std` with this many degrees of freedom taken off; `None` where none is left.
#[must_use]
pub fn standard_deviation(values: &[f64], degrees_off: usize) -> Option<f64> {
    let degrees = values.len().checked_sub(degrees_off).filter(|degrees| *degrees > 0)?;
    let mean = sum(values) / values.len() as f64;
    let squares: Vec<f64> = values.iter().map(|value| (value - mean) * (value - mean)).collect();
    Some((sum(&squares) / degrees as f64).sqrt())
}

/// `numpy.median`.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// `numpy.percentile` (0 to 100) of ascending values by the linear method.
#[must_use]
pub fn percentile_of_sorted(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    // The share is divided before it is multiplied: that rounds as numpy does.
    let rank = last as f64 * (percent / 100.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is in 0..=last")]
    let below = (rank.floor() as usize).min(last);
    let (low, high, share) = (sorted[below], sorted[(below + 1).min(last)], rank - below as f64);
    Some(if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) })
}

/// The values in ascending order.
#[must_use]
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// `numpy.trapezoid` with a step of 1.
#[must_use]
pub fn trapezoid_of_unit_steps(values: &[f64]) -> f64 {
    let areas: Vec<f64> = values.windows(2).map(|pair| (pair[1] + pair[0]) / 2.0).collect();
    sum(&areas)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn the_sum_of_whole_numbers_is_exact(#[values(0, 1, 7, 8, 9, 128, 129, 1000)] count: u32) {
        let values: Vec<f64> = (0..count).map(f64::from).collect();
        assert_eq!(sum(&values), f64::from(count) * (f64::from(count) - 1.0) / 2.0);
    }

    #[test]
    fn the_spread_needs_a_degree_of_freedom() {
        assert_eq!(standard_deviation(&[3.0], 0), Some(0.0));
        assert_eq!(standard_deviation(&[3.0], 1), None);
        assert_eq!(standard_deviation(&[1.0, 3.0], 0), Some(1.0));
    }

    #[test]
    fn constant_power_gives_power_times_steps() {
        assert_eq!(trapezoid_of_unit_steps(&[50.0; 11]), 500.0);
    }
}
