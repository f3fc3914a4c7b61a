//! The result of a fit: coefficients, and how far they are from points that they have not seen.

use serde::{Deserialize, Serialize};

use super::point::{Figures, Point};
use crate::engine::{ApiServerCost, EngineConfig, StepCost};
use crate::profile::{ModelShape, ModelSize, Profile, ProfileFigures};

/// What is fitted, for the size that the profile is fitted to; all times in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Coefficients {
    /// What the GPU computes: grows with the model.
    pub gpu: GpuCoefficients,
    /// What the host does: the same for all models, but for the launch of more layers.
    pub host: HostCoefficients,
}

/// See [`StepCost`] for each.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuCoefficients {
    /// [`StepCost::base_us`].
    pub base_us: f64,
    /// [`StepCost::per_decode_sequence_us`].
    pub per_decode_sequence_us: f64,
    /// [`StepCost::per_prefill_token_us`].
    pub per_prefill_token_us: f64,
}

/// See [`StepCost`] and [`ApiServerCost`] for each.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostCoefficients {
    /// [`StepCost::per_request_us`].
    pub wait_per_request_us: f64,
    /// [`StepCost::launch_us`].
    pub launch_us: f64,
    /// [`StepCost::schedule_us`].
    pub schedule_us: f64,
    /// [`StepCost::schedule_per_sequence_us`].
    pub schedule_per_sequence_us: f64,
    /// [`StepCost::schedule_per_new_request_us`].
    pub schedule_per_new_request_us: f64,
    /// [`ApiServerCost::per_request_us`].
    pub work_per_request_us: f64,
    /// [`ApiServerCost::per_prompt_token_us`].
    pub work_per_prompt_token_us: f64,
    /// [`ApiServerCost::per_output_token_us`].
    pub work_per_output_token_us: f64,
    /// [`ApiServerCost::per_chunk_us`].
    pub work_per_chunk_us: f64,
}

impl Coefficients {
    /// The cost of a model of the fitted shape, which also gives what is not fitted: reading the cache, as fast as weights
    /// are read, and attention in a prefill.
    #[must_use]
    pub fn step_cost(&self, shape: &ModelShape) -> StepCost {
        let GpuCoefficients { base_us, per_decode_sequence_us, per_prefill_token_us } = self.gpu;
        let per_kv_token_us = shape.per_kv_token_us(base_us - Profile::H200.figures().step_fixed_us);
        let HostCoefficients {
            wait_per_request_us,
            launch_us,
            schedule_us,
            schedule_per_sequence_us,
            schedule_per_new_request_us,
            work_per_request_us,
            work_per_prompt_token_us,
            work_per_output_token_us,
            work_per_chunk_us,
        } = self.host;
        StepCost {
            per_request_us: wait_per_request_us,
            api_server: ApiServerCost {
                per_request_us: work_per_request_us,
                per_prompt_token_us: work_per_prompt_token_us,
                per_output_token_us: work_per_output_token_us,
                per_chunk_us: work_per_chunk_us,
            },
            base_us,
            per_decode_sequence_us,
            per_prefill_token_us,
            per_kv_token_us,
            prefill_tile_tokens: shape.prefill_tile_tokens(per_kv_token_us, per_prefill_token_us),
            launch_us,
            schedule_us,
            schedule_per_sequence_us,
            schedule_per_new_request_us,
            confidential: None,
        }
    }

    /// The cost of another model, scaled by its shape from the size that was fitted.
    #[must_use]
    pub fn scaled_to(&self, size: ModelSize) -> StepCost {
        let cost = self.step_cost(&ModelSize::default().shape());
        ProfileFigures { cost, ..Profile::H200.figures() }.of_model(size).step_cost(false)
    }
}

/// One point as it was measured and as it is predicted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prediction {
    /// The point's name.
    pub point: String,
    /// What was measured.
    pub measured: Figures,
    /// What is predicted.
    pub predicted: Figures,
}

impl Prediction {
    /// Predicts a point; `None` when the engine's settings do not take its load.
    #[must_use]
    pub fn of(point: &Point, config: EngineConfig, cost: StepCost) -> Option<Self> {
        Some(Self { point: point.name(), measured: point.measured(), predicted: point.simulated(config, cost)? })
    }

    /// Predicted over measured less one, by the figure's name.
    #[must_use]
    pub fn errors(&self) -> [(&'static str, f64); 3] {
        let (measured, predicted) = (self.measured.named(), self.predicted.named());
        std::array::from_fn(|index| (measured[index].0, predicted[index].1 / measured[index].1 - 1.0))
    }
}

/// A fit that has not seen some points, and what it predicts for them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fold {
    /// Fitted to the other points.
    pub coefficients: Coefficients,
    /// The points that were left out.
    pub left_out: Vec<Prediction>,
}

/// One model's points, each left out of one fit and predicted by it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrossValidation {
    /// How the points were measured.
    pub source: String,
    /// One fit for each group of points that is left out.
    pub folds: Vec<Fold>,
    /// Over all figures of all points.
    pub summary: ErrorSummary,
}

impl CrossValidation {
    /// Summarises folds.
    #[must_use]
    pub fn of(source: String, folds: Vec<Fold>) -> Self {
        let predictions = folds.iter().flat_map(|fold| &fold.left_out);
        let summary = ErrorSummary::of_predictions(predictions);
        Self { source, folds, summary }
    }
}

/// Fits and their errors on points left out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Residuals {
    /// The profile's: fitted to all points of both models.
    pub profile: Coefficients,
    /// The model that the GPU's coefficients are fitted to. The other model's are in each of these fits.
    pub fitted: CrossValidation,
    /// The model whose shape scales the GPU's coefficients, and to which the host's are fitted.
    pub other: CrossValidation,
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
    /// Summarises all figures of predictions.
    #[must_use]
    pub fn of_predictions<'a>(predictions: impl IntoIterator<Item = &'a Prediction>) -> Self {
        let errors: Vec<f64> = predictions.into_iter().flat_map(Prediction::errors).map(|(_, error)| error).collect();
        Self::of(&errors)
    }

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
