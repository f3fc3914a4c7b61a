//! Statistics, pure: nothing here reads a file or a clock, and all that is random is seeded.
//!
//! The unit of replication is the run. Ratios are analysed as differences of logarithms, so that a gain and the loss
//! that undoes it weigh the same; see [`effect`] for how one comparison is put together.

pub mod bootstrap;
pub mod center;
pub mod cliff;
pub mod effect;
pub mod equivalence;
pub mod holm;
pub mod knee;
pub mod numpy;
pub mod percentile;
pub mod permutation;
pub mod student;
pub mod trend;
pub mod unpaired;

mod paired;

pub use self::{
    bootstrap::Bootstrap,
    center::{MedianInterval, mean, median, median_interval, sample_variance},
    cliff::cliffs_delta,
    effect::{Effect, EffectError, Margin, Observations, Options, PValue, Single, Verdict, estimate},
    equivalence::two_one_sided,
    holm::holm,
    knee::{Knee, LoadLevel, knee, knee_ratio, least_within},
    paired::mean_interval,
    percentile::{minimum_requests, percentile_of_sorted},
    permutation::{least_sign_flip_p, sign_flip},
    trend::{Trend, linear_trend},
    unpaired::welch,
};

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// Level at which a difference or an equivalence is called one.
pub const ALPHA: f64 = 0.05;

/// A closed interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// An estimate with its standard error, degrees of freedom and two-sided interval by Student's t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom; not whole for unequal variances.
    pub degrees: f64,
    /// The 95 % interval.
    pub interval: Interval,
    /// Two-sided p-value against zero.
    pub p: f64,
}

impl Estimate {
    /// An estimate by Student's t. A standard error of zero gives an interval of no width and a p-value of 0 or 1.
    #[must_use]
    pub fn by_student(value: f64, standard_error: f64, degrees: f64) -> Self {
        let half_width = student::quantile(0.5 + CONFIDENCE / 2.0, degrees) * standard_error;
        let p = match (standard_error > 0.0, value == 0.0) {
            (true, _) => 2.0 * student::upper_tail((value / standard_error).abs(), degrees),
            (false, true) => 1.0,
            (false, false) => 0.0,
        };
        Self {
            value,
            standard_error,
            degrees,
            interval: Interval { low: value - half_width, high: value + half_width },
            p,
        }
    }
}
