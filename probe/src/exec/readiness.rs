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
