//! Data sets: a description and a seed become the requests of a run, the same in every run of a block.
//!
//! A source makes each request on demand from its index, so that a million prompts need no memory, and several load
//! generators can share one plan.

mod jsonl;
mod random;
mod toolbench;
mod warmup;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use teebench_api::campaign::dataset::Dataset;

pub use jsonl::{JsonlSource, LineFormat};
pub use random::{RandomSource, RandomSpec};
pub use toolbench::{ToolbenchSource, ToolbenchSpec};
pub use warmup::warmup_requests;

/// What the model is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text, which the server tokenises.
    Text(String),
    /// Token ids, whose number is exact whatever the model.
    TokenIds(Vec<u32>),
}

/// In which form prompts are made where the data set leaves a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptForm {
    /// Token ids.
    #[default]
    TokenIds,
    /// Text.
    Text,
}

impl Prompt {
    /// About how many bytes it takes in a request's body.
    pub(crate) fn rendered_size_hint(&self) -> usize {
        match self {
            // Newlines and quotes double.
            Prompt::Text(text) => text.len() + text.len() / 16,
            Prompt::TokenIds(ids) => ids.len() * 6,
        }
    }
}

/// One request as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRequest {
    /// What the model is given.
    pub prompt: Prompt,
    /// Tokens that the prompt is expected to have: exact for token ids, an estimate for text.
    pub expected_prompt_tokens: u32,
    /// Cap of the output in tokens.
    pub max_tokens: u32,
    /// Sampling temperature; `None` leaves it to the server.
    pub temperature: Option<f64>,
}

/// The requests of a run, each made on demand.
pub trait RequestSource: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The request at `index`, which is less than `len()`; the same each time.
    fn request(&self, index: usize) -> PlannedRequest;
}

impl RequestSource for Vec<PlannedRequest> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn request(&self, index: usize) -> PlannedRequest {
        self[index].clone()
    }
}

/// What a condition and a block add to a data set's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceParameters {
    /// Prompt length in tokens, for data sets that take one.
    pub input_tokens: Option<u32>,
    /// Cap of the output in tokens.
    pub output_tokens: u32,
    /// The form of prompts where there is a choice.
    pub form: PromptForm,
    /// Seed of the block.
    pub seed: u64,
}

/// Bytes of text that stand for a token where no tokeniser is at hand.
const BYTES_PER_TOKEN: usize = 4;

/// The requests that a campaign's data set makes under the given parameters.
///
/// # Errors
/// When the description is contradictory, or a file cannot be read whole.
pub fn requests(dataset: &Dataset, parameters: SourceParameters) -> Result<Arc<dyn RequestSource>, DatasetError> {
    let SourceParameters { input_tokens, output_tokens, form, seed } = parameters;
    let Dataset { random, toolbench, toolbench_file } = dataset;
    match (random, toolbench, toolbench_file) {
        (Some(random), None, None) => {
            let input_tokens = input_tokens.ok_or(DatasetError::NoInputTokens)?;
            let spec = RandomSpec::of_campaign(random, input_tokens, output_tokens)?;
            Ok(Arc::new(RandomSource::new(spec, form, seed)))
        }
        (None, Some(toolbench), None) => {
            Ok(Arc::new(ToolbenchSource::new(&ToolbenchSpec::of_campaign(toolbench, output_tokens), seed)))
        }
        (None, None, Some(file)) => {
            let (path, count) = (PathBuf::from(&file.path), file.prompts as usize);
            Ok(Arc::new(JsonlSource::open(&path, LineFormat::Toolbench, count, Some(output_tokens), seed)?))
        }
        _ => Err(DatasetError::Choice),
    }
}

/// Why a data set gives no requests.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// None or several kinds are given.
    #[error("dataset: give exactly one of random, toolbench and toolbenchFile")]
    Choice,
    /// A random data set has no prompt length.
    #[error("dataset.random: no prompt length; give inputTokens, or inputTokens in the experiment's points")]
    NoInputTokens,
    /// The shared prefix fills the shortest prompt.
    #[error(
        "dataset.random: sharedPrefixTokens {prefix} leaves nothing of the shortest prompt, {shortest} tokens; \
         lower it or raise inputTokens"
    )]
    PrefixTooLong {
        /// Tokens of the prefix.
        prefix: u32,
        /// Tokens of the shortest prompt.
        shortest: u32,
    },
    /// A length range is no share.
    #[error("dataset.random: range ratio {0}; give a number from 0 to less than 1")]
    RangeRatio(f64),
    /// The file cannot be read.
    #[error("data set {path}: cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A line is wrong; nothing of the file is used.
    #[error("data set {path}, line {line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The file has no request.
    #[error("data set {path}: no request in it; give a file with one JSON object a line", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}
