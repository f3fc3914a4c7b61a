//! The scheduler: which tokens the next step computes, and what becomes of them.
//!
//! The rules are those of vLLM V1: running requests first, in the order of their admission; then waiting ones, first
//! come first served, with what is left of the token budget; a prompt that exceeds the budget is computed in chunks;
//! when blocks run out, the request admitted last gives up its own and starts over.

use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error;

use super::api_server::ApiServer;
use super::block_hash::BLOCK_TOKENS;
use super::block_pool::BlockPool;
use super::config::{ConfigError, EngineConfig};
use super::cost::{Batch, StepCost};
use super::outcome::{Begin, Counters, Delivery, Emission, FinishReason, Snapshot, StepOutcome};
use super::request::{NewRequest, Request, RequestId};
use super::sampler::output_token;

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SubmitError {
    /// There is nothing to compute.
    #[error("the prompt has no tokens: give at least one")]
    EmptyPrompt,
    /// There is nothing to yield.
    #[error("max_tokens is 0: give at least 1")]
    NoOutput,
    /// It could never fit.
    #[error("{prompt_tokens} prompt tokens and {max_tokens} output tokens exceed the model length {max_model_len}")]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Requested output tokens.
        max_tokens: u32,
        /// `--max-model-len`.
        max_model_len: u32,
    },
}

/// One simulated engine: scheduler, KV blocks, prefix cache and the cost of its steps.
#[derive(Clone, Debug)]
pub struct Engine {
    config: EngineConfig,
    cost: StepCost,
    speed: f64,
    pool: BlockPool,
    api_server: ApiServer,
    waiting: VecDeque<Request>,
    /// In the order of admission.
    running: Vec<Request>,
    in_flight: Option<InFlight>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    ends: Duration,
    batch: Batch,
    computing_share: f64,
}

impl InFlight {
    fn begun(self) -> Begin {
        let Self { ends, batch, computing_share } = self;
        Begin::Step { ends, batch, computing_share }
    }
}

