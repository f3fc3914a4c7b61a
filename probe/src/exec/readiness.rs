//! When the engine is ready: from the moment at which it serves a token of its model.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock;
use crate::http::Service;

/// Between two questions; this is how exactly the time of loading is known.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the engine has served a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Readiness {
    /// It has not yet.
    Waiting {
        /// What the last try ended with.
        reason: String,
    },
    /// It has.
    Ready {
        /// Seconds from the engine's start to its first served token.
        ready_seconds: f64,
    },
}

/// When the engine was started, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    pub(super) unix_ns: u64,
    instant: Instant,
}

impl Started {
    pub(super) fn now() -> Self {
        Self { unix_ns: clock::unix_ns(), instant: Instant::now() }
    }
}

/// Asks the engine for one token until it serves one; the answer is kept, so that a run is never disturbed by it.
pub(super) fn watch_for(service: Service, started: Started) -> watch::Receiver<Readiness> {
    let (seen, readiness) = watch::channel(Readiness::Waiting { reason: "the engine was just started".to_owned() });
    tokio::spawn(async move {
        if !service.can_be_asked() {
            let reason = "without --engine-url and --served-model no token is asked for".to_owned();
            seen.send_replace(Readiness::Waiting { reason });
            return;
        }
        loop {
            match service.serve_one_token().await {
                Ok(()) => {
                    let ready_seconds = started.instant.elapsed().as_secs_f64();
                    tracing::info!(ready_seconds, "the engine served its first token");
                    seen.send_replace(Readiness::Ready { ready_seconds });
                    return;
                }
                Err(reason) => seen.send_replace(Readiness::Waiting { reason }),
            };
            tokio::time::sleep(PAUSE).await;
        }
    });
    readiness
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::Json;
    use axum::http::StatusCode;
    use axum::routing::post;
    use serde_json::Value;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    async fn seen(readiness: &mut watch::Receiver<Readiness>, what: impl FnMut(&Readiness) -> bool) -> Readiness {
        let found = tokio::time::timeout(DEADLINE, readiness.wait_for(what)).await;
        found.unwrap_or_else(|_| panic!("not within {DEADLINE:?}")).unwrap().clone()
    }

    #[tokio::test]
    async fn an_engine_is_ready_from_its_first_token_of_the_model_on() {
        let loaded = Arc::new(AtomicBool::new(false));
        let is_loaded = Arc::clone(&loaded);
        let complete = move |Json(body): Json<Value>| async move {
            match is_loaded.load(Ordering::SeqCst) && body["model"] == "llama" && body["max_tokens"] == 1 {
                true => (StatusCode::OK, Json(serde_json::json!({"choices": []}))),
                false => (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({"error": "it loads"}))),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let engine = axum::Router::new().route("/v1/completions", post(complete));
        tokio::spawn(async move { axum::serve(listener, engine).await });

        let service = Service::new("vllm", Some(&url), Some("llama")).unwrap();
        let mut readiness = watch_for(service, Started::now());

        let refused =
            |readiness: &Readiness| matches!(readiness, Readiness::Waiting { reason } if reason.contains("it loads"));
        seen(&mut readiness, refused).await;
        loaded.store(true, Ordering::SeqCst);
        let ready = seen(&mut readiness, |readiness| matches!(readiness, Readiness::Ready { .. })).await;
        assert!(matches!(ready, Readiness::Ready { ready_seconds } if ready_seconds > 0.0));
    }

    #[tokio::test]
    async fn without_a_models_name_nothing_is_ever_ready() {
        let mut readiness = watch_for(Service::new("vllm", Some("http://127.0.0.1:1"), None).unwrap(), Started::now());

        let unasked = |readiness: &Readiness| matches!(readiness, Readiness::Waiting { reason } if reason.contains("--served-model"));
        seen(&mut readiness, unasked).await;
    }
}
