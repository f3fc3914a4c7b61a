//! Makes a record of a request from the events of its stream.

use std::sync::Arc;

use super::chunk::{Chunk, Content, StreamEvent};
use super::clock::{Clock, seconds};
use super::progress::Counters;
use super::sse::EventTooLong;
use crate::record::{RequestRecord, Usage};

/// What has been seen of one request so far; instants are the run clock's nanoseconds.
pub(super) struct Recorder {
    keep_text: bool,
    counters: Arc<Counters>,
    start_ns: u64,
    first_chunk_ns: Option<u64>,
    first_output_ns: Option<u64>,
    last_output_ns: u64,
    itls_s: Vec<f64>,
    text: String,
    usage: Option<Usage>,
    failure: Option<StreamFailure>,
}

/// Why a stream is a failure though it came with HTTP 200.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamFailure {
    #[error("the server reported an error in the stream: {0}")]
    Reported(String),
    #[error("an event of the stream is no JSON object of a completion")]
    Unreadable(#[source] serde_json::Error),
    #[error(transparent)]
    TooLong(#[from] EventTooLong),
    #[error("the stream ended without output")]
    NoOutput,
}

/// What the dispatcher knows of a request; instants are the run clock's nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dispatch {
    pub(super) index: usize,
    pub(super) target: usize,
    pub(super) expected_prompt_tokens: u32,
    pub(super) intended_ns: u64,
    pub(super) arrived_ns: u64,
    /// When the concurrency limit let it through.
    pub(super) admitted_ns: u64,
}

impl Recorder {
    pub(super) fn start(clock: &Clock, max_tokens: u32, keep_text: bool, counters: Arc<Counters>) -> Recorder {
        Recorder {
            keep_text,
            counters,
            start_ns: clock.now_ns(),
            first_chunk_ns: None,
            first_output_ns: None,
            last_output_ns: 0,
            // Usually a chunk is a token, so that the list never grows; bounded, for a cap can be far above the output.
            itls_s: Vec::with_capacity(max_tokens.saturating_sub(1).min(1024) as usize),
            text: String::new(),
            usage: None,
            failure: None,
        }
    }

    /// Takes the data of an event whose last byte was read at `read_ns`.
    pub(super) fn on_event(&mut self, data: &[u8], read_ns: u64) {
        if data.is_empty() || self.failure.is_some() {
            return;
        }
        match StreamEvent::parse(data) {
            Ok(StreamEvent::Done) => {}
            Ok(StreamEvent::Error(message)) => self.failure = Some(StreamFailure::Reported(message)),
            Ok(StreamEvent::Chunk(chunk)) => self.on_chunk(chunk, read_ns),
            Err(source) => self.failure = Some(StreamFailure::Unreadable(source)),
        }
    }

    fn on_chunk(&mut self, chunk: Chunk<'_>, read_ns: u64) {
        let Chunk { content, usage } = chunk;
        self.usage = usage.or(self.usage);
        match content {
            Content::None => {}
            Content::Frame => {
                self.first_chunk_ns.get_or_insert(read_ns);
            }
            Content::Output(text) => {
                self.first_chunk_ns.get_or_insert(read_ns);
                match self.first_output_ns {
                    None => {
                        self.first_output_ns = Some(read_ns);
                        self.counters.first_output(read_ns.saturating_sub(self.start_ns));
                    }
                    Some(_) => self.itls_s.push(seconds(read_ns - self.last_output_ns)),
                }
                self.last_output_ns = read_ns;
                self.counters.output_chunk();
                if self.keep_text {
                    self.text.push_str(&text);
                }
            }
        }
    }

    /// Whether the stream, now at its end, is a success.
    pub(super) fn verdict(&mut self) -> Result<(), StreamFailure> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if self.first_output_ns.is_none() => Err(StreamFailure::NoOutput),
            None => Ok(()),
        }
    }

    /// The latency up to the latest output.
    pub(super) fn latency_s(&self) -> f64 {
        self.first_output_ns.map_or(0.0, |_| seconds(self.last_output_ns.saturating_sub(self.start_ns)))
    }

    /// The record; a failure keeps what was measured before it.
    pub(super) fn finish(self, dispatch: Dispatch, clock: &Clock, error: Option<String>) -> RequestRecord {
        let end_ns = clock.now_ns();
        let latency_s = if error.is_none() { self.latency_s() } else { 0.0 };
        let since_start_s = |instant_ns: u64| seconds(instant_ns.saturating_sub(self.start_ns));
        let Dispatch { index, target, expected_prompt_tokens, intended_ns, arrived_ns, admitted_ns } = dispatch;
        let mut itls_s = self.itls_s;
        itls_s.shrink_to_fit();
        RequestRecord {
            index,
            target,
            expected_prompt_tokens,
            usage: self.usage,
            intended_s: clock.monotonic_s(intended_ns),
            start_s: clock.monotonic_s(self.start_ns),
            queue_s: seconds(self.start_ns.saturating_sub(arrived_ns)),
            lateness_s: seconds(self.start_ns.saturating_sub(intended_ns.max(admitted_ns))),
            ttft_first_chunk_s: self.first_chunk_ns.map(since_start_s),
            ttft_s: self.first_output_ns.map(since_start_s),
            itls_s,
            latency_s,
            end_s: clock.monotonic_s(end_ns),
            text: self.text,
            error,
        }
    }
}
