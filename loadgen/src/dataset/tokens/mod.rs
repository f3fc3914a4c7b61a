//! How many tokens a text has: by a tokeniser's file, by the server's `/tokenize`, or about.

mod server;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::Tokenizer;

pub use self::server::ServerTokenizer;
#[cfg(test)]
pub(super) use self::words::PROMPT_TOKEN_IDS;
pub(super) use self::words::PromptMaker;

/// Bytes of text that stand for a token where no tokeniser is at hand.
pub(super) const BYTES_PER_TOKEN: usize = 4;

/// Name of a tokeniser's file in a model's directory.
const TOKENIZER_FILE: &str = "tokenizer.json";

/// Counts tokens.
#[derive(Clone, Debug, Default)]
pub enum TokenCounter {
    /// Four bytes to a token.
    #[default]
    Estimate,
    /// By a `tokenizer.json`; the tokens that the model wants before and after every prompt are counted too.
    Tokenizer(Arc<Tokenizer>),
    /// By asking a server.
    Server(Arc<ServerTokenizer>),
}

/// Why tokens could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// The file is no tokeniser that the library knows.
    #[error("tokenizer {path}: cannot be read: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The tokeniser refuses a text.
    #[error("the tokeniser refuses a text of {bytes} bytes: {reason}")]
    Text {
        /// Length of the text.
        bytes: usize,
        /// What the library says.
        reason: String,
    },
    /// The server does not count.
    #[error("the server does not tokenise: {0}; give a tokeniser's file, or prompts as token ids")]
    Server(String),
    /// There is no thread for the exchange with the server.
    #[error("the thread that asks the server to tokenise cannot be started; look at the limit of threads")]
    Thread(#[source] std::io::Error),
}

impl TokenCounter {
    /// Counts by a `tokenizer.json`, or by that of a directory.
    ///
    /// # Errors
    /// When there is no readable tokeniser.
    pub fn from_path(path: &Path) -> Result<TokenCounter, TokenizeError> {
        let file = if path.is_dir() { path.join(TOKENIZER_FILE) } else { path.to_owned() };
        let tokenizer = Tokenizer::from_file(&file)
            .map_err(|error| TokenizeError::File { path: file, reason: error.to_string() })?;
        Ok(TokenCounter::Tokenizer(Arc::new(tokenizer)))
    }

    /// Whether counts are the model's own.
    pub fn is_exact(&self) -> bool {
        !matches!(self, TokenCounter::Estimate)
    }

    /// Tokens of a text as a prompt.
    ///
    /// # Errors
    /// When the tokeniser refuses the text, or the server does not answer.
    pub fn count(&self, text: &str) -> Result<u32, TokenizeError> {
        match self {
            TokenCounter::Estimate => Ok(text.len().div_ceil(BYTES_PER_TOKEN) as u32),
            TokenCounter::Tokenizer(tokenizer) => match tokenizer.encode_fast(text, true) {
                Ok(encoding) => Ok(encoding.len() as u32),
                Err(error) => Err(TokenizeError::Text { bytes: text.len(), reason: error.to_string() }),
            },
            TokenCounter::Server(server) => server.count(text),
        }
    }
}

#[cfg(test)]
mod tests;
