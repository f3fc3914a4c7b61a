//! Single requests without a stream: is a server ready, which models does it serve, what does it answer to a canary.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

use super::clock::Clock;
use super::payload::PayloadTemplate;
use super::request::{RequestError, begin, read_body};
use super::target::TargetClient;
use super::{Backend, LoadError, Target, TargetError};
use crate::dataset::{PlannedRequest, Prompt};
use crate::record::Usage;

/// Bytes of a response that are read.
const RESPONSE_BYTES: usize = 4 << 20;

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct OneReply {
    /// The generated text.
    pub text: String,
    /// The server's count of tokens, when it sent one.
    pub usage: Option<Usage>,
    /// Time from before connecting to the end of the response, in seconds.
    pub latency_s: f64,
}

/// Why a single request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The target cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The request cannot be rendered.
    #[error("the request cannot be rendered")]
    Render(#[from] LoadError),
    /// The exchange failed.
    #[error("{base_url}{path}: no answer")]
    Exchange {
        /// The server.
        base_url: String,
        /// What was asked for.
        path: String,
        /// How it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("{base_url}{path}: no answer in {limit:?}")]
    TimedOut {
        /// The server.
        base_url: String,
        /// What was asked for.
        path: String,
        /// The time given to it.
        limit: Duration,
    },
    /// The answer is not what the API promises.
    #[error("{base_url}{path}: the answer cannot be read")]
    Unreadable {
        /// The server.
        base_url: String,
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The answer holds no text.
    #[error("{base_url}{path}: the answer has no choice; the server is not serving completions")]
    NoChoice {
        /// The server.
        base_url: String,
        /// What was asked for.
        path: String,
    },
}

/// Sends one greedy completion and waits for its whole answer; nothing is retried.
///
/// # Errors
/// When there is no answer in time, or none with a choice in it.
pub async fn send_one(
    base_url: &str,
    model: &str,
    prompt: Prompt,
    max_tokens: u32,
    timeout: Duration,
) -> Result<OneReply, ReplyError> {
    let request = PlannedRequest { prompt, expected_prompt_tokens: 0, max_tokens, temperature: Some(0.0) };
    let body = PayloadTemplate::new(Backend::Openai, model, false, false, &Map::new()).render(&request)?;
    let started = Instant::now();
    let path = Backend::Openai.endpoint();
    let reply: CompletionReply = exchange(base_url, Method::POST, path, body, timeout).await?;
    let latency_s = started.elapsed().as_secs_f64();
    let CompletionReply { choices, usage } = reply;
    let choice = choices.into_iter().next();
    let CompletionChoice { text } =
        choice.ok_or_else(|| ReplyError::NoChoice { base_url: base_url.to_owned(), path: path.to_owned() })?;
    Ok(OneReply { text, usage: usage.map(Into::into), latency_s })
}

/// The names of the models that a server serves.
///
/// # Errors
/// When there is no readable answer in time.
pub async fn served_models(base_url: &str, timeout: Duration) -> Result<Vec<String>, ReplyError> {
    let ModelList { data } = exchange(base_url, Method::GET, "/v1/models", Bytes::new(), timeout).await?;
    Ok(data.into_iter().map(|ModelEntry { id }| id).collect())
}

/// Tokens that a server's tokeniser makes of a prompt, those included that the model wants around it.
///
/// # Errors
/// When there is no readable answer in time.
pub(crate) async fn tokenize(base_url: &str, model: &str, text: &str, timeout: Duration) -> Result<u32, ReplyError> {
    let body = serde_json::json!({"model": model, "prompt": text}).to_string().into();
    let TokenCount { count } = exchange(base_url, Method::POST, "/tokenize", body, timeout).await?;
    Ok(count)
}

#[derive(Deserialize)]
struct TokenCount {
    count: u32,
}

#[derive(Deserialize)]
struct CompletionReply {
    choices: Vec<CompletionChoice>,
    usage: Option<ReplyUsage>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    text: String,
}

#[derive(Deserialize)]
struct ReplyUsage {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

impl From<ReplyUsage> for Usage {
    fn from(ReplyUsage { prompt_tokens, completion_tokens }: ReplyUsage) -> Usage {
        Usage { prompt_tokens, completion_tokens }
    }
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

async fn exchange<T: DeserializeOwned>(
    base_url: &str,
    method: Method,
    path: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<T, ReplyError> {
    let target = Target { base_url: base_url.to_owned(), max_in_flight: None };
    let target = TargetClient::resolve(&target, &HeaderMap::new(), Clock::start()).await?;
    let (base_url, path) = (base_url.to_owned(), path.to_owned());
    match tokio::time::timeout(timeout, fetch(&target, method, &path, body)).await {
        Err(_) => Err(ReplyError::TimedOut { base_url, path, limit: timeout }),
        Ok(Err(source)) => Err(ReplyError::Exchange { base_url, path, source: Box::new(source) }),
        Ok(Ok(body)) => {
            serde_json::from_slice(&body).map_err(|source| ReplyError::Unreadable { base_url, path, source })
        }
    }
}

async fn fetch(target: &TargetClient, method: Method, path: &str, body: Bytes) -> Result<Bytes, RequestError> {
    let request = target.request(method, path, body)?;
    let (mut connection, response) = begin(target, request).await?;
    let status = response.status();
    let mut body = response.into_body();
    let bytes = read_body(&mut connection, &mut body, RESPONSE_BYTES).await.map_err(RequestError::Body)?;
    if status != StatusCode::OK {
        let body = String::from_utf8_lossy(&bytes).trim().to_owned();
        return Err(RequestError::Status { status, body });
    }
    Ok(bytes)
}
