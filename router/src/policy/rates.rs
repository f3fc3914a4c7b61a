//! What a router learns about its workers' pace from the answers it passes on: the time that a prompt's tokens take, and
//! the wait behind the requests that a worker has already.
//!
//! Both are learned over all workers together, for they are of one kind, and a factor for each worker tells how much
//! slower or faster than the others it is ([`super::worker`]). Nothing is asked of the workers.

use super::worker::Ewma;

/// Prefill time assumed before any is measured, in milliseconds per token: 100,000 tokens per second, which a model of a
/// billion parameters reaches on one current GPU. Larger models are slower, so this errs towards balance.
const PRIOR_PREFILL_MS: f64 = 0.01;

/// Bounds of the learned prefill time in milliseconds per token.
const PREFILL_BOUNDS_MS: (f64, f64) = (0.0, 1.0);

/// What a token that must be computed costs at least, in milliseconds: half a million tokens per second.
const LEAST_PREFILL_MS: f64 = 0.002;

/// Weight of the prior in tokens squared: four prompts that differ from the mean by a thousand tokens outweigh it.
const PRIOR_WEIGHT: f64 = 4.0e6;

/// Share that an observation keeps when the next one comes: the last fifty or so count.
const MEMORY: f64 = 0.98;

/// Wait assumed for each request in flight before any is measured, in milliseconds. It is small, for an engine below its
/// limit of sequences takes a request at once; waits that are there show up with the first answers.
const PRIOR_WAIT_MS: f64 = 0.5;

/// The time to the first token of a request that met `ahead` requests at its worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstToken {
    /// Requests that the worker had when this one was sent.
    pub ahead: u32,
    /// Tokens of prompts that the worker had to compute: of this one what it did not hold, and of those before it.
    pub computed_tokens: u64,
    /// Time from sending to the first token, in milliseconds.
    pub elapsed_ms: f64,
}

/// All that was learned in an epoch.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    prefill: Prefill,
    waits: WaitCurve,
}

impl Rates {
    /// True before the first observation.
    pub fn is_empty(&self) -> bool {
        self.waits.fit.is_empty()
    }

    /// Takes what one answer showed.
    pub fn observe(&mut self, seen: FirstToken) {
        let FirstToken { ahead, computed_tokens, elapsed_ms } = seen;
        if ahead <= 1 {
            // Behind a queue the wait hides the few milliseconds that a prompt takes.
            self.prefill.observe(computed_tokens as f64, elapsed_ms);
        }
        self.waits.observe(ahead, elapsed_ms - self.backlog_ms(computed_tokens));
    }

    /// Takes the time from the sending of a request to its last byte, in milliseconds.
    pub fn note_latency(&mut self, ahead: u32, latency_ms: f64) {
        self.waits.turn_ms.observe(latency_ms / f64::from(ahead + 1));
    }

    /// Takes that a request has been under way for so many milliseconds and none has ended yet: whoever comes behind the
    /// first ones waits at least as long, if their worker is full with them.
    pub fn note_age(&mut self, age_ms: f64) {
        if self.waits.turn_ms.mean().is_none() {
            self.waits.youngest_end_ms = age_ms;
        }
    }

    /// What the tokens of a prompt that a worker does not hold cost, in milliseconds: the time that they take, and never
    /// nothing, so that a held prefix is worth something even where answers are so fast that time tells nothing.
    pub fn prefill_ms(&self, tokens: u64) -> f64 {
        self.prefill.ms_per_token(PRIOR_PREFILL_MS).max(LEAST_PREFILL_MS) * tokens as f64
    }

    /// Time until a worker has computed the tokens of the prompts before, in milliseconds: as all waits, nothing before it
    /// is seen.
    pub fn backlog_ms(&self, tokens: u64) -> f64 {
        self.prefill.ms_per_token(0.0) * tokens as f64
    }

    /// Time in which a worker ends one of its requests, in milliseconds; more than 0.
    pub fn turn_ms(&self) -> f64 {
        self.waits.slope()
    }

    /// Time until a worker with `ahead` requests begins with one more, in milliseconds, the prefill of those before it
    /// apart; it includes what every request takes besides its prefill. A part of a request is one that is nearly done.
    pub fn wait_ms(&self, ahead: f64) -> f64 {
        self.waits.at(ahead)
    }
}

