//! Random prompts that open with one of several shared prefixes.

use rand::seq::SliceRandom;
use teebench_api::campaign::dataset::PrefixRepetitionDataset;

use super::tokens::{PromptMaker, TokenCounter};
use super::{DatasetError, PlannedRequest, PromptForm, RequestSource};
use crate::seed::stream;

/// Prompts of a prefix and a suffix, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRepetitionSpec {
    /// Requests.
    pub prompts: usize,
    /// Prefixes; requests are dealt over them evenly.
    pub prefixes: u32,
    /// Length of each prefix.
    pub prefix_tokens: u32,
    /// Length of what follows it, which no two requests share.
    pub suffix_tokens: u32,
    /// Cap of the output.
    pub output_tokens: u32,
}

impl PrefixRepetitionSpec {
    pub(super) fn of_campaign(dataset: &PrefixRepetitionDataset, output_tokens: u32) -> PrefixRepetitionSpec {
        let PrefixRepetitionDataset { prompts, prefixes, prefix_tokens, suffix_tokens, prompt_form: _ } = dataset;
        PrefixRepetitionSpec {
            prompts: *prompts as usize,
            prefixes: *prefixes,
            prefix_tokens: *prefix_tokens,
            suffix_tokens: *suffix_tokens,
            output_tokens,
        }
    }
}

/// The requests of a [`PrefixRepetitionSpec`].
#[derive(Clone, Debug)]
pub struct PrefixRepetitionSource {
    spec: PrefixRepetitionSpec,
    maker: PromptMaker,
    seed: u64,
    /// The prefix of each request.
    prefixes: Vec<u32>,
}

impl PrefixRepetitionSource {
    /// Requests that depend on nothing but these; `counter` makes texts exact.
    ///
    /// # Errors
    /// When there are more prefixes than requests, or the counter cannot count.
    pub fn new(
        spec: PrefixRepetitionSpec,
        form: PromptForm,
        counter: &TokenCounter,
        seed: u64,
    ) -> Result<PrefixRepetitionSource, DatasetError> {
        let PrefixRepetitionSpec { prompts, prefixes, .. } = spec;
        if prefixes == 0 || prefixes as usize > prompts {
            return Err(DatasetError::TooManyPrefixes { prefixes, prompts });
        }
        let mut dealt: Vec<u32> = (0..prompts).map(|index| (index % prefixes as usize) as u32).collect();
        dealt.shuffle(&mut stream("prefix order", seed, 0));
        Ok(PrefixRepetitionSource { maker: PromptMaker::new(form, counter)?, spec, seed, prefixes: dealt })
    }
}

impl RequestSource for PrefixRepetitionSource {
    fn len(&self) -> usize {
        self.spec.prompts
    }

    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError> {
        let PrefixRepetitionSpec { prompts: _, prefixes: _, prefix_tokens, suffix_tokens, output_tokens } = self.spec;
        let prefix = stream("prefix", self.seed, self.prefixes[index].into());
        let suffix = stream("suffix", self.seed, index as u64);
        Ok(PlannedRequest {
            prompt: self.maker.prompt([(prefix_tokens, prefix), (suffix_tokens, suffix)]),
            expected_prompt_tokens: prefix_tokens + suffix_tokens,
            max_tokens: output_tokens,
            temperature: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::dataset::Prompt;

    fn source(prompts: usize, prefixes: u32, seed: u64) -> Result<PrefixRepetitionSource, DatasetError> {
        let spec = PrefixRepetitionSpec { prompts, prefixes, prefix_tokens: 24, suffix_tokens: 12, output_tokens: 3 };
        PrefixRepetitionSource::new(spec, PromptForm::TokenIds, &TokenCounter::Estimate, seed)
    }

    proptest! {
        #[test]
        fn every_prefix_opens_as_many_prompts_and_no_suffix_comes_twice(
            prefixes in 1..12_u32, more in 0..60_usize, seed: u64,
        ) {
            let prompts = prefixes as usize + more;
            let source = source(prompts, prefixes, seed).unwrap();
            let (mut opened, mut suffixes) = (BTreeMap::new(), BTreeSet::new());
            for index in 0..source.len() {
                let request = source.request(index).unwrap();
                prop_assert_eq!(&request, &source.request(index).unwrap());
                let Prompt::TokenIds(ids) = request.prompt else { panic!("text") };
                prop_assert_eq!(ids.len(), 36);
                *opened.entry(ids[..24].to_vec()).or_insert(0) += 1;
                suffixes.insert(ids[24..].to_vec());
            }
            prop_assert_eq!((opened.len(), suffixes.len()), (prefixes as usize, prompts));
            let (least, most) = (prompts / prefixes as usize, prompts.div_ceil(prefixes as usize));
            prop_assert!(opened.values().all(|count| (least..=most).contains(count)), "{:?}", opened.values());
        }
    }

    #[test]
    fn more_prefixes_than_prompts_are_refused() {
        assert!(matches!(source(3, 4, 0), Err(DatasetError::TooManyPrefixes { prefixes: 4, prompts: 3 })));
    }
}
