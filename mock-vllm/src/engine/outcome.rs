//! What a step yields, and what can be seen of an engine between steps.

use std::time::Duration;

use super::cost::Batch;
use super::request::{RequestId, TokenId};

/// Answer to [`Engine::begin_step`](super::Engine::begin_step).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Begin {
    /// A step runs until `ends`, which is when the API server gets its tokens.
    Step {
        /// End of the step, since the engine's start.
        ends: Duration,
        /// What it computes.
        batch: Batch,
        /// Share of the step in which the GPU computes, 0 to 1.
        computing_share: f64,
    },
    /// There is nothing to compute before that time, at which tokens may leave the API server or a request enter.
    IdleUntil(Duration),
    /// There is nothing to compute or to deliver until a request is submitted.
    Idle,
}

/// Why a request ended, as vLLM's `finish_reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FinishReason {
    /// The model ended by itself, or a stop string appeared.
    Stop,
    /// The limit of output tokens was reached.
    Length,
}

impl FinishReason {
    /// The word on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// When a request passed each stage, since the engine's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestTimes {
    /// It reached the server.
    pub arrival: Duration,
    /// It was scheduled for the first time.
    pub scheduled: Option<Duration>,
    /// Its first token was due.
    pub first_token: Option<Duration>,
    /// Its latest token was due.
    pub last_token: Option<Duration>,
}

/// One token of one request, due at the end of its step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Emission {
    /// Whose token.
    pub request: RequestId,
    /// The token.
    pub token: TokenId,
    /// Prompt tokens of the request.
    pub prompt_tokens: u32,
    /// Those of them that came from the prefix cache.
    pub cached_prompt_tokens: u32,
    /// Output tokens after which it is cut off.
    pub max_tokens: u32,
    /// Output tokens of the request, this one included.
    pub output_tokens: u32,
    /// Since the previous token of the request; `None` for the first.
    pub since_previous: Option<Duration>,
    /// Set on the last token.
    pub finish: Option<FinishReason>,
    /// Whether the request's tokens leave as they come.
    pub streams: bool,
    /// Stages of the request, this token included.
    pub times: RequestTimes,
}

/// One token when it leaves the API server for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Whose token.
    pub request: RequestId,
    /// The token.
    pub token: TokenId,
    /// Output tokens of the request, this one included.
    pub output_tokens: u32,
    /// Set on the last token.
    pub finish: Option<FinishReason>,
    /// When its chunk leaves, since the engine's start.
    pub at: Duration,
    /// Whether the chunk ends with it; else the request's next token is part of the same chunk.
    pub ends_chunk: bool,
}

impl Delivery {
    /// A token that is a chunk by itself.
    pub(super) fn alone(emission: &Emission, at: Duration) -> Self {
        let Emission { request, token, output_tokens, finish, .. } = *emission;
        Self { request, token, output_tokens, finish, at, ends_chunk: true }
    }
}

/// Result of a finished step.
#[derive(Clone, PartialEq, Debug)]
pub struct StepOutcome {
    /// End of the step, since the engine's start.
    pub ended: Duration,
    /// What it computed.
    pub batch: Batch,
    /// Its tokens, in the order in which the requests were admitted.
    pub emissions: Vec<Emission>,
}

/// Totals since the engine's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_cache_queries: u64,
    /// Prompt tokens found there.
    pub prefix_cache_hits: u64,
    /// Prompt tokens of requests whose prefill is done.
    pub prompt_tokens: u64,
    /// Those of them that came from the prefix cache.
    pub prompt_tokens_cached: u64,
    /// Tokens yielded.
    pub generation_tokens: u64,
    /// Requests that lost their blocks to others and started over.
    pub preemptions: u64,
}

/// State of an engine at one moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Snapshot {
    /// Requests in the batch.
    pub running: usize,
    /// Requests that wait for a place in it.
    pub waiting: usize,
    /// Share of the KV blocks that requests refer to, 0 to 1.
    pub kv_cache_usage: f64,
    /// Totals.
    pub counters: Counters,
}
