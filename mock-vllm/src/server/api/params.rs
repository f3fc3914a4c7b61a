//! The parameters that both generation endpoints share, and reading a JSON body as vLLM does.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
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
    temperature: Option<f64>,
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

/// Most answers to a prompt, vLLM's default of `VLLM_MAX_N_SEQUENCES`.
const MAX_CHOICES: u32 = 16_384;

/// Below it vLLM samples greedily.
const GREEDY_TEMPERATURE: f64 = 1e-5;

/// When the usage is told in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsageInStream {
    /// In a chunk of its own at the end.
    pub at_end: bool,
    /// In every chunk.
    pub continuous: bool,
}

impl Params {
    /// Checks what vLLM checks while it reads the body, and then the model.
    ///
    /// # Errors
    /// When parameters contradict each other, or the model is not served.
    pub fn validate(&self, served_model: &str) -> Result<(), ApiError> {
        if self.stream_options.is_some() && !self.streams() {
            return Err(ApiError::invalid_body(
                Some("stream_options"),
                "Stream options can only be defined when `stream=True`.",
            ));
        }
        if self.cache_salt.as_ref().is_some_and(String::is_empty) {
            return Err(ApiError::invalid_body(
                Some("cache_salt"),
                "Parameter 'cache_salt' must be a non-empty string if provided.",
            ));
        }
        match self.model.as_ref().filter(|model| *model != served_model) {
            Some(model) => Err(ApiError::unknown_model(model)),
            None => Ok(()),
        }
    }

    /// Checks what vLLM checks once the prompt is tokenised and the limit of output tokens is known.
    ///
    /// # Errors
    /// When a parameter of sampling is out of range.
    pub fn validate_sampling(&self, max_tokens: u32) -> Result<(), ApiError> {
        let n = self.choices();
        if n < 1 {
            return Err(ApiError::bad_request(format!("n must be at least 1, got {n}.")));
        }
        if n > MAX_CHOICES {
            return Err(ApiError::bad_request(format!(
                "n must be at most {MAX_CHOICES}, got {n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES \
                 environment variable."
            )));
        }
        let temperature = self.temperature.unwrap_or(1.0);
        if !(0.0..=2.0).contains(&temperature) {
            let range = if temperature < 0.0 { "be non-negative" } else { "be in [0, 2]" };
            return Err(ApiError::bad_parameter(
                "temperature",
                temperature,
                &format!("temperature must {range}, got {temperature}."),
            ));
        }
        if self.min_tokens() > max_tokens {
            return Err(ApiError::bad_request(format!(
                "min_tokens must be less than or equal to max_tokens={max_tokens}, got {}.",
                self.min_tokens()
            )));
        }
        if self.stops().iter().any(String::is_empty) {
            return Err(ApiError::bad_request("stop cannot contain an empty string."));
        }
        if temperature < GREEDY_TEMPERATURE && n > 1 {
            return Err(ApiError::bad_request(format!("n must be 1 when using greedy sampling, got {n}.")));
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

/// Reads a body.
///
/// # Errors
/// When it is not said to be JSON, is not, or lacks what the endpoint needs.
pub fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::invalid_body(None, "['Unsupported Media Type: Only 'application/json' is allowed']"));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::invalid_body(None, format!("invalid request body: {error}")))
}
