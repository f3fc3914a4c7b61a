//! Random prompts: nothing shared but the prefix that is asked for.

use std::ops::RangeInclusive;

use rand::RngExt;
use teebench_api::campaign::dataset::RandomDataset;

use super::tokens::{PromptMaker, TokenCounter};
use super::{DatasetError, PlannedRequest, PromptForm, RequestSource};
use crate::seed::stream;

/// Random prompts, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomSpec {
    /// Requests.
    pub prompts: usize,
    /// Tokens at the start of every prompt that all share.
    pub shared_prefix_tokens: u32,
    /// Range from which the rest of each prompt's length is drawn.
    pub own_tokens: RangeInclusive<u32>,
    /// Range from which each output's cap is drawn.
    pub output_tokens: RangeInclusive<u32>,
}

impl RandomSpec {
    /// A campaign's: `input_tokens` is the whole prompt, the prefix a part of it.
    pub(super) fn of_campaign(
        dataset: &RandomDataset,
        input_tokens: u32,
        output_tokens: u32,
    ) -> Result<RandomSpec, DatasetError> {
        let RandomDataset { prompts, input_tokens: _, range_ratio_permille, shared_prefix_tokens, prompt_form: _ } =
            dataset;
        let ratio = f64::from(*range_ratio_permille) / 1000.0;
        let whole = range_around(input_tokens, ratio)?;
        if shared_prefix_tokens >= whole.start() {
            return Err(DatasetError::PrefixTooLong { prefix: *shared_prefix_tokens, shortest: *whole.start() });
        }
        Ok(RandomSpec {
            prompts: *prompts as usize,
            shared_prefix_tokens: *shared_prefix_tokens,
            own_tokens: whole.start() - shared_prefix_tokens..=whole.end() - shared_prefix_tokens,
            output_tokens: range_around(output_tokens, ratio)?,
        })
    }

    /// Those of `vllm bench serve --dataset-name random`: the prefix comes on top of `input_tokens`.
    ///
    /// # Errors
    /// When `range_ratio` is not from 0 to less than 1.
    pub fn of_flags(
        prompts: usize,
        prefix_tokens: u32,
        input_tokens: u32,
        output_tokens: u32,
        range_ratio: f64,
    ) -> Result<RandomSpec, DatasetError> {
        Ok(RandomSpec {
            prompts,
            shared_prefix_tokens: prefix_tokens,
            own_tokens: range_around(input_tokens, range_ratio)?,
            output_tokens: range_around(output_tokens, range_ratio)?,
        })
    }
}

/// Lengths within `ratio` of `tokens` to both sides; at least 1.
fn range_around(tokens: u32, ratio: f64) -> Result<RangeInclusive<u32>, DatasetError> {
    if !(0.0..1.0).contains(&ratio) {
        return Err(DatasetError::RangeRatio(ratio));
    }
    let tokens = f64::from(tokens);
    let shortest = (tokens * (1.0 - ratio)).floor().max(1.0);
    Ok(shortest as u32..=(tokens * (1.0 + ratio)).ceil().max(shortest) as u32)
}

/// The requests of a [`RandomSpec`].
#[derive(Clone, Debug)]
pub struct RandomSource {
    spec: RandomSpec,
    maker: PromptMaker,
    seed: u64,
}

impl RandomSource {
    /// Requests that depend on nothing but these; `counter` makes texts exact.
    ///
    /// # Errors
    /// When the counter cannot count.
    pub fn new(
        spec: RandomSpec,
        form: PromptForm,
        counter: &TokenCounter,
        seed: u64,
    ) -> Result<RandomSource, DatasetError> {
        Ok(RandomSource { spec, maker: PromptMaker::new(form, counter)?, seed })
    }
}

