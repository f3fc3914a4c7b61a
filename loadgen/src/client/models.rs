//! Which models a server serves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::clock::Clock;
use super::request::{RequestError, begin, read_body};
use super::target::{HttpOptions, ResolvedTarget, Target, TargetClient, TargetError};

/// Bytes of a response that are read.
const RESPONSE_BYTES: usize = 4 << 20;

const PATH: &str = "/v1/models";

/// Why the models of a server are not known.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The server cannot be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The exchange failed.
    #[error("{base_url}{PATH}: no answer")]
    Exchange {
        /// The server.
        base_url: String,
        /// How it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("{base_url}{PATH}: no answer in {limit:?}")]
    TimedOut {
        /// The server.
        base_url: String,
        /// The time given to it.
        limit: Duration,
    },
    /// The answer is not what the API promises.
    #[error("{base_url}{PATH}: the answer cannot be read")]
    Unreadable {
        /// The server.
        base_url: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// The names of the models that a server serves.
///
/// # Errors
/// When there is no readable answer in time.
pub async fn served_models(base_url: &str, http: &HttpOptions, limit: Duration) -> Result<Vec<String>, ModelsError> {
    let target = Target { base_url: base_url.to_owned(), max_in_flight: None };
    let target = TargetClient::new(Arc::new(ResolvedTarget::resolve(&target, http, Clock::start()).await?));
    let base_url = base_url.to_owned();
    match tokio::time::timeout(limit, fetch(&target)).await {
        Err(_) => Err(ModelsError::TimedOut { base_url, limit }),
        Ok(Err(source)) => Err(ModelsError::Exchange { base_url, source: Box::new(source) }),
        Ok(Ok(body)) => match serde_json::from_slice(&body) {
            Ok(ModelList { data }) => Ok(data.into_iter().map(|ModelEntry { id }| id).collect()),
            Err(source) => Err(ModelsError::Unreadable { base_url, source }),
        },
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

async fn fetch(target: &TargetClient) -> Result<Bytes, RequestError> {
    let request = target.request(Method::GET, PATH, Bytes::new())?;
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