/// Regression of the time to the first token on the tokens computed, exponentially weighted, drawn to a prior.
#[derive(Clone, Copy, Debug, Default)]
struct Prefill {
    weight: f64,
    mean_tokens: f64,
    mean_ms: f64,
    tokens_squared: f64,
    tokens_by_ms: f64,
}

impl Prefill {
    fn observe(&mut self, tokens: f64, elapsed_ms: f64) {
        self.weight = MEMORY * self.weight + 1.0;
        let (tokens_off, ms_off) = (tokens - self.mean_tokens, elapsed_ms - self.mean_ms);
        self.mean_tokens += tokens_off / self.weight;
        self.mean_ms += ms_off / self.weight;
        // West's update (1979) of weighted sums of squares and products.
        let left = 1.0 - 1.0 / self.weight;
        self.tokens_squared = MEMORY * self.tokens_squared + left * tokens_off * tokens_off;
        self.tokens_by_ms = MEMORY * self.tokens_by_ms + left * tokens_off * ms_off;
    }

    fn ms_per_token(&self, prior_ms: f64) -> f64 {
        let slope = (self.tokens_by_ms + PRIOR_WEIGHT * prior_ms) / (self.tokens_squared + PRIOR_WEIGHT);
        slope.clamp(PREFILL_BOUNDS_MS.0, PREFILL_BOUNDS_MS.1)
    }
}

/// Requests ahead up to which each number has a level of its own; above, eight levels share each doubling.
const EXACT_LEVELS: u32 = 32;
const LEVELS_PER_DOUBLING: f64 = 8.0;
const LEVELS: usize = 32 + 8 * 7;

/// Observations after which a level's mean moves by an eighth with each further one.
const FULL_WEIGHT: f64 = 8.0;

/// The wait as a function of the requests ahead: the mean of what was seen at each number, made rising (more work ahead
/// is never less wait) and continued beyond. It has no parameter for the engine's limit of sequences: where
/// that limit lies is where the curve bends.
#[derive(Clone, Debug)]
struct WaitCurve {
    seen: [Level; LEVELS],
    /// The rising fit: (requests ahead, milliseconds), only at levels that were seen.
    fit: Vec<(f64, f64)>,
    /// Time after which one of the requests at a worker ends, were they evenly spread: latency over requests.
    turn_ms: Ewma,
    /// What the first latency exceeds, before it is known.
    youngest_end_ms: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    weight: f64,
    mean_ms: f64,
}

impl Default for WaitCurve {
    fn default() -> Self {
        Self {
            seen: [Level::default(); LEVELS],
            fit: Vec::with_capacity(LEVELS),
            turn_ms: Ewma::default(),
            youngest_end_ms: 0.0,
        }
    }
}

impl WaitCurve {
    fn observe(&mut self, ahead: u32, wait_ms: f64) {
        let level = &mut self.seen[level_of(ahead)];
        level.weight = (level.weight + 1.0).min(FULL_WEIGHT);
        level.mean_ms += (wait_ms.max(0.0) - level.mean_ms) / level.weight;
        self.fit_rising();
    }

    /// Pools neighbours that fall (Ayer et al., 1955), which is the least-squares fit among rising curves.
    fn fit_rising(&mut self) {
        let mut pools: [(f64, f64, u32); LEVELS] = [(0.0, 0.0, 0); LEVELS];
        let mut count = 0;
        for level in self.seen.iter().filter(|level| level.weight > 0.0) {
            let mut pool = (level.mean_ms, level.weight, 1);
            while count > 0 && pools[count - 1].0 >= pool.0 {
                count -= 1;
                let (mean, weight, levels) = pools[count];
                let sum = weight + pool.1;
                pool = ((mean * weight + pool.0 * pool.1) / sum, sum, levels + pool.2);
            }
            pools[count] = pool;
            count += 1;
        }
        self.fit.clear();
        let levels =
            self.seen.iter().enumerate().filter(|(_, level)| level.weight > 0.0).map(|(index, _)| ahead_at(index));
        let means = pools[..count].iter().flat_map(|(mean, _, levels)| std::iter::repeat_n(*mean, *levels as usize));
        self.fit.extend(levels.zip(means));
    }

