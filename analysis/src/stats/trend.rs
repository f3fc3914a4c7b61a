//! A straight line through points, to see drift.

use super::{Estimate, mean};

/// A line by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Its slope, with interval and p-value by Student's t on n - 2 degrees of freedom.
    pub slope: Estimate,
    /// Its value at x = 0.
    pub intercept: f64,
}

/// The line through points (x, y); `None` of fewer than three points or when all x are equal.
#[must_use]
pub fn linear_trend(points: &[(f64, f64)]) -> Option<Trend> {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (x_mean, y_mean) = (mean(&xs)?, mean(&ys)?);
    let x_squares: f64 = xs.iter().map(|x| (x - x_mean).powi(2)).sum();
    if points.len() < 3 || x_squares == 0.0 {
        return None;
    }
    let products: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let slope = products / x_squares;
    let intercept = y_mean - slope * x_mean;
    let residuals: f64 = points.iter().map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
    let degrees = (points.len() - 2) as f64;
    let standard_error = (residuals / degrees / x_squares).sqrt();
    Some(Trend { slope: Estimate::by_student(slope, standard_error, degrees), intercept })
}
