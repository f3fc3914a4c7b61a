//! The parameters that both generation endpoints share, and reading a JSON body as vLLM does.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Parameters of `/v1/completions` and `/v1/chat/completions` that matter to a simulation; others are accepted and
/// ignored, as the simulated model has nothing to apply them to.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Params {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    min_tokens: Option<u32>,
    n: Option<u32>,
    stop: Option<OneOrMany>,
    ignore_eos: Option<bool>,
    seed: Option<i64>,
    cache_salt: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Answers to a prompt are bounded, as each takes a place in the queue.
const MAX_CHOICES: u32 = 128;

/// When the usage is told in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsageInStream {
    /// In a chunk of its own at the end.
    pub at_end: bool,
    /// In every chunk.
    pub continuous: bool,
}

impl Params {
    /// Checks what does not depend on the prompt.
    ///
    /// # Errors
    /// When the model is not served, or a number is out of range.
    pub fn validate(&self, served_model: &str) -> Result<(), ApiError> {
        if let Some(model) = self.model.as_ref().filter(|model| *model != served_model) {
            return Err(ApiError::unknown_model(model));
        }
        if !(1..=MAX_CHOICES).contains(&self.choices()) {
            return Err(ApiError::bad_request(
                Some("n"),
                format!("n must be from 1 to {MAX_CHOICES}, got {}.", self.choices()),
            ));
        }
        if self.stream_options.is_some() && !self.streams() {
            return Err(ApiError::bad_request(
                Some("stream_options"),
                "Stream options can only be defined when `stream=True`.",
            ));
        }
        Ok(())
    }

    /// Whether the answer is streamed.
    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// When the usage is told in the stream.
    pub fn usage_in_stream(&self) -> UsageInStream {
        let options = self.stream_options.unwrap_or_default();
        let at_end = options.include_usage.unwrap_or(false);
        UsageInStream { at_end, continuous: at_end && options.continuous_usage_stats.unwrap_or(false) }
    }

    /// Answers to each prompt.
    pub fn choices(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    /// The asked limit of output tokens.
    pub fn max_tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Output tokens before which the model does not end by itself.
    pub fn min_tokens(&self) -> u32 {
        self.min_tokens.unwrap_or(0)
    }

    /// Whether the model never ends by itself.
    pub fn ignores_eos(&self) -> bool {
        self.ignore_eos.unwrap_or(false)
    }

    /// The request's own seed.
    pub fn seed(&self) -> Option<i64> {
        self.seed
    }

    /// Strings that end the answer.
    pub fn stops(&self) -> &[String] {
        match &self.stop {
            None => &[],
            Some(OneOrMany::One(stop)) => std::slice::from_ref(stop),
            Some(OneOrMany::Many(stops)) => stops,
        }
    }

    /// Salt of the prefix cache.
    pub fn cache_salt(&self) -> Option<&str> {
        self.cache_salt.as_deref()
    }
}

/// Reads a body, whatever its content type says.
///
/// # Errors
/// When it is not JSON or lacks what the endpoint needs.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(None, format!("invalid request body: {error}")))
}
