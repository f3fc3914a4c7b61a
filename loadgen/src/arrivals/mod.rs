//! When requests arrive: a pure function of the arrivals' description, their number and a seed.

use rand_distr::{Distribution, Gamma};

use crate::seed::stream;

/// How regular arrivals are: the shape of the gamma distribution of their gaps.
///
/// 1 is a Poisson process, less is burstier, more is more even, infinity is constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burstiness(f64);

impl Burstiness {
    /// Exponential gaps.
    pub const POISSON: Burstiness = Burstiness(1.0);

    /// A positive number or infinity; `None` of anything else.
    pub fn new(shape: f64) -> Option<Burstiness> {
        (shape > 0.0).then_some(Burstiness(shape))
    }

    /// The shape, without unit.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// How a ramp gets from its first rate to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RampStrategy {
    /// By equal steps.
    Linear,
    /// By equal factors.
    Exponential,
}

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// All at the start; only a concurrency limit holds them back (closed loop).
    AllAtOnce {
        /// Without effect, but result files name it.
        burstiness: Burstiness,
    },
    /// At a constant mean rate (open loop).
    Rate {
        /// Mean arrivals per second, positive and finite.
        requests_per_s: f64,
        /// How regular they are.
        burstiness: Burstiness,
    },
    /// When the requests themselves say, as those of a trace do (open loop).
    Recorded,
    /// At a rate that grows with each request (open loop).
    Ramp {
        /// How it grows.
        strategy: RampStrategy,
        /// Rate of the first request, per second.
        start_rps: u32,
        /// Rate of the last request, per second.
        end_rps: u32,
        /// How regular they are.
        burstiness: Burstiness,
    },
}

/// Why arrivals cannot be scheduled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrivalsError {
    /// The rate is no positive, finite number.
    #[error("arrivals: request rate {0} per second; give a positive number, or inf for all at once")]
    Rate(f64),
    /// The requests have no times of their own.
    #[error("arrivals: these requests do not say when they arrive; use a trace, or give a request rate")]
    NotRecorded,
    /// The ramp starts at nothing or falls.
    #[error("arrivals: a ramp from {start_rps} to {end_rps} requests per second; start at 1 or more and do not fall")]
    Ramp {
        /// Rate of the first request, per second.
        start_rps: u32,
        /// Rate of the last request, per second.
        end_rps: u32,
    },
}

/// The planned times of all requests of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Seconds after the start, ascending; one for each request.
    pub offsets_s: Vec<f64>,
    /// The rate at which each request was planned, per second; only for a ramp, else empty.
    pub rates: Vec<f64>,
}

impl Arrivals {
    /// How regular they are.
    pub fn burstiness(&self) -> Burstiness {
        match *self {
            Arrivals::AllAtOnce { burstiness }
            | Arrivals::Rate { burstiness, requests_per_s: _ }
            | Arrivals::Ramp { burstiness, strategy: _, start_rps: _, end_rps: _ } => burstiness,
            // Result files have the default of vLLM's flag where no gap is drawn.
            Arrivals::Recorded => Burstiness::POISSON,
        }
    }

    /// Whether requests come at times of their own (open loop).
    pub fn is_timed(&self) -> bool {
        !matches!(self, Arrivals::AllAtOnce { .. })
    }

    /// Plans `count` requests; the same arguments give the same times.
    ///
    /// # Errors
    /// When a rate is not positive.
    pub fn schedule(&self, count: usize, seed: u64) -> Result<Schedule, ArrivalsError> {
        match *self {
            Arrivals::AllAtOnce { burstiness: _ } => Ok(Schedule { offsets_s: vec![0.0; count], rates: Vec::new() }),
            Arrivals::Rate { requests_per_s, burstiness } => {
                if !(requests_per_s > 0.0 && requests_per_s.is_finite()) {
                    return Err(ArrivalsError::Rate(requests_per_s));
                }
                let mut offsets_s = cumulative_gaps(std::iter::repeat_n(requests_per_s, count), burstiness, seed);
                // As vLLM does: stretched so that the last falls at count / rate, or throughput would vary by the
                // luck of the draw (1-2 % at a thousand requests).
                let drawn_s = offsets_s.last().copied().unwrap_or(0.0);
                if drawn_s > 0.0 {
                    let stretch = count as f64 / requests_per_s / drawn_s;
                    offsets_s.iter_mut().for_each(|offset| *offset *= stretch);
                }
                Ok(Schedule { offsets_s, rates: Vec::new() })
            }
            Arrivals::Recorded => Err(ArrivalsError::NotRecorded),
            Arrivals::Ramp { strategy, start_rps, end_rps, burstiness } => {
                if start_rps == 0 || end_rps < start_rps {
                    return Err(ArrivalsError::Ramp { start_rps, end_rps });
                }
                let rates = ramp_rates(strategy, start_rps.into(), end_rps.into(), count);
                let offsets_s = cumulative_gaps(rates.iter().copied(), burstiness, seed);
                Ok(Schedule { offsets_s, rates })
            }
        }
    }
}

/// The rate of each request of a ramp: by the request's number, not by time, as in vLLM.
fn ramp_rates(strategy: RampStrategy, start_rps: f64, end_rps: f64, count: usize) -> Vec<f64> {
    let steps = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|index| {
            let progress = index as f64 / steps;
            match strategy {
                RampStrategy::Linear => start_rps + (end_rps - start_rps) * progress,
                RampStrategy::Exponential => start_rps * (end_rps / start_rps).powf(progress),
            }
        })
        .collect()
}

/// Sums of gaps, each drawn around the inverse of its rate.
fn cumulative_gaps(rates: impl Iterator<Item = f64>, burstiness: Burstiness, seed: u64) -> Vec<f64> {
    let mut rng = stream("arrivals", seed, 0);
    // Of mean 1; scaling it by each gap's mean gives the gamma of shape b and scale 1 / (rate * b).
    let unit_gap = burstiness.0.is_finite().then(|| {
        Gamma::new(burstiness.0, 1.0 / burstiness.0).expect("shape and scale are positive: a Burstiness is positive")
    });
    rates
        .scan(0.0, |total_s, rate| {
            *total_s += unit_gap.as_ref().map_or(1.0, |gamma| gamma.sample(&mut rng)) / rate;
            Some(*total_s)
        })
        .collect()
}

#[cfg(test)]
mod tests;
