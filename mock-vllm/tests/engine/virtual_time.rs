//! Drives an engine through virtual time, as the server's clock does through real time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::{
    Begin, Engine, EngineConfig, FinishReason, NewRequest, RequestId, SamplingKey, StepCost, StepOutcome, TokenId,
};

/// Settings that fit most tests: chunks of 64 tokens, 64 blocks that can be used.
pub const SMALL: EngineConfig = EngineConfig {
    max_num_seqs: 4,
    max_num_batched_tokens: 64,
    max_model_len: 1024,
    num_gpu_blocks: 65,
    enable_prefix_caching: true,
    enforce_eager: false,
};

/// Settings of a real server.
pub const LARGE: EngineConfig = EngineConfig {
    max_num_seqs: 128,
    max_num_batched_tokens: 8192,
    max_model_len: 16_384,
    num_gpu_blocks: 53_317,
    enable_prefix_caching: true,
    enforce_eager: false,
};

pub fn tiny(config: EngineConfig) -> Engine {
    engine(config, Profile::Tiny, false)
}

pub fn engine(config: EngineConfig, profile: Profile, confidential: bool) -> Engine {
    Engine::new(config, profile.figures().step_cost(confidential)).unwrap()
}

pub fn with_cost(config: EngineConfig, cost: StepCost) -> Engine {
    Engine::new(config, cost).unwrap()
}

/// A prompt of `tokens` tokens that shares nothing with prompts of another `owner`.
pub fn prompt(owner: u32, tokens: usize) -> Vec<TokenId> {
    (0..tokens).map(|position| TokenId(owner.wrapping_mul(0x9E37_79B9).wrapping_add(position as u32))).collect()
}

pub fn request(id: u64, arrival: Duration, prompt: Vec<TokenId>, max_tokens: u32) -> NewRequest {
    NewRequest {
        id: RequestId(id),
        arrival,
        sampling_key: SamplingKey::new(0, None, &prompt, 0),
        prompt,
        max_tokens,
        natural_tokens: None,
        streams: true,
        cache_salt: None,
    }
}

/// What a client saw of a request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Seen {
    pub arrival: Duration,
    pub tokens: Vec<TokenId>,
    pub times: Vec<Duration>,
    pub finish: Option<FinishReason>,
}

impl Seen {
    pub fn ttft_ms(&self) -> f64 {
        (self.times[0] - self.arrival).as_secs_f64() * 1e3
    }

    pub fn tpot_ms(&self) -> f64 {
        (self.times[self.times.len() - 1] - self.times[0]).as_secs_f64() * 1e3 / (self.times.len() - 1) as f64
    }
}

/// An engine, its time, and everything that came out of it.
pub struct Run {
    pub engine: Engine,
    pub now: Duration,
    pub seen: HashMap<RequestId, Seen>,
    pub steps: Vec<StepOutcome>,
}

impl Run {
    pub fn new(engine: Engine) -> Self {
        Self { engine, now: Duration::ZERO, seen: HashMap::new(), steps: Vec::new() }
    }

    pub fn submit(&mut self, new: NewRequest) {
        self.seen.insert(new.id, Seen { arrival: new.arrival, ..Seen::default() });
        self.engine.submit(new).unwrap();
    }

    /// Runs one step, skipping idle time; `None` when there is nothing left to do.
    pub fn step(&mut self) -> Option<&StepOutcome> {
        let ends = loop {
            match self.engine.begin_step(self.now) {
                Begin::Step { ends, .. } => break ends,
                Begin::IdleUntil(time) => self.now = time,
                Begin::Idle => return None,
            }
        };
        self.now = ends;
        let outcome = self.engine.finish_step()?;
        for emission in &outcome.emissions {
            let seen = self.seen.entry(emission.request).or_default();
            seen.tokens.push(emission.token);
            seen.times.push(outcome.ended);
            seen.finish = emission.finish;
        }
        self.steps.push(outcome);
        self.steps.last()
    }

    pub fn finish(&mut self) {
        while self.step().is_some() {}
    }

    pub fn get(&self, id: u64) -> &Seen {
        &self.seen[&RequestId(id)]
    }
}

/// Sends prompts with a fixed number in flight, each next one when another ends, and returns what clients saw.
pub fn closed_loop(engine: Engine, concurrency: usize, prompts: Vec<Vec<TokenId>>, output_tokens: u32) -> Run {
    let mut run = Run::new(engine);
    let mut queue: VecDeque<(u64, Vec<TokenId>)> = (0..).zip(prompts).collect();
    for (id, prompt) in queue.drain(..concurrency.min(queue.len())).collect::<Vec<_>>() {
        run.submit(request(id, Duration::ZERO, prompt, output_tokens));
    }
    while let Some(outcome) = run.step() {
        let ended = outcome.ended;
        let finished = outcome.emissions.iter().filter(|emission| emission.finish.is_some()).count();
        for (id, prompt) in queue.drain(..finished.min(queue.len())).collect::<Vec<_>>() {
            run.submit(request(id, ended, prompt, output_tokens));
        }
    }
    run
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}
