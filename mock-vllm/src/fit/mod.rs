//! Measured loads, and what an engine gives for the same loads in virtual time: what profiles are fitted by.
//!
//! The fit itself is the example `fit` beside its data in `fit/`; this module is what it shares with the tests that
//! hold its result.

mod closed_loop;
mod point;
mod residuals;

pub use closed_loop::{Served, closed_loop, steady_throughput};
pub use point::{Figures, MeasuredPoints, Percentiles, Point};
pub use residuals::{
    Coefficients, CrossValidation, ErrorSummary, Fold, GpuCoefficients, HostCoefficients, Prediction, Residuals,
};
