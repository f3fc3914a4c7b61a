//! A reply as server-sent events, one for each chunk, at the chunk's time; events that are due together leave together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use thiserror::Error;

use super::chunk::{ChunkWriter, End, Endpoint, ReplyHead, Usage};
use super::params::{Params, UsageInStream};
use crate::engine::{FinishReason, TokenId};
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
    let faults = state.faults();
    let stream = TokenStream {
        writer: ChunkWriter::new(&head),
        usage: params.usage_in_stream(),
        head,
        choices,
        generation,
        events: Vec::new(),
        out: BytesMut::new(),
        chunks_left: faults.truncate_stream.map(std::num::NonZeroU64::get),
        opened: false,
        ended: false,
        flushed: false,
        state: state.clone(),
        _progress: progress,
    };
    let body = match faults.slow_stream {
        None => Body::from_stream(stream),
        Some(gap) => Body::from_stream(stream.then(move |frame| async move {
            tokio::time::sleep(gap).await;
            frame
        })),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

struct Choice {
    matcher: Option<StopMatcher>,
    output_tokens: u32,
    /// Tokens whose chunk has more to come.
    joined: Vec<TokenId>,
}

impl Choice {
    fn new(stops: &[String]) -> Self {
        Self { matcher: (!stops.is_empty()).then(|| StopMatcher::new(stops)), output_tokens: 0, joined: Vec::new() }
    }
}

struct TokenStream {
    writer: ChunkWriter,
    usage: UsageInStream,
    head: ReplyHead,
    choices: Vec<Choice>,
    generation: Generation,
    /// Tokens that are due.
    events: Vec<Event>,
    /// Their chunks.
    out: BytesMut,
    /// Chunks until a truncated stream breaks off.
    chunks_left: Option<u64>,
    opened: bool,
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
        if !self.generation.accepts(event) {
            return;
        }
        let index = event.choice;
        let choice = &mut self.choices[index as usize];
        choice.output_tokens = event.output_tokens;
        if !std::mem::replace(&mut self.opened, true) && self.head.endpoint == Endpoint::Chat {
            self.open();
        }
        let choice = &mut self.choices[index as usize];
        if !event.ends_chunk {
            choice.joined.push(event.token);
            return;
        }
        let plain = choice.matcher.is_none() && event.finish.is_none() && !self.usage.continuous;
        if plain && choice.joined.is_empty() {
            self.write(|writer, out| writer.token(out, index, event.token));
            return;
        }
        choice.joined.push(event.token);
        let usage_follows = self.usage.at_end;
        let text = tokenizer::decode(&choice.joined);
        choice.joined.clear();
        let finish = event.finish.map(|reason| End { reason, stop: None, usage_follows });
        let (text, end) = match &mut choice.matcher {
            None => (text, finish),
            Some(matcher) => {
                let released = matcher.push(&text, finish.is_some());
                let stopped =
                    released.stopped_by.map(|stop| End { reason: FinishReason::Stop, stop: Some(stop), usage_follows });
                (released.text, stopped.or(finish))
            }
        };
        let prompt_tokens = self.head.prompt_tokens_of(index);
        let continuous = self.usage.continuous;
        let usage_of = |completion_tokens| continuous.then_some(Usage { prompt_tokens, completion_tokens });
        self.write(|writer, out| writer.text(out, index, &text, end.as_ref(), usage_of(event.output_tokens)));
        if end.is_some() {
            self.generation.stop(index);
        }
    }

    /// Opens all answers of a chat, as vLLM does when the first of them has a token.
    fn open(&mut self) {
        for index in 0..self.head.choices() {
            let usage = Usage { prompt_tokens: self.head.prompt_tokens_of(index), completion_tokens: 0 };
            let usage = self.usage.continuous.then_some(usage);
            self.write(|writer, out| writer.role(out, index, usage));
        }
    }

    fn finish(&mut self) {
        if self.usage.at_end {
            let usage = Usage {
                prompt_tokens: self.head.total_prompt_tokens(),
                completion_tokens: self.choices.iter().map(|choice| choice.output_tokens).sum(),
            };
            self.write(|writer, out| writer.usage(out, usage));
        }
        self.write(|_, out| ChunkWriter::done(out));
    }

    /// Writes one chunk, unless the stream is to break off before it.
    fn write(&mut self, chunk: impl FnOnce(&ChunkWriter, &mut BytesMut)) {
        match &mut self.chunks_left {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        chunk(&self.writer, &mut self.out);
    }
}

impl Stream for TokenStream {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if !this.out.is_empty() {
                return Poll::Ready(Some(Ok(this.out.split().freeze())));
            }
            if this.chunks_left == Some(0) {
                return this.break_off(context, Broken::Truncated);
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if this.generation.is_finished() {
                this.ended = true;
                this.finish();
                continue;
            }
            let mut events = std::mem::take(&mut this.events);
            let taken = this.generation.poll_take(context, &mut events);
            if taken == Poll::Ready(true) {
                let now = Instant::now();
                let metrics = this.state.settings.engine.metrics();
                events.iter().for_each(|event| metrics.observe_lateness(now.saturating_duration_since(event.due)));
                events.drain(..).for_each(|event| this.take(&event));
            }
            this.events = events;
            match taken {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return this.break_off(context, Broken::Interrupted),
                Poll::Ready(true) => {}
            }
        }
    }
}
