//! Cliff's delta.

/// How often a value of `numerator` exceeds one of `denominator` less how often it falls short, over all pairs: 1 when
/// all are greater, -1 when all are smaller (N. Cliff, *Psychological Bulletin* 114 (1993)). `None` when either is
/// empty.
#[must_use]
pub fn cliffs_delta(numerator: &[f64], denominator: &[f64]) -> Option<f64> {
    let pairs = numerator.len() * denominator.len();
    let balance: i64 = numerator
        .iter()
        .flat_map(|left| denominator.iter().map(move |right| i64::from(left > right) - i64::from(left < right)))
        .sum();
    (pairs > 0).then(|| balance as f64 / pairs as f64)
}
