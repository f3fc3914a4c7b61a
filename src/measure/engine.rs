//! What is asked of a server outside the measured window: one token, its metrics, an empty prefix cache.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use thiserror::Error;

use super::metrics_text::MetricsText;

/// A server did not do what was asked of it.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It could not be reached, or answered with an error.
    #[error("server {url}: {request} failed; see the server's log")]
    Request {
        /// Base address of the server.
        url: String,
        /// What was asked.
        request: &'static str,
        /// What the connection says.
        #[source]
        source: reqwest::Error,
    },
    /// It answered with a status that is none.
    #[error("server {url}: {request} was answered with status {status}: {body}")]
    Status {
        /// Base address of the server.
        url: String,
        /// What was asked.
        request: &'static str,
        /// The status.
        status: StatusCode,
        /// The start of the answer.
        body: String,
    },
    /// Requests were still running after the time that a drain may take.
    #[error("server {url}: {running} requests still run or wait after {seconds} s; something else uses the server")]
    NotDrained {
        /// Base address of the server.
        url: String,
        /// Requests running and waiting.
        running: u64,
        /// Seconds waited.
        seconds: u64,
    },
    /// Nothing tells whether the cache is empty.
    #[error(
        "server {url}: /metrics has no {PREFIX_CACHE_HITS}, so that its cache cannot be shown to be empty; use a vLLM that counts hits"
    )]
    NoCounter {
        /// Base address of the server.
        url: String,
    },
    /// It is not one that can be told to empty its cache.
    #[error(
        "server {url}: it has no /reset_prefix_cache, so that runs cannot begin with an empty cache; start it with \
         VLLM_SERVER_DEV_MODE=1"
    )]
    NoReset {
        /// Base address of the server.
        url: String,
    },
    /// A prompt sent before the reset was still found in the cache after it.
    #[error("server {url}: the prefix cache still held a prompt after {resets} resets ({reply}); restart the server")]
    CacheKept {
        /// Base address of the server.
        url: String,
        /// Resets tried.
        resets: u32,
        /// What the server said of the last one.
        reply: String,
    },
}

/// One server.
#[derive(Debug, Clone)]
pub struct EngineClient {
    http: Client,
    base_url: String,
    model: String,
}

/// How long requests that other phases left behind may take to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(120);
const PREFIX_CACHE_HITS: &str = "vllm:prefix_cache_hits_total";
const DRAIN_POLL: Duration = Duration::from_millis(20);
const MOST_RESETS: u32 = 2;

impl EngineClient {
    /// A client of the server at this base address, which knows the model by this name.
    pub fn new(http: Client, base_url: &str, model: &str) -> Self {
        Self { http, base_url: base_url.trim_end_matches('/').to_owned(), model: model.to_owned() }
    }

    /// Has the server serve one token, which only a server that is truly ready can.
    pub async fn serve_one_token(&self, prompt: &str) -> Result<(), EngineError> {
        let body = json!({"model": self.model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0});
        let request = self.http.post(format!("{}/v1/completions", self.base_url)).json(&body);
        self.text("one token", request).await.map(drop)
    }

    /// A reading of the server's metrics.
    pub async fn metrics(&self) -> Result<MetricsText, EngineError> {
        let text = self.text("/metrics", self.http.get(format!("{}/metrics", self.base_url))).await?;
        Ok(MetricsText::parse(&text))
    }

