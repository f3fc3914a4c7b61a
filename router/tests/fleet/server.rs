//! One simulated server: steps of continuous batching as vLLM schedules them, and a prefix cache.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::load::{Query, TOKENS_PER_CHUNK};

/// Tokens computed in one step at most: vLLM's default for serving.
const STEP_TOKENS: u64 = 2048;

/// What a server takes for its work.
#[derive(Clone, Copy, Debug)]
pub struct ServerSpec {
    /// Sequences that run at once.
    pub max_num_seqs: usize,
    /// Time of a step that computes next to nothing, in microseconds.
    pub step_us: u64,
    /// Added for each token of a prompt.
    pub prefill_us_per_token: f64,
    /// Added for each sequence that decodes.
    pub decode_us: u64,
    /// Chunks that the cache keeps.
    pub cache_chunks: usize,
    /// One step in so many takes twenty times as long, as on a busy machine; 0 for none.
    pub hiccups: u64,
}

/// What happened to a query at the end of a step.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    FirstToken(usize),
    Ended(usize),
}

#[derive(Clone, Debug)]
struct Job {
    index: usize,
    path: Vec<u64>,
    prompt_tokens: u64,
    prefill_left: u64,
    output_left: u64,
    /// Tokens of its prompt in the step under way; 0 for one that decodes.
    scheduled: u64,
}

#[derive(Clone, Debug)]
pub struct Server {
    spec: ServerSpec,
    waiting: VecDeque<Job>,
    running: Vec<Job>,
    is_stepping: bool,
    /// When each cached chunk was used last, and the chunks by that time.
    used: HashMap<u64, u64>,
    by_use: BTreeMap<u64, u64>,
    clock: u64,
    /// Advances a generator of numbers.
    steps: u64,
}

impl Server {
    pub fn new(spec: ServerSpec, seed: u64) -> Self {
        Self {
            spec,
            waiting: VecDeque::new(),
            running: Vec::new(),
            is_stepping: false,
            used: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            steps: seed,
        }
    }

    pub fn is_stepping(&self) -> bool {
        self.is_stepping
    }

    pub fn cached_tokens(&self, query: &Query) -> u64 {
        self.cached(&query.path).min(query.tokens() - 1)
    }

    pub fn enqueue(&mut self, index: usize, query: &Query) {
        self.waiting.push_back(Job {
            index,
            path: query.path.clone(),
            prompt_tokens: query.tokens(),
            prefill_left: 0,
            output_left: query.output_tokens,
            scheduled: 0,
        });
    }

    /// Begins a step and returns its duration in microseconds; none if there is nothing to do.
    pub fn begin_step(&mut self) -> Option<u64> {
        while self.running.len() < self.spec.max_num_seqs
            && let Some(mut job) = self.waiting.pop_front()
        {
            // The last token is always computed: its logits are needed.
            job.prefill_left = job.prompt_tokens - self.cached(&job.path).min(job.prompt_tokens - 1);
            self.running.push(job);
        }
        self.is_stepping = !self.running.is_empty();
        if !self.is_stepping {
            return None;
        }
        let (mut budget, mut decoding) = (STEP_TOKENS, 0);
        for job in &mut self.running {
            job.scheduled = job.prefill_left.min(budget);
            budget -= job.scheduled;
            decoding += u64::from(job.prefill_left == 0);
        }
        let prefill_us = self.spec.prefill_us_per_token * (STEP_TOKENS - budget) as f64;
        let usual_us = self.spec.step_us + prefill_us as u64 + decoding * self.spec.decode_us;
        self.steps = self.steps.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_hiccup = self.spec.hiccups > 0 && (self.steps >> 33).is_multiple_of(self.spec.hiccups);
        Some(if is_hiccup { 20 * usual_us } else { usual_us })
    }

    /// Steps after the one under way that are like it and end no sequence, as long as nothing comes; 0 where steps differ.
    pub fn equal_steps(&self) -> u64 {
        let decodes_only = self.spec.hiccups == 0 && self.running.iter().all(|job| job.prefill_left == 0);
        let ends_after = self.running.iter().map(|job| job.output_left).min().unwrap_or(1);
        if decodes_only { ends_after - 1 } else { 0 }
    }

    /// Takes so many steps at once, of those that [`Self::equal_steps`] counts.
    pub fn skip(&mut self, steps: u64) {
        self.running.iter_mut().for_each(|job| job.output_left -= steps);
    }

    pub fn end_step(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for mut job in std::mem::take(&mut self.running) {
            let was_decoding = job.prefill_left == 0;
            job.prefill_left -= job.scheduled;
            if job.prefill_left > 0 {
                self.running.push(job);
                continue;
            }
            job.output_left -= 1;
            if !was_decoding {
                self.keep(&job.path);
                events.push(Event::FirstToken(job.index));
            }
            if job.output_left == 0 {
                events.push(Event::Ended(job.index));
            } else {
                self.running.push(job);
            }
        }
        events
    }

    fn cached(&self, path: &[u64]) -> u64 {
        path.iter().take_while(|chunk| self.used.contains_key(chunk)).count() as u64 * TOKENS_PER_CHUNK
    }

    fn keep(&mut self, path: &[u64]) {
        // The end of a prompt is evicted before its beginning.
        for chunk in path.iter().rev() {
            self.clock += 1;
            if let Some(before) = self.used.insert(*chunk, self.clock) {
                self.by_use.remove(&before);
            }
            self.by_use.insert(self.clock, *chunk);
        }
        while self.used.len() > self.spec.cache_chunks
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.used.remove(&oldest);
        }
    }
}