    fn at(&self, ahead: f64) -> f64 {
        let (Some(first), Some(last)) = (self.fit.first(), self.fit.last()) else { return ahead * self.slope() };
        if ahead <= first.0 {
            return first.1;
        }
        if ahead >= last.0 {
            return last.1 + (ahead - last.0) * self.slope();
        }
        let above = self.fit.partition_point(|(seen_at, _)| *seen_at <= ahead);
        let ((left, low), (right, high)) = (self.fit[above - 1], self.fit[above]);
        low + (high - low) * (ahead - left) / (right - left)
    }

    /// Slope beyond what was seen, in milliseconds per request: as if the engine were full there, so that one more waits
    /// until another one ends. Trying it out on a few requests would be their long tail; where all workers are that far,
    /// it is seen soon enough.
    fn slope(&self) -> f64 {
        self.turn_ms.mean().unwrap_or(self.youngest_end_ms).max(PRIOR_WAIT_MS)
    }
}

fn level_of(ahead: u32) -> usize {
    if ahead < EXACT_LEVELS {
        return ahead as usize;
    }
    let doublings = (f64::from(ahead) / f64::from(EXACT_LEVELS)).log2();
    (EXACT_LEVELS as usize + (doublings * LEVELS_PER_DOUBLING + 1e-9) as usize).min(LEVELS - 1)
}

/// The number of requests ahead that a level stands for.
fn ahead_at(level: usize) -> f64 {
    let exact = f64::from(EXACT_LEVELS);
    let level = level as f64;
    if level < exact { level } else { exact * ((level - exact) / LEVELS_PER_DOUBLING).exp2() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(ahead: u32, computed_tokens: u64, elapsed_ms: f64) -> FirstToken {
        FirstToken { ahead, computed_tokens, elapsed_ms }
    }

    #[test]
    fn the_prefill_rate_is_learned_from_prompts_of_different_length() {
        let mut rates = Rates::default();
        for round in 0..100 {
            let tokens = [300, 2000, 900, 4000][round % 4];
            rates.observe(seen(0, tokens, 20.0 + 0.04 * tokens as f64));
        }
        assert!((rates.prefill_ms(1000) - 40.0).abs() < 3.0, "{} ms", rates.prefill_ms(1000));
        assert!((rates.wait_ms(0.0) - 20.0).abs() < 6.0, "{} ms", rates.wait_ms(0.0));
    }

    #[test]
    fn the_curve_bends_where_the_engine_is_full() {
        let mut rates = Rates::default();
        for round in 0..400_u32 {
            let ahead = round % 12;
            rates.observe(seen(ahead, 0, 10.0 + 400.0 * f64::from(ahead.saturating_sub(3))));
        }
        assert!(rates.wait_ms(3.0) - rates.wait_ms(0.0) < 1.0);
        assert!((rates.wait_ms(8.0) - rates.wait_ms(7.0) - 400.0).abs() < 20.0);
        rates.note_latency(3, 1600.0);
        assert!(
            rates.wait_ms(40.0) - rates.wait_ms(20.0) > 20.0 * 300.0,
            "beyond what was seen the engine counts as full"
        );
    }

    proptest! {
        #[test]
        fn more_work_ahead_is_never_less_wait(
            samples in prop::collection::vec((0_u32..5000, 0_u64..10_000, 0.0..1e5_f64), 0..60),
        ) {
            let mut rates = Rates::default();
            for (ahead, tokens, elapsed_ms) in samples {
                rates.observe(seen(ahead, tokens, elapsed_ms));
            }
            let waits: Vec<f64> = (0..300).chain((300..6000).step_by(97)).map(|ahead| rates.wait_ms(f64::from(ahead))).collect();
            prop_assert!(waits.iter().all(|wait| wait.is_finite() && *wait >= 0.0));
            prop_assert!(waits.is_sorted(), "{waits:?}");
        }

        #[test]
        fn every_level_stands_for_a_number_that_falls_into_it(ahead in 0_u32..4000) {
            let level = level_of(ahead);
            prop_assert!(ahead_at(level) <= f64::from(ahead) + 1e-9);
            prop_assert!(level + 1 == LEVELS || ahead_at(level + 1) > f64::from(ahead));
        }
    }
}
