//! A small HTTP client for what a router asks others: peers and workers' health. Requests of clients never use it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// See the module. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    pooled: Pooled<HttpConnector, Full<Bytes>>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its method.
    pub method: Method,
    /// `host:port`.
    pub authority: &'a str,
    /// Path, from the slash on.
    pub path: &'a str,
    /// Body; empty for none.
    pub body: Bytes,
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Host, port and path make no address.
    #[error("the address is malformed")]
    Address(#[source] http::Error),
    /// No answer.
    #[error("no answer")]
    Send(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off or is too long.
    #[error("the answer broke off or is longer than allowed")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
}

impl Client {
    /// A client without connections.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let pooled = Pooled::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        Self { pooled }
    }

    /// Calls, and reads at most `limit` bytes of the answer, all within `timeout`.
    pub async fn call(
        &self,
        call: Call<'_>,
        timeout: Duration,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let answer = tokio::time::timeout(timeout, self.exchange(call, limit)).await;
        answer.map_err(|_| CallError::Timeout(timeout))?
    }

    async fn exchange(&self, call: Call<'_>, limit: usize) -> Result<(StatusCode, Bytes), CallError> {
        let Call { method, authority, path, body } = call;
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
        let request = uri.and_then(|uri| Request::builder().method(method).uri(uri).body(Full::new(body)));
        let response = self.pooled.request(request.map_err(CallError::Address)?).await.map_err(CallError::Send)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await.map_err(CallError::Body)?;
        Ok((status, body.to_bytes()))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}
