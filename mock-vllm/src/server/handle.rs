//! The engine as its server sees it: submissions go in, tokens come out, in real time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::mailbox::{Receiver, Sender, mailbox};
use super::metrics::Metrics;
use crate::engine::{
    Begin, Delivery, Engine, FinishReason, NewRequest, RequestId, SamplingKey, Snapshot, SubmitError, TokenId,
};
use crate::gpu::{Board, Load, LoadMeter};

/// Shared access to one engine, its metrics and its load.
#[derive(Clone)]
pub struct EngineHandle(Arc<Shared>);

struct Shared {
    live: Mutex<Live>,
    /// Signalled when a request was submitted.
    submitted: Notify,
    metrics: Metrics,
    board: Board,
    origin: Instant,
}

struct Live {
    engine: Engine,
    sinks: HashMap<RequestId, Sink>,
    next_id: u64,
    meter: LoadMeter,
    closed: bool,
}

struct Sink {
    sender: Sender<Event>,
    choice: u32,
}

/// One answer that is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Submission {
    /// Prompt.
    pub prompt: Vec<TokenId>,
    /// Output tokens after which it is cut off.
    pub max_tokens: u32,
    /// Output tokens after which the model ends by itself.
    pub natural_tokens: Option<u32>,
    /// Whether tokens leave as they come.
    pub streams: bool,
    /// Salt of the prefix cache.
    pub cache_salt: Option<String>,
    /// What the sampled tokens depend on.
    pub sampling_key: SamplingKey,
}

/// One token of one answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Index of the answer among those that were submitted together.
    pub choice: u32,
    /// The token.
    pub token: TokenId,
    /// Output tokens of this answer so far.
    pub output_tokens: u32,
    /// Set on the last token.
    pub finish: Option<FinishReason>,
    /// When the token should leave for the client.
    pub due: Instant,
    /// Whether the chunk ends with it; else the answer's next token is part of the same chunk.
    pub ends_chunk: bool,
}

impl EngineHandle {
    /// Wraps an engine that starts now.
    #[must_use]
    pub fn new(engine: Engine, metrics: Metrics, board: Board) -> Self {
        Self(Arc::new(Shared {
            live: Mutex::new(Live {
                engine,
                sinks: HashMap::new(),
                next_id: 0,
                meter: LoadMeter::default(),
                closed: false,
            }),
            submitted: Notify::new(),
            metrics,
            board,
            origin: Instant::now(),
        }))
    }