impl RequestSource for RandomSource {
    fn len(&self) -> usize {
        self.spec.prompts
    }

    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError> {
        let RandomSpec { prompts: _, shared_prefix_tokens, own_tokens, output_tokens } = &self.spec;
        let mut rng = stream("random request", self.seed, index as u64);
        let own_tokens = rng.random_range(own_tokens.clone());
        let max_tokens = rng.random_range(output_tokens.clone());
        let prefix_rng = stream("random prefix", self.seed, 0);
        Ok(PlannedRequest {
            prompt: self.maker.prompt([(*shared_prefix_tokens, prefix_rng), (own_tokens, rng)]),
            expected_prompt_tokens: shared_prefix_tokens + own_tokens,
            max_tokens,
            temperature: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::dataset::Prompt;
    use crate::dataset::tokens::PROMPT_TOKEN_IDS;

    fn campaign(range_ratio_permille: u32, shared_prefix_tokens: u32) -> RandomDataset {
        let (input_tokens, prompt_form) = (vec![], PromptForm::TokenIds);
        RandomDataset { prompts: 50, input_tokens, range_ratio_permille, shared_prefix_tokens, prompt_form }
    }

    fn source(spec: RandomSpec, form: PromptForm, seed: u64) -> RandomSource {
        RandomSource::new(spec, form, &TokenCounter::Estimate, seed).unwrap()
    }

    fn ids(source: &RandomSource, index: usize) -> Vec<u32> {
        match source.request(index).unwrap().prompt {
            Prompt::TokenIds(ids) => ids,
            Prompt::Text(text) => panic!("text: {text}"),
        }
    }

    proptest! {
        #[test]
        fn lengths_stay_in_range_and_prompts_share_the_prefix_alone(
            ratio in 0..900_u32, prefix in 0..20_u32, seed: u64
        ) {
            let spec = RandomSpec::of_campaign(&campaign(ratio, prefix), 256, 64).unwrap();
            let source = source(spec, PromptForm::TokenIds, seed);
            let (low, high) = (256 * (1000 - ratio) / 1000, (256 * (1000 + ratio)).div_ceil(1000));
            let first = ids(&source, 0);
            for index in 0..source.len() {
                let request = source.request(index).unwrap();
                let ids = ids(&source, index);
                prop_assert_eq!(ids.len() as u32, request.expected_prompt_tokens);
                prop_assert!((low..=high).contains(&request.expected_prompt_tokens));
                prop_assert!((1..=128).contains(&request.max_tokens));
                prop_assert!(ids.iter().all(|id| PROMPT_TOKEN_IDS.contains(id)));
                let shared = ids.iter().zip(&first).take_while(|(a, b)| a == b).count();
                prop_assert!(index == 0 || (prefix as usize..prefix as usize + 4).contains(&shared));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_prompts() {
        let spec = RandomSpec::of_flags(4, 2, 16, 8, 0.5).unwrap();
        let fourth = |seed| source(spec.clone(), PromptForm::TokenIds, seed).request(3).unwrap();
        assert_eq!(fourth(1), fourth(1));
        assert_ne!(fourth(1), fourth(2));
    }

    #[test]
    fn text_has_a_word_for_each_token() {
        let spec = RandomSpec::of_flags(1, 3, 10, 8, 0.0).unwrap();
        let request = source(spec, PromptForm::Text, 0).request(0).unwrap();
        let Prompt::Text(text) = request.prompt else { panic!("token ids") };
        assert_eq!(text.split(' ').count(), 13);
        assert_eq!(request.expected_prompt_tokens, 13);
    }

    #[rstest]
    #[case(campaign(0, 256))]
    #[case(campaign(500, 128))]
    fn a_prefix_as_long_as_the_shortest_prompt_is_refused(#[case] dataset: RandomDataset) {
        let refused = RandomSpec::of_campaign(&dataset, 256, 64);
        assert!(matches!(refused, Err(DatasetError::PrefixTooLong { .. })), "{refused:?}");
    }

    #[test]
    fn a_ratio_of_one_is_refused() {
        assert!(matches!(RandomSpec::of_flags(1, 0, 10, 10, 1.0), Err(DatasetError::RangeRatio(_))));
    }
}
