//! The knee of a saturation curve: where more requests in flight stop to bring more throughput.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{CONFIDENCE, Interval, median, percentile_of_sorted};

/// Throughput within this share of the best counts as the best.
pub const KNEE_SHARE: f64 = 0.05;

/// Of several max-num-seqs the least within this share of the best throughput is chosen.
pub const CALIBRATION_SHARE: f64 = 0.02;

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
    let (concurrency, throughput) = least_within(KNEE_SHARE, &medians)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut one = || least_within(KNEE_SHARE, &resampled(levels, &mut random)).map(|knee| knee.0);
    Some(Knee {
        concurrency,
        throughput,
        interval: if replicated(levels) { central(&mut one) } else { None },
        bracketed: medians.last().is_some_and(|last| last.0 > concurrency),
    })
}

/// Throughput at the numerator's knee over that at the denominator's, each at its own, with the interval from resampling
/// both; it is absent where a level has fewer than two runs. `None` without two knees.
#[must_use]
pub fn knee_ratio(numerator: &[LoadLevel], denominator: &[LoadLevel], seed: u64) -> Option<(f64, Option<Interval>)> {
    let (top, bottom) = (knee(numerator, seed)?, knee(denominator, seed)?);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut one = || {
        let top = least_within(KNEE_SHARE, &resampled(numerator, &mut random))?;
        let bottom = least_within(KNEE_SHARE, &resampled(denominator, &mut random))?;
        (bottom.1 > 0.0).then(|| top.1 / bottom.1)
    };
    let interval = if replicated(numerator) && replicated(denominator) { central(&mut one) } else { None };
    (bottom.throughput > 0.0).then(|| (top.throughput / bottom.throughput, interval))
}

/// The first of (setting, throughput) in ascending order of settings whose throughput is within a share of the best.
#[must_use]
pub fn least_within(share: f64, curve: &[(f64, f64)]) -> Option<(f64, f64)> {
    let best = curve.iter().map(|level| level.1).fold(0.0, f64::max);
    curve.iter().find(|level| level.1 >= (1.0 - share) * best).copied()
}

fn replicated(levels: &[LoadLevel]) -> bool {
    levels.iter().all(|level| level.throughputs.len() > 1)
}

/// A curve of medians of as many runs as each level has, drawn from them with replacement.
fn resampled(levels: &[LoadLevel], random: &mut ChaCha8Rng) -> Vec<(f64, f64)> {
    levels
        .iter()
        .filter_map(|level| {
            let drawn: Vec<f64> = (0..level.throughputs.len())
                .map(|_| level.throughputs[random.random_range(0..level.throughputs.len())])
                .collect();
            Some((level.concurrency, median(&drawn)?))
        })
        .collect()
}

/// The interval that holds the middle 95 % of what is drawn.
fn central(draw: &mut impl FnMut() -> Option<f64>) -> Option<Interval> {
    let mut values: Vec<f64> = (0..RESAMPLES).filter_map(|_| draw()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let tail = 50.0 * (1.0 - CONFIDENCE);
    Some(Interval { low: percentile_of_sorted(&values, tail)?, high: percentile_of_sorted(&values, 100.0 - tail)? })
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
    fn curves_are_compared_each_at_its_own_knee() {
        let slower: Vec<LoadLevel> = levels(9, 0.01)
            .into_iter()
            .map(|level| LoadLevel { throughputs: level.throughputs.iter().map(|each| 0.9 * each).collect(), ..level })
            .collect();
        let (ratio, interval) = knee_ratio(&slower, &levels(9, 0.01), 1).unwrap();
        assert!((ratio - 0.9).abs() < 1e-9, "{ratio}");
        assert!(interval.is_some_and(|found| found.low < 0.9 && 0.9 < found.high), "{interval:?}");
        assert_eq!(knee_ratio(&slower, &[], 1), None);
    }

    #[test]
    fn single_runs_have_a_knee_and_no_interval() {
        let single = |level: LoadLevel| LoadLevel { throughputs: level.throughputs[..1].to_vec(), ..level };
        let found = knee(&levels(9, 0.001).into_iter().map(single).collect::<Vec<_>>(), 1).unwrap();
        assert_eq!((found.concurrency, found.interval), (64.0, None));
        assert_eq!(knee(&[], 1), None);
    }
}
