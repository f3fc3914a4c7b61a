//! A closed loop in virtual time: a fixed number of requests in flight, each next one sent when another ends.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::engine::{Begin, Delivery, Engine, NewRequest, RequestId, SamplingKey, SubmitError, TokenId};

/// What a client saw of a request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Served {
    /// When it was sent.
    pub sent: Duration,
    /// When each of its tokens came.
    pub tokens: Vec<Duration>,
    /// When each of its chunks came, which can hold several tokens.
    pub chunks: Vec<Duration>,
}

impl Served {
    /// Time to the first token, in milliseconds; `None` without tokens.
    #[must_use]
    pub fn ttft_ms(&self) -> Option<f64> {
        self.tokens.first().map(|first| milliseconds(*first - self.sent))
    }

    /// Gaps between chunks, in milliseconds: what clients that know no token boundaries report as ITL.
    pub fn itls_ms(&self) -> impl Iterator<Item = f64> {
        self.chunks.windows(2).map(|pair| milliseconds(pair[1] - pair[0]))
    }
}

/// Tokens a second over the middle half of the tokens, where all places are taken.
#[must_use]
pub fn steady_throughput(served: &[Served]) -> f64 {
    let mut times: Vec<Duration> = served.iter().flat_map(|request| request.tokens.iter().copied()).collect();
    times.sort_unstable();
    let (first, last) = (times.len() / 4, times.len() * 3 / 4);
    (last - first) as f64 / (times[last] - times[first]).as_secs_f64()
}

/// Serves `requests` random prompts of `input_tokens` with `concurrency` in flight, and returns them in order.
///
/// # Errors
/// When the engine's settings do not take such a request.
pub fn closed_loop(
    mut engine: Engine,
    concurrency: usize,
    requests: usize,
    input_tokens: usize,
    output_tokens: u32,
) -> Result<Vec<Served>, SubmitError> {
    let mut served = vec![Served::default(); requests];
    let mut unsent: VecDeque<usize> = (0..requests).collect();
    let mut index_of: HashMap<RequestId, usize> = HashMap::new();
    let mut now = Duration::ZERO;
    let mut places = concurrency;
    loop {
        for index in unsent.drain(..places.min(unsent.len())) {
            let id = RequestId(index as u64);
            engine.submit(random_request(id, now, index, input_tokens, output_tokens))?;
            index_of.insert(id, index);
            served[index].sent = now;
        }
        places = 0;
        let ends = match engine.begin_step(now) {
            Begin::Step { ends, batch: _, computing_share: _ } => Some(ends),
            Begin::IdleUntil(time) => {
                now = time;
                None
            }
            Begin::Idle => return Ok(served),
        };
        if let Some(ends) = ends {
            now = engine.next_delivery().map_or(ends, |delivery| delivery.min(ends));
            if now == ends {
                engine.finish_step();
            }
        }
        for delivery in engine.deliver(now) {
            let Delivery { request, token: _, output_tokens: _, finish, at, ends_chunk } = delivery;
            let served = &mut served[index_of[&request]];
            served.tokens.push(at);
            served.chunks.extend(ends_chunk.then_some(at));
            places += usize::from(finish.is_some());
        }
    }
}

/// A prompt that shares nothing with those of other indices.
fn random_request(
    id: RequestId,
    arrival: Duration,
    index: usize,
    input_tokens: usize,
    output_tokens: u32,
) -> NewRequest {
    let first = (index as u32).wrapping_mul(0x9E37_79B9);
    let prompt: Vec<TokenId> = (0..input_tokens).map(|position| TokenId(first.wrapping_add(position as u32))).collect();
    NewRequest {
        id,
        arrival,
        sampling_key: SamplingKey::new(0, None, &prompt, 0),
        prompt,
        max_tokens: output_tokens,
        natural_tokens: None,
        streams: true,
        cache_salt: None,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