    /// A panic while the lock is held would have ended the server's task; the state is still usable for the others.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.origin.elapsed()
    }

    /// The moment that lies `time` after the start.
    #[must_use]
    pub fn instant(&self, time: Duration) -> Instant {
        self.0.origin + time
    }

    /// Whether a request of that size could be served.
    ///
    /// # Errors
    /// See [`Engine::check`].
    pub fn check(&self, prompt_tokens: usize, max_tokens: u32) -> Result<(), SubmitError> {
        self.live().engine.check(prompt_tokens, max_tokens)
    }

    /// Submits answers that belong together, `choices_per_prompt` to each prompt; all or none.
    ///
    /// # Errors
    /// When one of them can never be served.
    pub fn submit(&self, submissions: Vec<Submission>, choices_per_prompt: u32) -> Result<Generation, SubmitError> {
        let arrival = self.elapsed();
        let (sender, events) = mailbox();
        let mut live = self.live();
        for submission in &submissions {
            live.engine.check(submission.prompt.len(), submission.max_tokens)?;
        }
        let mut open = Vec::with_capacity(submissions.len());
        for (choice, submission) in (0..).zip(submissions) {
            let Submission { prompt, max_tokens, natural_tokens, streams, cache_salt, sampling_key } = submission;
            let id = RequestId(live.next_id);
            live.next_id += 1;
            live.engine.submit(NewRequest {
                id,
                arrival,
                prompt,
                max_tokens,
                natural_tokens,
                streams,
                cache_salt,
                sampling_key,
            })?;
            if !live.closed {
                live.sinks.insert(id, Sink { sender: sender.clone(), choice });
            }
            open.push(Some(id));
        }
        drop(live);
        self.0.submitted.notify_one();
        let groups = vec![Group::default(); open.len().div_ceil(choices_per_prompt.max(1) as usize)];
        Ok(Generation { handle: self.clone(), events, open, choices_per_prompt, groups })
    }

    /// Completes when a request was submitted since the last call.
    pub(super) async fn submitted(&self) {
        self.0.submitted.notified().await;
    }

    pub(super) fn begin_step(&self, now: Duration) -> Begin {
        let mut live = self.live();
        let begun = live.engine.begin_step(now);
        if let Begin::Step { ends, batch, computing_share } = begun {
            live.meter.record(&self.0.board, now, ends, &batch, computing_share);
        }
        begun
    }

    pub(super) fn finish_step(&self) {
        let mut live = self.live();
        let Some(outcome) = live.engine.finish_step() else { return };
        let counters = live.engine.snapshot().counters;
        drop(live);
        self.0.metrics.observe_step(&outcome, &counters);
    }

    /// When tokens may be due next, see [`Engine::next_delivery`].
    pub(super) fn next_delivery(&self) -> Option<Duration> {
        self.live().engine.next_delivery()
    }

    /// Gives connections the tokens that are due by `now`.
    pub(super) fn deliver(&self, now: Duration) {
        let mut live = self.live();
        for delivery in live.engine.deliver(now) {
            let Delivery { request, token, output_tokens, finish, at, ends_chunk } = delivery;
            let Some(sink) = live.sinks.get(&request) else { continue };
            let due = self.instant(at);
            sink.sender.send(Event { choice: sink.choice, token, output_tokens, finish, due, ends_chunk });
            if finish.is_some() {
                live.sinks.remove(&request);
            }
        }
    }

    /// Breaks off all answers, present and future.
    pub(super) fn close(&self) {
        let mut live = self.live();
        live.closed = true;
        live.sinks.clear();
    }

    /// Load of the GPU since the last call.
    pub(super) fn take_load(&self) -> Load {
        let until = self.elapsed();
        self.live().meter.take(until)
    }

    /// Sets the GPU's clock as a share of the usual one.
    pub(super) fn set_speed(&self, speed: f64) {
        self.live().engine.set_speed(speed);
    }

    /// Empties the prefix cache, see [`Engine::reset_prefix_cache`].
    #[must_use]
    pub fn reset_prefix_cache(&self, preempt: bool) -> bool {
        self.live().engine.reset_prefix_cache(preempt)
    }

    /// The engine's state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.live().engine.snapshot()
    }

    fn abort(&self, id: RequestId) -> bool {
        let mut live = self.live();
        live.sinks.remove(&id);
        live.engine.abort(id)
    }
}

/// Answers on their way; dropping it aborts those that are not finished.
pub struct Generation {
    handle: EngineHandle,
    events: Receiver<Event>,
    /// The unfinished answers' ids, by choice.
    open: Vec<Option<RequestId>>,
    choices_per_prompt: u32,
    /// What the answers to each prompt have come to.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Default)]
struct Group {
    ended: u32,
    most_output_tokens: u32,
}

impl Generation {
    /// Moves the tokens that are due to the end of `into`; ready with `false` when none will come any more.
    pub fn poll_take(&self, context: &Context<'_>, into: &mut Vec<Event>) -> Poll<bool> {
        self.events.poll_take(context, into)
    }

    /// Waits for tokens, as [`Self::poll_take`].
    pub async fn take(&self, into: &mut Vec<Event>) -> bool {
        std::future::poll_fn(|context| self.poll_take(context, into)).await
    }

    /// Whether a token still belongs to its answer: one that a stop string has ended may have others under way.
    pub fn accepts(&mut self, event: &Event) -> bool {
        let open = &mut self.open[event.choice as usize];
        if open.is_none() {
            return false;
        }
        if event.finish.is_some() {
            *open = None;
        }
        let group = &mut self.groups[(event.choice / self.choices_per_prompt) as usize];
        group.most_output_tokens = group.most_output_tokens.max(event.output_tokens);
        if event.finish.is_some() {
            self.end(event.choice);
        }
        true
    }

    fn end(&mut self, choice: u32) {
        let group = &mut self.groups[(choice / self.choices_per_prompt) as usize];
        group.ended += 1;
        if group.ended == self.choices_per_prompt {
            self.handle.metrics().observe_prompt(self.choices_per_prompt, group.most_output_tokens);
        }
    }

    /// Whether every answer has had its last token.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }

    /// Ends an answer after a stop string.
    pub fn stop(&mut self, choice: u32) {
        if let Some(id) = self.open[choice as usize].take() {
            self.handle.abort(id);
            self.handle.metrics().count_stopped();
            self.end(choice);
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        for id in self.open.iter().flatten() {
            if self.handle.abort(*id) {
                self.handle.metrics().count_aborted();
            }
        }
    }
}
