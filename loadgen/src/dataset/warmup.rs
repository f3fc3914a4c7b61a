//! Warm-up prompts: as long as the run's, and never among them.

use std::ops::Range;

use rand::RngExt;

use super::words::append_words;
use super::{DatasetError, PlannedRequest, Prompt, RequestSource};
use crate::seed::stream;

/// Token ids of warm-up prompts: none of them is in a run's random prompts.
const WARMUP_TOKEN_IDS: Range<u32> = 30_000..31_000;

/// Makes `count` warm-up requests of the lengths of the run's first ones.
///
/// No warm-up prompt shares a beginning with a prompt of the run or with another warm-up prompt, so that warming up fills
/// no prefix cache that the run could hit: token ids come from a range of their own, texts open with 128 bits drawn from
/// the seed.
///
/// # Errors
/// When the run's requests cannot be read.
pub fn warmup_requests(run: &dyn RequestSource, count: usize, seed: u64) -> Result<Vec<PlannedRequest>, DatasetError> {
    if run.is_empty() {
        return Ok(Vec::new());
    }
    (0..count)
        .map(|index| {
            let PlannedRequest { prompt, expected_prompt_tokens, max_tokens, temperature } =
                run.request(index % run.len())?;
            let mut rng = stream("warm-up", seed, index as u64);
            let prompt = match prompt {
                Prompt::TokenIds(ids) => {
                    Prompt::TokenIds(ids.iter().map(|_| rng.random_range(WARMUP_TOKEN_IDS)).collect())
                }
                Prompt::Text(text) => {
                    let mut warmup = format!("{:032x}", rng.random::<u128>());
                    append_words(&mut warmup, text.len(), &mut rng);
                    Prompt::Text(warmup)
                }
            };
            Ok(PlannedRequest { prompt, expected_prompt_tokens, max_tokens, temperature })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tokens::{PROMPT_TOKEN_IDS, TokenCounter};
    use crate::dataset::{PromptForm, RandomSource, RandomSpec};

    #[test]
    fn warm_up_prompts_share_no_beginning_with_the_run() {
        for form in [PromptForm::TokenIds, PromptForm::Text] {
            let spec = RandomSpec::of_flags(20, 4, 64, 8, 0.3).unwrap();
            let run = RandomSource::new(spec, form, &TokenCounter::Estimate, 5).unwrap();
            let warmup = warmup_requests(&run, 30, 5).unwrap();
            assert_eq!(warmup, warmup_requests(&run, 30, 5).unwrap());
            for (index, warm) in warmup.iter().enumerate() {
                assert_eq!(warm.max_tokens, run.request(index % 20).unwrap().max_tokens);
                match &warm.prompt {
                    Prompt::TokenIds(ids) => assert!(ids.iter().all(|id| !PROMPT_TOKEN_IDS.contains(id))),
                    Prompt::Text(text) => {
                        let opening = &text[..32];
                        assert!(warmup[..index].iter().all(|other| !starts_with(other, opening)));
                        assert!((0..20).all(|index| !starts_with(&run.request(index).unwrap(), opening)));
                    }
                }
            }
        }
    }

    fn starts_with(request: &PlannedRequest, opening: &str) -> bool {
        matches!(&request.prompt, Prompt::Text(text) if text.starts_with(opening))
    }
}
