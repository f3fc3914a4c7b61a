//! A reply as server-sent events, one for each token, at the token's time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use thiserror::Error;

use super::chunk::{ChunkWriter, End, ReplyHead, Usage};
use super::params::{Params, UsageInStream};
use crate::engine::FinishReason;
use crate::server::handle::{Event, Generation};
use crate::server::state::{InProgress, ServerState};
use crate::server::stop::StopMatcher;
use crate::server::tokenizer;

/// The connection breaks off, so that a client sees an incomplete reply and not a finished one.
#[derive(Clone, Copy, Debug, Error)]
pub enum Broken {
    /// A fault that was asked for.
    #[error("simulated fault: truncate-stream")]
    Truncated,
    /// The server ends before the answer does.
    #[error("the server is shutting down")]
    Interrupted,
}

/// Starts a streamed reply.
pub fn respond(
    state: &Arc<ServerState>,
    head: ReplyHead,
    params: &Params,
    generation: Generation,
    progress: InProgress,
) -> Response {
    let choices = (0..head.choices()).map(|_| Choice::new(params.stops())).collect();
    let stream = TokenStream {
        writer: ChunkWriter::new(&head),
        usage: params.usage_in_stream(),
        head,
        choices,
        generation,
        ready: VecDeque::new(),
        chunks_left: state.settings.faults.truncate_stream.map(std::num::NonZeroU64::get),
        ended: false,
        flushed: false,
        state: state.clone(),
        _progress: progress,
    };
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

struct Choice {
    matcher: Option<StopMatcher>,
    opened: bool,
    output_tokens: u32,
}

impl Choice {
    fn new(stops: &[String]) -> Self {
        Self { matcher: (!stops.is_empty()).then(|| StopMatcher::new(stops)), opened: false, output_tokens: 0 }
    }
}

struct TokenStream {
    writer: ChunkWriter,
    usage: UsageInStream,
    head: ReplyHead,
    choices: Vec<Choice>,
    generation: Generation,
    /// Chunks that are due.
    ready: VecDeque<Bytes>,
    /// Chunks until a truncated stream breaks off.
    chunks_left: Option<u64>,
    ended: bool,
    flushed: bool,
    state: Arc<ServerState>,
    _progress: InProgress,
}

impl TokenStream {
    /// Breaks off, after a turn in which the connection can write what it already has: it drops that with the error.
    fn break_off(&mut self, context: &Context<'_>, reason: Broken) -> Poll<Option<Result<Bytes, Broken>>> {
        if std::mem::replace(&mut self.flushed, true) {
            return Poll::Ready(Some(Err(reason)));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, event: &Event) {
        self.state.settings.engine.metrics().observe_lateness(Instant::now().saturating_duration_since(event.due));
        let choice = &mut self.choices[event.choice as usize];
        choice.output_tokens = event.output_tokens;
        let text = tokenizer::decode(&[event.token]);
        let finish = event.finish.map(|reason| End { reason, stop: None });
        let (text, end) = match &mut choice.matcher {
            None => (text, finish),
            Some(matcher) => {
                let released = matcher.push(&text, finish.is_some());
                let stopped = released.stopped_by.map(|stop| End { reason: FinishReason::Stop, stop: Some(stop) });
                (released.text, stopped.or(finish))
            }
        };
        let prompt_tokens = self.head.prompt_tokens_of(event.choice);
        let usage_of = |completion_tokens| self.usage.continuous.then_some(Usage { prompt_tokens, completion_tokens });
        if !std::mem::replace(&mut choice.opened, true) {
            self.ready.extend(self.writer.role(event.choice, usage_of(0)).map(Bytes::from));
        }
        let chunk = self.writer.text(event.choice, &text, end.as_ref(), usage_of(event.output_tokens));
        self.ready.push_back(Bytes::from(chunk));
        if end.is_some() {
            self.generation.stop(event.choice);
        }
    }

    fn finish(&mut self) {
        if self.usage.at_end {
            let usage = Usage {
                prompt_tokens: self.head.total_prompt_tokens(),
                completion_tokens: self.choices.iter().map(|choice| choice.output_tokens).sum(),
            };
            self.ready.push_back(Bytes::from(self.writer.usage(usage)));
        }
        self.ready.push_back(Bytes::from_static(ChunkWriter::done().as_bytes()));
    }
}

impl Stream for TokenStream {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.chunks_left == Some(0) {
                return this.break_off(context, Broken::Truncated);
            }
            if let Some(chunk) = this.ready.pop_front() {
                if let Some(left) = &mut this.chunks_left {
                    *left -= 1;
                }
                return Poll::Ready(Some(Ok(chunk)));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if this.generation.is_finished() {
                this.ended = true;
                this.finish();
                continue;
            }
            match this.generation.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return this.break_off(context, Broken::Interrupted),
                Poll::Ready(Some(event)) => this.take(&event),
            }
        }
    }
}
