//! Profiles: a model on a GPU, as coefficients of the step cost and of the board, and what they were fitted to.

mod h100_nvl;
mod h200;
mod shape;
mod tiny;

use std::time::Duration;

use clap::ValueEnum;

use crate::engine::{BLOCK_TOKENS, ConfidentialCost, StepCost};
use crate::gpu::Board;

pub use shape::{ModelShape, ModelSize};

/// Which model on which GPU is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Profile {
    /// A fictional fast pair for quick samples and tests.
    Tiny,
    /// An 8B model on an H100 NVL, fitted to published figures.
    #[value(name = "H100Nvl")]
    H100Nvl,
    /// An 8B model on an H200, fitted to measurements of vLLM 0.25.1.
    H200,
}

/// All figures of a profile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProfileFigures {
    /// Cost of a step with confidential computing off.
    pub cost: StepCost,
    /// Part of the base of a step that does not go into reading the weights.
    pub step_fixed_us: f64,
    /// What confidential computing adds when it is on.
    pub confidential: ConfidentialCost,
    /// Time from the start until the server answers, with confidential computing off.
    pub load_time: Duration,
    /// KV blocks that the GPU's memory holds beside the model.
    pub num_gpu_blocks: u32,
    /// The GPU's board.
    pub board: Board,
    /// What the figures come from, in one sentence.
    pub source: &'static str,
}

impl Profile {
    /// The profile's name as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "Tiny",
            Self::H100Nvl => "H100Nvl",
            Self::H200 => "H200",
        }
    }

    /// The profile's figures.
    #[must_use]
    pub fn figures(self) -> ProfileFigures {
        match self {
            Self::Tiny => tiny::FIGURES,
            Self::H100Nvl => h100_nvl::FIGURES,
            Self::H200 => h200::FIGURES,
        }
    }
}

impl ProfileFigures {
    /// The figures of another model on the same GPU, predicted from the sizes that decide each cost.
    ///
    /// Reading weights grows with their bytes, prefill with the parameters that a token of a prompt passes, reading the
    /// cache with its bytes a token, attention in a prefill with layers, heads and their dimension, launching with the
    /// layers; loading grows with the weights, which also take their place from the KV blocks. What the API server does
    /// depends on no model.
    #[must_use]
    pub fn of_model(self, size: ModelSize) -> Self {
        let (fitted, shape) = (ModelSize::default().shape(), size.shape());
        let weights = shape.active_weight_bytes() / fitted.active_weight_bytes();
        let kv_bytes = shape.kv_bytes_per_token() / fitted.kv_bytes_per_token();
        let layers = f64::from(shape.layers) / f64::from(fitted.layers);
        let prefill = shape.prefill_parameters() / fitted.prefill_parameters();
        let attention = shape.attention_time() / fitted.attention_time();
        let cost = StepCost {
            base_us: self.step_fixed_us + (self.cost.base_us - self.step_fixed_us) * weights,
            per_prefill_token_us: self.cost.per_prefill_token_us * prefill,
            per_kv_token_us: self.cost.per_kv_token_us * kv_bytes,
            prefill_tile_tokens: self.cost.prefill_tile_tokens * kv_bytes / attention,
            launch_us: self.cost.launch_us * layers,
            ..self.cost
        };
        let block_bytes = fitted.kv_bytes_per_token() * BLOCK_TOKENS as f64;
        let kv_pool_bytes = f64::from(self.num_gpu_blocks) * block_bytes + fitted.weight_bytes() - shape.weight_bytes();
        Self {
            cost,
            load_time: self.load_time.mul_f64(shape.weight_bytes() / fitted.weight_bytes()),
            num_gpu_blocks: (kv_pool_bytes / (block_bytes * kv_bytes)).max(0.0) as u32,
            ..self
        }
    }

    /// Cost of a step.
    #[must_use]
    pub fn step_cost(&self, confidential: bool) -> StepCost {
        StepCost { confidential: confidential.then_some(self.confidential), ..self.cost }
    }

    /// Time from the start until the server answers.
    #[must_use]
    pub fn load_time(&self, confidential: bool) -> Duration {
        if confidential { self.load_time.mul_f64(self.confidential.load_factor) } else { self.load_time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tiny", Profile::Tiny)]
    #[case("h100nvl", Profile::H100Nvl)]
    #[case("H200", Profile::H200)]
    fn names_are_read_whatever_their_case(#[case] name: &str, #[case] expected: Profile) {
        assert_eq!(Profile::from_str(name, true).unwrap(), expected);
        assert_eq!(Profile::from_str(expected.name(), false).unwrap(), expected);
    }

    #[test]
    fn the_fitted_size_is_left_as_it_is() {
        for profile in Profile::value_variants() {
            let figures = profile.figures();
            assert_eq!(figures.of_model(ModelSize::B8), figures, "{}", profile.name());
        }
    }

    #[test]
    fn a_larger_model_costs_more_and_leaves_less_room_for_its_cache() {
        let figures = Profile::H100Nvl.figures();
        let sizes = [ModelSize::B1, ModelSize::B8, ModelSize::B24, ModelSize::B32].map(|size| figures.of_model(size));
        assert!(sizes.is_sorted_by(|small, large| {
            let (less, more) = (small.cost, large.cost);
            less.base_us < more.base_us
                && less.per_prefill_token_us < more.per_prefill_token_us
                && less.launch_us < more.launch_us
                && small.load_time < large.load_time
                && small.num_gpu_blocks > large.num_gpu_blocks
        }));
        assert!(sizes[3].num_gpu_blocks > 4000, "a 32B model fits an H100 NVL");
    }

    #[test]
    fn loading_takes_longer_under_confidential_computing() {
        for profile in Profile::value_variants() {
            let figures = profile.figures();
            assert!(figures.load_time(true) > figures.load_time(false), "{}", profile.name());
        }
    }
}
