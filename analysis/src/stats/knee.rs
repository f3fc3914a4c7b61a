//! The knee of a saturation curve: where more requests in flight stop to bring more throughput.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{CONFIDENCE, Interval, median, percentile_of_sorted};

/// Throughput within this share of the best counts as the best.
pub const KNEE_SHARE: f64 = 0.05;

/// Resamples behind the knee's interval.
const RESAMPLES: u32 = 2000;

/// One load and the throughput of each of its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadLevel {
    /// Requests in flight.
    pub concurrency: f64,
    /// Throughput of each run.
    pub throughputs: Vec<f64>,
}

/// A knee and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The least concurrency whose median throughput is within [`KNEE_SHARE`] of the best one's.
    pub concurrency: f64,
    /// Median throughput there.
    pub throughput: f64,
    /// 95 % of resampled curves have their knee here; absent where a level has fewer than two runs.
    pub interval: Option<Interval>,
    /// Whether the curve goes on beyond the knee, so that it is one and not the end of the search.
    pub bracketed: bool,
}

/// Finds the knee of levels in ascending order of concurrency. The interval comes from resampling the runs of each
/// level; it can only take values of levels that were run. `None` without a level that has a run.
#[must_use]
pub fn knee(levels: &[LoadLevel], seed: u64) -> Option<Knee> {
    let medians: Vec<(f64, f64)> =
        levels.iter().filter_map(|level| Some((level.concurrency, median(&level.throughputs)?))).collect();
    let (concurrency, throughput) = of_curve(&medians)?;
    let replicated = levels.iter().all(|level| level.throughputs.len() > 1);
    Some(Knee {
        concurrency,
        throughput,
        interval: replicated.then(|| resampled(levels, seed)).flatten(),
        bracketed: medians.last().is_some_and(|last| last.0 > concurrency),
    })
}

fn of_curve(curve: &[(f64, f64)]) -> Option<(f64, f64)> {
    let best = curve.iter().map(|level| level.1).fold(0.0, f64::max);
    curve.iter().find(|level| level.1 >= (1.0 - KNEE_SHARE) * best).copied()
}

fn resampled(levels: &[LoadLevel], seed: u64) -> Option<Interval> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut knees: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let curve: Vec<(f64, f64)> = levels
                .iter()
                .filter_map(|level| {
                    let drawn: Vec<f64> = (0..level.throughputs.len())
                        .map(|_| level.throughputs[random.random_range(0..level.throughputs.len())])
                        .collect();
                    Some((level.concurrency, median(&drawn)?))
                })
                .collect();
            of_curve(&curve).map(|knee| knee.0)
        })
        .collect();
    knees.sort_unstable_by(f64::total_cmp);
    let tail = 50.0 * (1.0 - CONFIDENCE);
    Some(Interval { low: percentile_of_sorted(&knees, tail)?, high: percentile_of_sorted(&knees, 100.0 - tail)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Throughput that grows with concurrency up to 64, with a spread over runs.
    fn levels(top: u32, spread: f64) -> Vec<LoadLevel> {
        (0..=top)
            .map(|power| {
                let concurrency = f64::from(1_u32 << power);
                let mean = 100.0 * concurrency.min(64.0);
                LoadLevel { concurrency, throughputs: [-1.0, 0.0, 1.0].map(|at| mean * (1.0 + at * spread)).to_vec() }
            })
            .collect()
    }

    #[test]
    fn the_knee_is_where_throughput_stops_to_grow() {
        let found = knee(&levels(9, 0.001), 1).unwrap();
        assert_eq!((found.concurrency, found.throughput, found.bracketed), (64.0, 6400.0, true));
        assert_eq!(found.interval, Some(Interval { low: 64.0, high: 64.0 }));
    }

    #[test]
    fn a_search_that_ends_before_the_knee_says_so() {
        let found = knee(&levels(4, 0.001), 1).unwrap();
        assert_eq!((found.concurrency, found.bracketed), (16.0, false));
    }

    #[test]
    fn noise_widens_the_interval() {
        let found = knee(&levels(9, 0.4), 1).unwrap().interval.unwrap();
        assert!(found.low < found.high, "{found:?}");
    }

    #[test]
    fn single_runs_have_a_knee_and_no_interval() {
        let single = |level: LoadLevel| LoadLevel { throughputs: level.throughputs[..1].to_vec(), ..level };
        let found = knee(&levels(9, 0.001).into_iter().map(single).collect::<Vec<_>>(), 1).unwrap();
        assert_eq!((found.concurrency, found.interval), (64.0, None));
        assert_eq!(knee(&[], 1), None);
    }
}