    /// Engine's name and version.
    pub async fn version(&self) -> Result<String, EngineError> {
        let text = self.text("/version", self.http.get(format!("{}/version", self.base_url))).await?;
        let version = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| value.get("version").and_then(Value::as_str).map(str::to_owned));
        Ok(format!("vllm {}", version.unwrap_or(text)))
    }

    /// Waits until the server runs and queues nothing.
    pub async fn drain(&self) -> Result<(), EngineError> {
        let started = Instant::now();
        loop {
            let metrics = self.metrics().await?;
            let running = ["vllm:num_requests_running", "vllm:num_requests_waiting"]
                .iter()
                .filter_map(|name| metrics.get(name))
                .sum::<f64>();
            if running <= 0.0 {
                return Ok(());
            }
            if started.elapsed() > DRAIN_PATIENCE {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
                let running = running as u64;
                let seconds = DRAIN_PATIENCE.as_secs();
                return Err(EngineError::NotDrained { url: self.base_url.clone(), running, seconds });
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Empties the prefix cache and shows that it is empty: a prompt sent before the reset must not be found after it.
    ///
    /// Replies to the reset differ by version, and status 200 may mean refused, so the reply is kept for the message
    /// and the counter decides.
    pub async fn empty_prefix_cache(&self, canary: &str) -> Result<(), EngineError> {
        self.drain().await?;
        let mut reply = String::new();
        for _ in 0..MOST_RESETS {
            self.serve_one_token(canary).await?;
            self.drain().await?;
            let url = format!("{}/reset_prefix_cache?reset_external=true", self.base_url);
            reply = match self.text("/reset_prefix_cache", self.http.post(url)).await {
                Err(EngineError::Status { status: StatusCode::NOT_FOUND, .. }) => {
                    return Err(EngineError::NoReset { url: self.base_url.clone() });
                }
                reply => reply?,
            };
            let before = self.prefix_cache_hits().await?;
            self.serve_one_token(canary).await?;
            if !says_refused(&reply) && self.prefix_cache_hits().await? <= before {
                return Ok(());
            }
        }
        if reply.is_empty() {
            reply = "it gave no reason".to_owned();
        }
        Err(EngineError::CacheKept { url: self.base_url.clone(), resets: MOST_RESETS, reply })
    }

    async fn prefix_cache_hits(&self) -> Result<f64, EngineError> {
        let hits = self.metrics().await?.get(PREFIX_CACHE_HITS);
        hits.ok_or_else(|| EngineError::NoCounter { url: self.base_url.clone() })
    }

    async fn text(&self, request: &'static str, builder: reqwest::RequestBuilder) -> Result<String, EngineError> {
        let fail = |source| EngineError::Request { url: self.base_url.clone(), request, source };
        let response = builder.send().await.map_err(fail)?;
        let status = response.status();
        let body = response.text().await.map_err(fail)?;
        if status.is_success() {
            Ok(body)
        } else {
            let body = body.chars().take(200).collect();
            Err(EngineError::Status { url: self.base_url.clone(), request, status, body })
        }
    }
}

/// Whether the answer to a reset says that it was refused: some versions put a false into a JSON body of status 200.
fn says_refused(reply: &str) -> bool {
    fn holds_false(value: &Value) -> bool {
        match value {
            Value::Bool(holds) => !holds,
            Value::Object(fields) => fields.values().any(holds_false),
            _ => false,
        }
    }
    serde_json::from_str::<Value>(reply).is_ok_and(|value| holds_false(&value))
}

/// A prompt of well over 64 tokens that no data set makes, different for each attempt and server.
pub fn canary(salt: &str, ordinal: u32) -> String {
    let mut text = format!("canary {ordinal} of {salt}:");
    for line in 0..24 {
        text.push_str(&format!(" line {line} of server {ordinal} {salt}", salt = &salt[..salt.len().min(16)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        routing::{get, post},
    };
    use rstest::rstest;
    use tokio::net::TcpListener;

    use super::*;

    #[rstest]
    #[case::empty_body("", false)]
    #[case::plain_text("ok", false)]
    #[case::accepted(r#"{"success": true}"#, false)]
    #[case::refused(r#"{"success": false}"#, true)]
    #[case::bare_false("false", true)]
    fn a_refusal_is_read_from_the_body(#[case] reply: &str, #[case] refused: bool) {
        assert_eq!(says_refused(reply), refused);
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_told_to_empty_its_cache_is_told_how_to_be_started() {
        let routes = Router::new()
            .route("/v1/completions", post(|| async { "{}" }))
            .route("/metrics", get(|| async { "vllm:num_requests_running 0\nvllm:prefix_cache_hits_total 0\n" }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let error = EngineClient::new(Client::new(), &url, "m").empty_prefix_cache("canary").await.unwrap_err();

        assert!(matches!(error, EngineError::NoReset { .. }), "{error}");
        assert!(error.to_string().contains("VLLM_SERVER_DEV_MODE=1"), "{error}");
    }

    #[test]
    fn canaries_differ_by_attempt_and_server_and_are_long_enough_to_fill_blocks() {
        let salt = "00112233445566778899aabbccddeeff";
        assert_ne!(canary(salt, 0), canary(salt, 1));
        assert_ne!(canary(salt, 0), canary("ff112233445566778899aabbccddeeff", 0));
        assert!(canary(salt, 0).split_whitespace().count() >= 64);
    }
}