impl Engine {
    /// An engine without requests and with an empty cache.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(config: EngineConfig, cost: StepCost) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            cost,
            speed: 1.0,
            pool: BlockPool::new(config.usable_blocks()),
            api_server: ApiServer::new(cost.api_server),
            waiting: VecDeque::new(),
            running: Vec::new(),
            in_flight: None,
            counters: Counters::default(),
        })
    }

    /// Sets the GPU's clock for the steps to come, as a share of the usual one.
    pub fn set_speed(&mut self, speed: f64) {
        self.speed = speed;
    }

    /// Whether [`Self::submit`] would take a request of that size.
    ///
    /// # Errors
    /// When the prompt or the output is empty, or both together exceed the model's length.
    pub fn check(&self, prompt_tokens: usize, max_tokens: u32) -> Result<(), SubmitError> {
        let max_model_len = self.config.max_model_len;
        if prompt_tokens == 0 {
            Err(SubmitError::EmptyPrompt)
        } else if max_tokens == 0 {
            Err(SubmitError::NoOutput)
        } else if prompt_tokens as u64 + u64::from(max_tokens) > u64::from(max_model_len) {
            Err(SubmitError::TooLong { prompt_tokens, max_tokens, max_model_len })
        } else {
            Ok(())
        }
    }

    /// Appends a request to the queue. Arrivals must not go back in time.
    ///
    /// # Errors
    /// See [`Self::check`].
    pub fn submit(&mut self, new: NewRequest) -> Result<(), SubmitError> {
        self.check(new.prompt.len(), new.max_tokens)?;
        self.advance_api_server(new.arrival);
        self.api_server.receive(Request::new(new));
        Ok(())
    }

    /// Lets the API server work up to `now`, and queues the requests that it is done with.
    fn advance_api_server(&mut self, now: Duration) {
        self.api_server.advance(now);
        while let Some((done, mut request)) = self.api_server.pop_admitted() {
            request.eligible = done + self.cost.request();
            self.waiting.push_back(request);
        }
    }

    /// When tokens may leave the API server next; `None` when it has nothing to do.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Duration> {
        self.api_server.next_delivery()
    }

    /// The tokens that leave the API server by `now` and were not yet taken, in the order of their times.
    pub fn deliver(&mut self, now: Duration) -> Vec<Delivery> {
        self.advance_api_server(now);
        self.api_server.take_delivered()
    }

    /// Drops a request at once and frees its blocks; `false` when it is not (or no longer) known.
    pub fn abort(&mut self, id: RequestId) -> bool {
        let arriving = self.api_server.remove(id);
        if let Some(index) = self.running.iter().position(|request| request.id == id) {
            let request = self.running.remove(index);
            self.pool.release(&request.blocks);
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|request| request.id != id);
        arriving || self.waiting.len() < before
    }

    /// Empties the prefix cache; refused while any request holds blocks, unless running requests are preempted first.
    pub fn reset_prefix_cache(&mut self, preempt: bool) -> bool {
        while preempt && !self.running.is_empty() {
            self.preempt_last();
        }
        self.pool.reset()
    }

    /// What can be seen from outside.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            running: self.running.len(),
            waiting: self.waiting.len() + self.api_server.requests(),
            kv_cache_usage: 1.0 - self.pool.free() as f64 / self.pool.total() as f64,
            counters: self.counters,
        }
    }

    /// Schedules a step that starts at `now`. While a step is in flight, answers with that one.
    pub fn begin_step(&mut self, now: Duration) -> Begin {
        if let Some(step) = self.in_flight {
            return step.begun();
        }
        self.advance_api_server(now);
        let mut budget = self.config.max_num_batched_tokens as usize;
        let preempted = self.schedule_running(&mut budget);
        let new_requests = if preempted { 0 } else { self.admit_waiting(now, &mut budget) };
        if self.running.is_empty() {
            let queued = self.waiting.front().map(|request| request.eligible);
            let next = queued.into_iter().chain(self.api_server.next_end()).min();
            return next.map_or(Begin::Idle, |time| Begin::IdleUntil(time.max(now)));
        }
        let batch = self.batch(new_requests);
        let graph = batch.tokens() <= self.config.graph_tokens();
        let time = self.cost.step(&batch, graph, self.speed);
        let step = InFlight { ends: now + time.duration, batch, computing_share: time.computing_share };
        self.in_flight = Some(step);
        step.begun()
    }

    /// Ends the step in flight, yields its tokens and gives them to the API server; `None` when there is none.
    pub fn finish_step(&mut self) -> Option<StepOutcome> {
        let InFlight { ends: ended, batch, computing_share: _ } = self.in_flight.take()?;
        let mut emissions = Vec::with_capacity(batch.output_tokens as usize);
        for request in &mut self.running {
            let yields = request.yields_token();
            request.computed_tokens += std::mem::take(&mut request.scheduled_tokens);
            if yields {
                emissions.push(emit(request, ended, &mut self.counters));
            }
        }
        let pool = &mut self.pool;
        let mut emission = emissions.iter().peekable();
        self.running.retain(|request| {
            let finished =
                emission.next_if(|emission| emission.request == request.id).is_some_and(|e| e.finish.is_some());
            if finished {
                pool.release(&request.blocks);
            }
            !finished
        });
        self.advance_api_server(ended);
        self.api_server.hand_out(ended, &emissions);
        Some(StepOutcome { ended, batch, emissions })
    }

    /// Gives each running request its tokens; `true` when one had to be preempted.
    fn schedule_running(&mut self, budget: &mut usize) -> bool {
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let request = &mut self.running[index];
            let tokens = request.pending_tokens().min(*budget);
            let missing = request.missing_blocks(request.computed_tokens + tokens);
            if let Some(fresh) = self.pool.acquire(&[], missing) {
                request.blocks.extend(fresh);
                request.scheduled_tokens = tokens;
                *budget -= tokens;
                register_full_blocks(&mut self.pool, self.config.enable_prefix_caching, request);
                index += 1;
            } else {
                self.preempt_last();
                preempted = true;
            }
        }
        preempted
    }

    fn preempt_last(&mut self) {
        if let Some(mut request) = self.running.pop() {
            self.pool.release(&std::mem::take(&mut request.blocks));
            request.registered_blocks = 0;
            request.computed_tokens = 0;
            request.scheduled_tokens = 0;
            self.counters.preemptions += 1;
            self.waiting.push_front(request);
        }
    }

    /// Lets waiting requests run while there is room, and returns how many.
    fn admit_waiting(&mut self, now: Duration, budget: &mut usize) -> u32 {
        let mut admitted = 0;
        while *budget > 0 && self.running.len() < self.config.max_num_seqs as usize {
            let Some(request) = self.waiting.front_mut().filter(|request| request.eligible <= now) else { break };
            let hits = if self.config.enable_prefix_caching {
                // The last token is always computed, since its output is what the first new token is sampled from.
                let reusable = (request.tokens.len() - 1) / BLOCK_TOKENS;
                self.pool.longest_prefix(&request.hashes[..reusable])
            } else {
                Vec::new()
            };
            let cached = hits.len() * BLOCK_TOKENS;
            let tokens = (request.tokens.len() - cached).min(*budget);
            let missing = request.missing_blocks(cached + tokens) - hits.len();
            // A prompt that is computed in chunks is admitted only when all of it fits, lest it be preempted midway.
            let whole = request.missing_blocks(request.tokens.len()) - hits.len();
            if !self.pool.fits(&hits, whole) {
                break;
            }
            let Some(blocks) = self.pool.acquire(&hits, missing) else { break };
            request.blocks = blocks;
            request.registered_blocks = hits.len();
            request.computed_tokens = cached;
            request.scheduled_tokens = tokens;
            *budget -= tokens;
            if request.times.scheduled.is_none() {
                request.times.scheduled = Some(now);
                request.cached_prompt_tokens = cached;
                if self.config.enable_prefix_caching {
                    self.counters.prefix_cache_queries += request.tokens.len() as u64;
                    self.counters.prefix_cache_hits += cached as u64;
                }
            }
            register_full_blocks(&mut self.pool, self.config.enable_prefix_caching, request);
            self.running.extend(self.waiting.pop_front());
            admitted += 1;
        }
        admitted
    }

    fn batch(&self, new_requests: u32) -> Batch {
        let mut batch = Batch { new_requests, ..Batch::default() };
        for request in self.running.iter().filter(|request| request.scheduled_tokens > 0) {
            if request.decodes() {
                batch.decode_sequences += 1;
                batch.kv_tokens_read += self.cost.kv_read_by_decode(request.computed_tokens);
            } else {
                batch.prefill_tokens += request.scheduled_tokens as u32;
                batch.kv_tokens_read += self.cost.kv_read_by_prefill(request.computed_tokens, request.scheduled_tokens);
            }
            batch.output_tokens += u32::from(request.yields_token());
        }
        batch
    }
}

