//! The result of a fit: coefficients, and how far they are from points that they have not seen.

use serde::{Deserialize, Serialize};

use super::point::{Figures, Point};
use crate::engine::{EngineConfig, StepCost};
use crate::profile::ModelShape;

/// What is fitted; all times in microseconds. See [`StepCost`] for each.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Coefficients {
    /// [`StepCost::per_request_us`].
    pub per_request_us: f64,
    /// [`StepCost::frontend_us`].
    pub frontend_us: f64,
    /// [`StepCost::base_us`].
    pub base_us: f64,
    /// [`StepCost::per_decode_sequence_us`].
    pub per_decode_sequence_us: f64,
    /// [`StepCost::per_prefill_token_us`].
    pub per_prefill_token_us: f64,
    /// [`StepCost::per_kv_token_us`].
    pub per_kv_token_us: f64,
    /// [`StepCost::launch_us`].
    pub launch_us: f64,
}

impl Coefficients {
    /// The cost of a model of that shape, which also gives what is not fitted: the cost of attention in a prefill.
    #[must_use]
    pub fn step_cost(&self, shape: &ModelShape) -> StepCost {
        let Self {
            per_request_us,
            frontend_us,
            base_us,
            per_decode_sequence_us,
            per_prefill_token_us,
            per_kv_token_us,
            launch_us,
        } = *self;
        StepCost {
            per_request_us,
            frontend_us,
            base_us,
            per_decode_sequence_us,
            per_prefill_token_us,
            per_kv_token_us,
            prefill_tile_tokens: shape.prefill_tile_tokens(per_kv_token_us, per_prefill_token_us),
            launch_us,
            confidential: None,
        }
    }
}

/// One point, predicted by coefficients that were fitted without it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fold {
    /// The point's name.
    pub left_out: String,
    /// Fitted to the other points.
    pub coefficients: Coefficients,
    /// What was measured.
    pub measured: Figures,
    /// What is predicted.
    pub predicted: Figures,
}

impl Fold {
    /// Predicts a point; `None` when the engine's settings do not take its load.
    #[must_use]
    pub fn predict(
        point: &Point,
        coefficients: Coefficients,
        config: EngineConfig,
        shape: &ModelShape,
    ) -> Option<Self> {
        Some(Self {
            left_out: point.name(),
            coefficients,
            measured: point.measured(),
            predicted: point.simulated(config, coefficients.step_cost(shape))?,
        })
    }

    /// Predicted over measured less one, by the figure's name.
    #[must_use]
    pub fn errors(&self) -> [(&'static str, f64); 3] {
        let (measured, predicted) = (self.measured.named(), self.predicted.named());
        std::array::from_fn(|index| (measured[index].0, predicted[index].1 / measured[index].1 - 1.0))
    }
}

/// A fit and its errors on points left out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Residuals {
    /// What was fitted to.
    pub source: String,
    /// Fitted to all points: what the profile uses.
    pub coefficients: Coefficients,
    /// The points, each left out once.
    pub folds: Vec<Fold>,
    /// Over all figures of all folds.
    pub summary: ErrorSummary,
}

/// How large errors are, and whether they lean to one side.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorSummary {
    /// Number of errors.
    pub errors: usize,
    /// Those above zero.
    pub above: usize,
    /// Median of the errors' sizes, as a share.
    pub median: f64,
    /// 90th percentile of the errors' sizes, as a share; the next larger error, where it falls between two.
    pub p90: f64,
    /// Probability of a split between above and below at least as uneven, were both equally likely.
    pub sign_test_p: f64,
}

impl ErrorSummary {
    /// Summarises errors, which are shares with a sign.
    #[must_use]
    pub fn of(errors: &[f64]) -> Self {
        let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let rank = |share: f64| sizes.get(((sizes.len() as f64 * share).ceil() as usize).saturating_sub(1));
        let above = errors.iter().filter(|error| **error > 0.0).count();
        Self {
            errors: errors.len(),
            above,
            median: rank(0.5).copied().unwrap_or(f64::NAN),
            p90: rank(0.9).copied().unwrap_or(f64::NAN),
            sign_test_p: sign_test(above, errors.len()),
        }
    }
}

/// Two-sided probability of `above` heads or a rarer split in `total` throws of a fair coin.
fn sign_test(above: usize, total: usize) -> f64 {
    let fewer = above.min(total - above);
    let mut ways = 1.0;
    let mut tail = 0.0;
    for heads in 0..=fewer {
        tail += ways;
        ways *= (total - heads) as f64 / (heads + 1) as f64;
    }
    (2.0 * tail / 2_f64.powi(total as i32)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_sizes_and_signs() {
        let errors = [0.1, -0.2, 0.3, -0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
        let ErrorSummary { errors, above, median, p90, sign_test_p } = ErrorSummary::of(&errors);
        assert_eq!((errors, above, median, p90), (10, 8, 0.5, 0.9));
        // (1 + 10 + 45) / 1024, twice.
        assert!((sign_test_p - 0.109_375).abs() < 1e-12, "{sign_test_p}");
    }

    #[test]
    fn an_even_split_is_no_bias() {
        assert!((ErrorSummary::of(&[0.1, -0.1]).sign_test_p - 1.0).abs() < 1e-12);
    }
}
