//! Intervals cover what they say, by simulation with a fixed seed.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use rstest::rstest;
use teebench_analysis::stats;

const TRIALS: usize = 4000;

fn sample(count: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    (0..count).map(|_| StandardNormal.sample(random)).collect()
}

fn share_that_holds_zero(mut interval: impl FnMut() -> stats::Interval) -> f64 {
    let covered = (0..TRIALS).map(|_| interval()).filter(|found| found.low <= 0.0 && 0.0 <= found.high).count();
    covered as f64 / TRIALS as f64
}

#[rstest]
fn the_paired_interval_covers_95_percent(#[values(6, 12)] pairs: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(95);
    let covered = share_that_holds_zero(|| stats::mean_interval(&sample(pairs, &mut random)).unwrap().interval);
    assert!((0.93..=0.97).contains(&covered), "{covered}");
}

#[rstest]
fn the_unpaired_interval_covers_95_percent(#[values(6, 12)] runs: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(96);
    let covered = share_that_holds_zero(|| {
        let (top, bottom) = (sample(runs, &mut random), sample(runs, &mut random));
        stats::welch(&top, &bottom.iter().map(|value| 3.0 * value).collect::<Vec<_>>()).unwrap().interval
    });
    assert!((0.93..=0.97).contains(&covered), "{covered}");
}

#[rstest]
fn the_medians_interval_covers_at_least_what_it_says(#[values(6, 12)] runs: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(97);
    let mut said = 0.0;
    let covered = share_that_holds_zero(|| {
        let found = stats::median_interval(&sample(runs, &mut random)).unwrap();
        said = found.coverage;
        found.interval
    });
    assert!((covered - said).abs() < 0.015, "{covered} is not {said}");
}
