//! Profiles: a model on a GPU, as coefficients of the step cost and of the board, and what they were fitted to.

mod h100_nvl;
mod h200;
mod tiny;

use std::time::Duration;

use clap::ValueEnum;

use crate::engine::{ConfidentialCost, StepCost};
use crate::gpu::Board;

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
    fn loading_takes_longer_under_confidential_computing() {
        for profile in Profile::value_variants() {
            let figures = profile.figures();
            assert!(figures.load_time(true) > figures.load_time(false), "{}", profile.name());
        }
    }
}
