//! What a server is asked beside the load: which models it serves, how many tokens a text has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::clock::Clock;
use super::request::{RequestError, begin, read_body};
use super::target::{HttpOptions, ResolvedTarget, Target, TargetClient, TargetError};

/// Bytes of a response that are read.
const RESPONSE_BYTES: usize = 4 << 20;

/// Why a server did not say what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server cannot be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The exchange failed.
    #[error("{base_url}{path}: no answer")]
    Exchange {
        /// The server.
        base_url: String,
        /// What was asked for.
        path: &'static str,
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
        path: &'static str,
        /// The time given to it.
        limit: Duration,
    },
    /// The answer is not what the API promises.
    #[error("{base_url}{path}: the answer cannot be read")]
    Unreadable {
        /// The server.
        base_url: String,
        /// What was asked for.
        path: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// The names of the models that a server serves.
///
/// # Errors
/// When there is no readable answer in time.
pub async fn served_models(base_url: &str, http: &HttpOptions, limit: Duration) -> Result<Vec<String>, AskError> {
    let server = AskedServer::resolve(base_url, http, limit).await?;
    let ModelList { data } = server.ask(Method::GET, "/v1/models", Bytes::new()).await?;
    Ok(data.into_iter().map(|ModelEntry { id }| id).collect())
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

/// A server whose name is resolved and whose authorities are read once for all questions.
pub(crate) struct AskedServer {
    base_url: String,
    target: TargetClient,
    /// Time for each answer.
    limit: Duration,
}

impl AskedServer {
    pub(crate) async fn resolve(base_url: &str, http: &HttpOptions, limit: Duration) -> Result<AskedServer, AskError> {
        let target = Target { base_url: base_url.to_owned(), max_in_flight: None };
        let target = TargetClient::new(Arc::new(ResolvedTarget::resolve(&target, http, Clock::start()).await?));
        Ok(AskedServer { base_url: base_url.to_owned(), target, limit })
    }

    /// Tokens that the server's tokeniser makes of a prompt, those included that the model wants around it.
    pub(crate) async fn tokens(&self, model: &str, text: &str) -> Result<u32, AskError> {
        let body = serde_json::json!({"model": model, "prompt": text}).to_string();
        let TokenCount { count } = self.ask(Method::POST, "/tokenize", body.into()).await?;
        Ok(count)
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &'static str, body: Bytes) -> Result<T, AskError> {
        let (base_url, limit) = (self.base_url.clone(), self.limit);
        match tokio::time::timeout(limit, fetch(&self.target, method, path, body)).await {
            Err(_) => Err(AskError::TimedOut { base_url, path, limit }),
            Ok(Err(source)) => Err(AskError::Exchange { base_url, path, source: Box::new(source) }),
            Ok(Ok(body)) => {
                serde_json::from_slice(&body).map_err(|source| AskError::Unreadable { base_url, path, source })
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenCount {
    count: u32,
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
