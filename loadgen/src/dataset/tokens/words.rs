//! Prompts of a given number of tokens: as token ids, or as words of which each is one token.

use std::ops::Range;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::TokenCounter;
use crate::dataset::words::WORDS;
use crate::dataset::{DatasetError, Prompt, PromptForm};

/// Token ids of prompts: above the control tokens at the start of the usual vocabularies (1,000 in Mistral's), below the
/// end of the smallest (32,000).
pub(in crate::dataset) const PROMPT_TOKEN_IDS: Range<u32> = 1_000..30_000;

/// Fewer words than this make prompts that share more than they should.
const FEWEST_WORDS: usize = 32;

/// Words of which each is one token.
#[derive(Clone, Debug)]
pub(in crate::dataset) struct Vocabulary {
    words: Vec<&'static str>,
    /// Tokens that the model wants around every prompt.
    special_tokens: u32,
}

impl Vocabulary {
    /// All our words, about one token each.
    pub(in crate::dataset) fn assumed() -> Vocabulary {
        Vocabulary { words: WORDS.to_vec(), special_tokens: 0 }
    }

    /// Those of our words that are one token, at the beginning of a text and after another word.
    pub(in crate::dataset) fn counted(counter: &TokenCounter) -> Result<Vocabulary, DatasetError> {
        if !counter.is_exact() {
            return Ok(Vocabulary::assumed());
        }
        let special_tokens = counter.count("")?;
        let mut words = Vec::new();
        for word in WORDS {
            let alone = counter.count(word)?;
            let repeated = counter.count(&format!("{word} {word} {word}"))?;
            if alone == special_tokens + 1 && repeated == special_tokens + 3 {
                words.push(word);
            }
        }
        match words.len() {
            count if count < FEWEST_WORDS => Err(DatasetError::NoWords(count)),
            _ => Ok(Vocabulary { words, special_tokens }),
        }
    }
}

/// Makes prompts of given lengths.
#[derive(Clone, Debug)]
pub(in crate::dataset) enum PromptMaker {
    /// Of token ids.
    TokenIds,
    /// Of words.
    Words(Vocabulary),
}

impl PromptMaker {
    /// The maker of a form; `counter` makes texts exact.
    pub(in crate::dataset) fn new(form: PromptForm, counter: &TokenCounter) -> Result<PromptMaker, DatasetError> {
        Ok(match form {
            PromptForm::TokenIds => PromptMaker::TokenIds,
            PromptForm::Text => PromptMaker::Words(Vocabulary::counted(counter)?),
        })
    }

    /// A prompt of parts, each drawn from its own numbers and as many tokens long as said; what the model itself adds is
    /// taken off the first parts, but a text has at least one word.
    pub(in crate::dataset) fn prompt(&self, parts: impl IntoIterator<Item = (u32, ChaCha8Rng)>) -> Prompt {
        match self {
            PromptMaker::TokenIds => {
                let ids = |(count, mut rng): (u32, ChaCha8Rng)| (0..count).map(move |_| token_id(&mut rng));
                Prompt::TokenIds(parts.into_iter().flat_map(ids).collect())
            }
            PromptMaker::Words(Vocabulary { words, special_tokens }) => {
                let mut text = String::new();
                let mut added = *special_tokens;
                for (count, mut rng) in parts {
                    let taken = added.min(count);
                    added -= taken;
                    for _ in taken..count {
                        if !text.is_empty() {
                            text.push(' ');
                        }
                        text.push_str(words[rng.random_range(0..words.len())]);
                    }
                }
                if text.is_empty() {
                    text.push_str(words[0]);
                }
                Prompt::Text(text)
            }
        }
    }
}

fn token_id<R: Rng>(rng: &mut R) -> u32 {
    rng.random_range(PROMPT_TOKEN_IDS)
}