/// Makes the blocks findable that are full once the step is done. As in vLLM this happens when the step is scheduled:
/// whoever hits them is computed in the same step or later.
fn register_full_blocks(pool: &mut BlockPool, enabled: bool, request: &mut Request) {
    if !enabled {
        return;
    }
    let full = (request.computed_tokens + request.scheduled_tokens) / BLOCK_TOKENS;
    for index in request.registered_blocks..full {
        pool.register(request.blocks[index], request.hashes[index]);
    }
    request.registered_blocks = full.max(request.registered_blocks);
}

fn emit(request: &mut Request, ended: Duration, counters: &mut Counters) -> Emission {
    let token = output_token(request.sampling_key, request.output_tokens());
    request.tokens.push(token);
    request.hash_full_blocks();
    let output_tokens = request.output_tokens();
    if output_tokens == 1 {
        counters.prompt_tokens += request.prompt_tokens as u64;
        counters.prompt_tokens_cached += request.cached_prompt_tokens as u64;
        request.times.first_token = Some(ended);
    }
    counters.generation_tokens += 1;
    let since_previous = request.times.last_token.replace(ended).map(|previous| ended.saturating_sub(previous));
    let finish = if request.natural_tokens.is_some_and(|natural| output_tokens >= natural) {
        Some(FinishReason::Stop)
    } else if output_tokens >= request.max_tokens {
        Some(FinishReason::Length)
    } else {
        None
    };
    Emission {
        request: request.id,
        token,
        prompt_tokens: request.prompt_tokens as u32,
        cached_prompt_tokens: request.cached_prompt_tokens as u32,
        max_tokens: request.max_tokens as u32,
        output_tokens: output_tokens as u32,
        since_previous,
        finish,
        streams: request.streams,
        times: request.times,
    }
}
