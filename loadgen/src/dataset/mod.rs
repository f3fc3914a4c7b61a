//! Data sets: a description and a seed become the requests of a run, the same in every run of a block.
//!
//! A source makes each request on demand from its index, or reads it again from its file, so that a million prompts need
//! no memory, and several load generators can share one plan.

mod campaign;
pub mod command;
mod describe;
mod error;
mod file;
mod flags;
mod prefix_repetition;
mod random;
mod tokens;
mod toolbench;
mod trace;
mod warmup;
mod words;

pub use self::{
    campaign::{FileInput, SourceParameters, file_facts, requests},
    error::DatasetError,
    file::{FileFormat, FileSource, RequestFile, Selection},
    flags::{DatasetArgs, DatasetName},
    prefix_repetition::{PrefixRepetitionSource, PrefixRepetitionSpec},
    random::{RandomSource, RandomSpec},
    tokens::{ServerTokenizer, TokenCounter, TokenizeError},
    toolbench::{ToolbenchSource, ToolbenchSpec},
    trace::{TraceSource, TraceSpec},
    warmup::warmup_requests,
};
pub use teebench_api::campaign::dataset::PromptForm;

/// What the model is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text, which the server tokenises.
    Text(String),
    /// Token ids, whose number is exact whatever the model.
    TokenIds(Vec<u32>),
}

impl Prompt {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Prompt::Text(text) => text.is_empty(),
            Prompt::TokenIds(ids) => ids.is_empty(),
        }
    }

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
    ///
    /// # Errors
    /// When it is read from a file that is no longer what was checked.
    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError>;

    /// When each request arrives, in seconds after the first, ascending; `None` where the requests do not say.
    fn arrivals_s(&self) -> Option<Vec<f64>> {
        None
    }

    /// SHA-256 of the file that they are read from, in hex; `None` when they are generated.
    fn file_sha256(&self) -> Option<&str> {
        None
    }
}

impl RequestSource for Vec<PlannedRequest> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError> {
        Ok(self[index].clone())
    }
}
