//! Equivalence by two one-sided tests.

use super::{Estimate, Interval, student};

/// p-value of "outside the margin": the greater of two one-sided tests, that the estimate is not above the margin's
/// lower end and not below its upper end (D. J. Schuirmann, *Journal of Pharmacokinetics and Biopharmaceutics* 15
/// (1987)). Under 0.05, the estimate is equivalent to zero within the margin.
#[must_use]
pub fn two_one_sided(estimate: &Estimate, margin: Interval) -> f64 {
    let Estimate { value, standard_error, degrees, .. } = *estimate;
    if standard_error == 0.0 {
        return if margin.low < value && value < margin.high { 0.0 } else { 1.0 };
    }
    let not_above = 1.0 - student::cumulative((value - margin.low) / standard_error, degrees);
    let not_below = student::cumulative((value - margin.high) / standard_error, degrees);
    not_above.max(not_below)
}
