//! Student's t distribution.

use statrs::function::beta::beta_reg;

/// Steps of bisection that bring any bracket of floats to its end.
const BISECTIONS: usize = 200;

/// P(T > t) for t ≥ 0 and any positive degrees of freedom: half the regularised incomplete beta function
/// I(ν/(ν+t²); ν/2, 1/2) (Abramowitz and Stegun 26.7.1).
#[must_use]
pub fn upper_tail(t: f64, degrees: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    0.5 * beta_reg(degrees / 2.0, 0.5, degrees / (degrees + t * t))
}

/// P(T ≤ t).
#[must_use]
pub fn cumulative(t: f64, degrees: f64) -> f64 {
    if t < 0.0 { upper_tail(-t, degrees) } else { 1.0 - upper_tail(t, degrees) }
}

/// The t with P(T ≤ t) = `probability`, for a probability in [0.5, 1).
///
/// Bisection on the tail: slower than a series, exact to the last bits of [`upper_tail`], and called once an interval.
#[must_use]
pub fn quantile(probability: f64, degrees: f64) -> f64 {
    let tail = 1.0 - probability;
    let (mut low, mut high) = (0.0, 1.0);
    while upper_tail(high, degrees) > tail && high < 1e300 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if upper_tail(middle, degrees) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1.0, 12.706_204_736_432_095)]
    #[case(5.0, 2.570_581_835_636_314)]
    #[case(11.0, 2.200_985_160_082_949)]
    #[case(1e6, 1.959_966_356_758_1)]
    fn the_quantile_of_a_95_percent_interval_is_the_tabled_one(#[case] degrees: f64, #[case] expected: f64) {
        assert!((quantile(0.975, degrees) - expected).abs() < 1e-9 * expected, "{}", quantile(0.975, degrees));
    }

    #[test]
    fn the_two_tails_add_up_to_one() {
        for t in [-3.0, -0.5, 0.0, 0.5, 3.0] {
            assert!((cumulative(t, 4.0) + cumulative(-t, 4.0) - 1.0).abs() < 1e-14);
        }
    }
}
