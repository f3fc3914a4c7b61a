//! The difference of two means of unequal variances.

use super::{Estimate, mean, sample_variance};

/// Mean of `numerator` less mean of `denominator`, with Welch's interval on Satterthwaite's degrees of freedom
/// (B. L. Welch, *Biometrika* 34 (1947)); `None` when either has fewer than two values.
#[must_use]
pub fn welch(numerator: &[f64], denominator: &[f64]) -> Option<Estimate> {
    let (numerator_count, denominator_count) = (numerator.len() as f64, denominator.len() as f64);
    let numerator_part = sample_variance(numerator)? / numerator_count;
    let denominator_part = sample_variance(denominator)? / denominator_count;
    let variance = numerator_part + denominator_part;
    // Two samples without any spread: the smaller one's degrees of freedom, which no width depends on.
    let degrees = if variance > 0.0 {
        variance.powi(2)
            / (numerator_part.powi(2) / (numerator_count - 1.0) + denominator_part.powi(2) / (denominator_count - 1.0))
    } else {
        numerator_count.min(denominator_count) - 1.0
    };
    Some(Estimate::by_student(mean(numerator)? - mean(denominator)?, variance.sqrt(), degrees))
}
