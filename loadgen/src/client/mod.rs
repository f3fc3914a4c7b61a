//! The client: sends a planned load to its targets and records what comes back.
//!
//! No request is retried. A time is taken when the read that brought the bytes has returned, before anything looks at
//! them; texts are copied only when they are to be kept.

mod ask;
mod chunk;
mod clock;
mod connection;
mod dispatch;
mod http2;
mod measure;
mod pacer;
mod payload;
mod probe;
mod progress;
mod recorder;
mod request;
mod share;
mod sse;
mod target;
mod tls;
mod transport;
mod worker;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use ask::AskedServer;
pub use ask::{AskError, served_models};
pub use measure::measure;
pub use progress::Progress;
pub use share::Share;
pub use sse::{EVENT_BYTES_MAX, EventTooLong, SseParser};
pub use target::{HttpOptions, Target, TargetError};
pub use tls::{HttpVersion, TlsError, Trust};

use crate::arrivals::{Arrivals, ArrivalsError, Schedule};
use crate::dataset::{DatasetError, PlannedRequest, RequestSource};

/// Which API the load speaks; the names are those of `vllm bench serve --backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// Completions.
    #[default]
    Openai,
    /// Completions, under the name that vLLM's client has for its own server.
    Vllm,
    /// Chat completions.
    OpenaiChat,
}

impl Backend {
    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Openai => "openai",
            Backend::Vllm => "vllm",
            Backend::OpenaiChat => "openai-chat",
        }
    }

    /// The path that serves it.
    pub fn endpoint(self) -> &'static str {
        match self {
            Backend::Openai | Backend::Vllm => "/v1/completions",
            Backend::OpenaiChat => "/v1/chat/completions",
        }
    }
}

/// A load: what to send, where, and when.
#[derive(Clone)]
pub struct LoadSpec {
    /// The requests, in order.
    pub requests: Arc<dyn RequestSource>,
    /// Requests sent before the measured window; none of its prompts may be among the run's.
    pub warmup: Vec<PlannedRequest>,
    /// Request i goes to target i mod their number.
    pub targets: Vec<Target>,
    /// The model's name in requests.
    pub model: String,
    /// Which API.
    pub backend: Backend,
    /// The path below each target's base URL; `None` is the backend's own.
    pub endpoint: Option<String>,
    /// How HTTP is spoken.
    pub http: HttpOptions,
    /// When requests come.
    pub arrivals: Arrivals,
    /// Most requests in flight over all targets; `None` for no bound.
    pub max_concurrency: Option<NonZeroU32>,
    /// Whether to ask for output up to the cap.
    pub ignore_eos: bool,
    /// Further members of every request's body; they win over the client's own.
    pub extra_body: Map<String, Value>,
    /// Whether generated texts are kept in memory and in the result file.
    pub keep_texts: bool,
    /// Longest time that one request may take.
    pub request_timeout: Duration,
    /// Single-token requests to send beside the load, per second, past the concurrency limit; `None` for none.
    pub probe_requests_per_s: Option<f64>,
    /// Seed of the arrival times.
    pub seed: u64,
    /// Which of the requests this load generator sends, when several share the plan.
    pub share: Share,
    /// When the first request could come, in nanoseconds since the Unix epoch: load generators that share a plan start
    /// together. `None`, or a moment that is past, is as soon as possible.
    pub start_unix_ns: Option<u64>,
    /// Worker threads, each with an event loop and connections of its own; `None` is one for each core.
    pub workers: Option<NonZeroU32>,
}

impl LoadSpec {
    /// vLLM's client gives a request six hours.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);

    /// A closed load on targets, everything optional left at its default.
    pub fn new(requests: Arc<dyn RequestSource>, targets: Vec<Target>, model: impl Into<String>) -> LoadSpec {
        LoadSpec {
            requests,
            warmup: Vec::new(),
            targets,
            model: model.into(),
            backend: Backend::default(),
            endpoint: None,
            http: HttpOptions::default(),
            arrivals: Arrivals::AllAtOnce { burstiness: crate::arrivals::Burstiness::POISSON },
            max_concurrency: None,
            ignore_eos: false,
            extra_body: Map::new(),
            keep_texts: false,
            request_timeout: Self::REQUEST_TIMEOUT,
            probe_requests_per_s: None,
            seed: 0,
            share: Share::WHOLE,
            start_unix_ns: None,
            workers: None,
        }
    }
}

impl LoadSpec {
    /// When each request is planned.
    ///
    /// # Errors
    /// When a rate is not positive, or the requests do not say when they arrive.
    pub fn schedule(&self) -> Result<Schedule, ArrivalsError> {
        match (self.arrivals, self.requests.arrivals_s()) {
            (Arrivals::Recorded, Some(offsets_s)) => Ok(Schedule { offsets_s, rates: Vec::new() }),
            _ => self.arrivals.schedule(self.requests.len(), self.seed),
        }
    }
}

/// Why a load cannot be run at all. (A request that fails is no such reason: it is a record.)
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is nowhere to send to.
    #[error("load: no target; give at least one")]
    NoTarget,
    /// There is nothing to send.
    #[error("load: no request; give at least one")]
    NoRequest,
    /// Chat takes text alone.
    #[error("load: prompts are token ids, which the chat API does not take; use text prompts or the completions API")]
    TokenIdsInChat,
    /// The probe rate is no positive, finite number.
    #[error("load: probe request rate {0} per second; give a positive number")]
    ProbeRate(f64),
    /// A request cannot be read from its data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A target cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The arrivals cannot be scheduled.
    #[error(transparent)]
    Arrivals(#[from] ArrivalsError),
    /// Not one warm-up request was answered.
    #[error("load: all {count} warm-up requests failed, the first with: {first_error}")]
    WarmUp {
        /// Warm-up requests sent.
        count: usize,
        /// Why the first failed.
        first_error: String,
    },
    /// The limit is lower than the number of load generators that share it.
    #[error("load: at most {limit} requests in flight leave nothing for each load generator; use fewer, or raise it")]
    LimitTooLow {
        /// Most requests in flight of all generators together.
        limit: NonZeroU32,
    },
    /// A worker thread or its event loop could not be started.
    #[error("load: a worker cannot be started; look at the limits of threads and of open files")]
    Worker(#[source] std::io::Error),
    /// The timer of a worker failed.
    #[error("load: the timer of the arrivals failed")]
    Timer(#[source] std::io::Error),
    /// A request's task panicked.
    #[error("load: a request's task ended without a record")]
    Task(#[from] tokio::task::JoinError),
    /// A worker thread panicked.
    #[error("load: a worker ended without its records")]
    WorkerGone,
}
