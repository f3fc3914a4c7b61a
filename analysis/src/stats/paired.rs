//! The mean of paired differences with its interval.

use super::{Estimate, mean, sample_variance};

/// Mean of differences with its interval by Student's t on n - 1 degrees of freedom; `None` of fewer than two.
#[must_use]
pub fn mean_interval(differences: &[f64]) -> Option<Estimate> {
    let variance = sample_variance(differences)?;
    let count = differences.len() as f64;
    Some(Estimate::by_student(mean(differences)?, (variance / count).sqrt(), count - 1.0))
}
