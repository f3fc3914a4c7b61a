//! The body of a worker's answer on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::access::{AccessLine, Outcome};
use super::activity::OpenRequest;
use super::error::stream_error_event;
use super::headers::remove_hop_by_hop;
use super::slot::Slot;
use super::upstream::Connection;

/// The worker broke off in the middle of its answer, so the client's connection is broken off too.
#[derive(Debug, thiserror::Error)]
#[error("the worker broke off its answer")]
pub struct BrokenAnswer {
    #[source]
    source: hyper::Error,
}

/// Passes a worker's answer on frame by frame, unparsed, and holds the request's slot until the last one.
///
/// Dropped before the end, which is what happens when the client goes away, it closes the worker's connection at once.
#[derive(Debug)]
pub struct Answer {
    inner: Incoming,
    /// None once the answer ended in one way or another.
    exchange: Option<Exchange>,
    is_event_stream: bool,
    has_begun: bool,
    breaking: Breaking,
}

/// What is held while an answer is under way.
#[derive(Debug)]
pub struct Exchange {
    /// Where the answer comes from.
    pub connection: Connection,
    /// The request's place at the worker; none for a request that needs none.
    pub slot: Option<Slot>,
    /// True if the worker's status says that it failed.
    pub is_failure: bool,
    /// The request's line of the access log, where there is one.
    pub line: Option<Box<AccessLine>>,
    /// The request on its client's connection.
    pub open: Option<OpenRequest>,
}

/// The steps in which a broken stream ends.
#[derive(Debug)]
enum Breaking {
    No,
    /// The event that names the error was handed over; it must leave before the connection is cut.
    Flush(hyper::Error),
    Cut(hyper::Error),
    Done,
}

impl Answer {
    /// The answer's body; `is_event_stream` tells that an error can be told as an event.
    pub fn new(inner: Incoming, exchange: Exchange, is_event_stream: bool) -> Self {
        let mut answer =
            Self { inner, exchange: Some(exchange), is_event_stream, has_begun: false, breaking: Breaking::No };
        if answer.inner.is_end_stream() {
            // Nobody asks an empty body for its frames.
            answer.complete();
        }
        answer
    }

    /// The same, keeping its request open until it ends.
    pub fn keeping(mut self, open: OpenRequest) -> Self {
        if let Some(exchange) = &mut self.exchange {
            exchange.open = Some(open);
        }
        self
    }

    /// Notes the first token: engines send nothing of a stream before it.
    fn begin(&mut self) {
        self.has_begun = true;
        if let Some(Exchange { slot: Some(slot), is_failure: false, .. }) = &self.exchange
            && self.is_event_stream
        {
            slot.epoch().state().engine.first_token(slot.flight(), slot.epoch().now());
            slot.epoch().exchange.note_news();
        }
    }

    fn note_passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(Exchange { line: Some(line), .. }) = &mut self.exchange
            && let Some(data) = frame.data_ref()
        {
            line.passed(data.len());
        }
    }

    fn complete(&mut self) {
        let Some(Exchange { connection, slot, is_failure, line, open: _ }) = self.exchange.take() else { return };
        connection.put_back();
        if let Some(mut line) = line {
            line.end(Outcome::Whole);
        }
        if let Some(slot) = slot {
            let mut state = slot.epoch().state();
            if is_failure {
                state.engine.failed(slot.worker());
            } else {
                state.engine.succeeded(slot.flight(), slot.epoch().now());
            }
            drop(state);
        }
    }

    fn fail(&mut self) {
        let Some(Exchange { connection, slot, is_failure: _, line, open: _ }) = self.exchange.take() else { return };
        drop(connection);
        if let Some(mut line) = line {
            line.end(Outcome::Broken);
        }
        if let Some(slot) = slot {
            slot.epoch().state().engine.failed(slot.worker());
            slot.epoch().metrics.workers[slot.worker().at()].errors.inc();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        match std::mem::replace(&mut self.breaking, Breaking::Done) {
            Breaking::No => self.breaking = Breaking::No,
            Breaking::Flush(source) => {
                // The server writes what it has whenever the body has nothing more for the moment.
                self.breaking = Breaking::Cut(source);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Breaking::Cut(source) => return Poll::Ready(Some(Err(BrokenAnswer { source }))),
            Breaking::Done => return Poll::Ready(None),
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(mut frame)) => {
                if !self.has_begun {
                    self.begin();
                }
                if let Some(trailers) = frame.trailers_mut() {
                    remove_hop_by_hop(trailers);
                }
                self.note_passed(&frame);
                if self.inner.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
            Some(Err(source)) => {
                self.fail();
                if self.is_event_stream {
                    self.breaking = Breaking::Flush(source);
                    return Poll::Ready(Some(Ok(Frame::data(stream_error_event()))));
                }
                self.breaking = Breaking::Done;
                Poll::Ready(Some(Err(BrokenAnswer { source })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.breaking, Breaking::No | Breaking::Done) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(Exchange { slot: Some(slot), .. }) = &self.exchange {
            slot.epoch().metrics.cancelled.inc();
        }
    }
}
