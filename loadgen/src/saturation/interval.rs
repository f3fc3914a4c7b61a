//! A mean with its confidence interval.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::stats;

/// Share of intervals that cover the true mean.
const CONFIDENCE: f64 = 0.95;

/// A mean and the half-width of its 95 % interval by Student's t; infinite when there are too few values for one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean; NaN of no values.
    pub mean: f64,
    /// Half of the interval's width.
    pub half_width: f64,
}

impl Interval {
    /// The interval of independent values.
    pub fn of(values: &[f64]) -> Interval {
        let mean = stats::mean(values).unwrap_or(f64::NAN);
        let count = values.len() as f64;
        let Some(deviation) = stats::population_std(values).filter(|_| values.len() > 1) else {
            return Interval { mean, half_width: f64::INFINITY };
        };
        // From n to n - 1 under the root, and divided by the root of n for the mean.
        let standard_error = deviation / (count - 1.0).sqrt();
        let t = StudentsT::new(0.0, 1.0, count - 1.0)
            .map_or(f64::INFINITY, |distribution| distribution.inverse_cdf(0.5 + CONFIDENCE / 2.0));
        // Equal values have no width, whatever their number.
        Interval { mean, half_width: if standard_error == 0.0 { 0.0 } else { t * standard_error } }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Half-widths by `scipy.stats.t.interval(0.95, n - 1, mean, sem)` of scipy 1.17.1.
    #[rstest]
    #[case(&[1.0, 2.0, 3.0], 2.0, 2.484_137_711_750_330_3)]
    #[case(&[0.9, 0.95, 0.97, 0.93], 0.9375, 0.047_515_177_399_864_54)]
    #[case(&[0.5, 0.5], 0.5, 0.0)]
    #[case(&[0.5], 0.5, f64::INFINITY)]
    fn the_half_width_is_students(#[case] values: &[f64], #[case] mean: f64, #[case] half_width: f64) {
        let found = Interval::of(values);
        assert!((found.mean - mean).abs() < 1e-12, "{found:?}");
        assert!(found.half_width == half_width || (found.half_width - half_width).abs() < 1e-9, "{found:?}");
    }
}
