//! What schedules promise: order, mean rate, regularity, determinism.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn rate(requests_per_s: f64, burstiness: f64) -> Arrivals {
    Arrivals::Rate { requests_per_s, burstiness: Burstiness::new(burstiness).unwrap() }
}

fn ramp(strategy: RampStrategy, start_rps: u32, end_rps: u32) -> Arrivals {
    Arrivals::Ramp { strategy, start_rps, end_rps, burstiness: Burstiness::new(f64::INFINITY).unwrap() }
}

/// Squared coefficient of variation of the gaps: 1 / burstiness for gamma gaps.
fn squared_variation(offsets_s: &[f64]) -> f64 {
    let gaps: Vec<f64> = offsets_s.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64 / (mean * mean)
}

proptest! {
    #[test]
    fn the_last_of_a_constant_rate_falls_at_count_over_rate(
        count in 1..500_usize, per_s in 0.01..1e4f64, burstiness in 0.05..50.0f64, seed: u64
    ) {
        let offsets = rate(per_s, burstiness).schedule(count, seed).unwrap().offsets_s;
        let due = count as f64 / per_s;
        prop_assert_eq!(offsets.len(), count);
        prop_assert!((offsets[count - 1] - due).abs() <= 1e-9 * due);
    }

    #[test]
    fn arrivals_never_go_back_in_time(
        count in 1..500_usize, start in 1..50_u32, rise in 0..100_u32, burstiness in 0.05..50.0f64, seed: u64
    ) {
        for strategy in [RampStrategy::Linear, RampStrategy::Exponential] {
            let burstiness = Burstiness::new(burstiness).unwrap();
            let arrivals = Arrivals::Ramp { strategy, start_rps: start, end_rps: start + rise, burstiness };
            let offsets = arrivals.schedule(count, seed).unwrap().offsets_s;
            prop_assert!(offsets[0] >= 0.0);
            prop_assert!(offsets.is_sorted());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_times(count in 1..200_usize, seed: u64) {
        let arrivals = rate(10.0, 0.5);
        prop_assert_eq!(arrivals.schedule(count, seed), arrivals.schedule(count, seed));
        if count > 1 {
            prop_assert_ne!(arrivals.schedule(count, seed), arrivals.schedule(count, seed.wrapping_add(1)));
        }
    }
}

#[rstest]
#[case(0.25)]
#[case(1.0)]
#[case(4.0)]
fn burstiness_is_the_inverse_of_the_gaps_squared_variation(#[case] burstiness: f64) {
    let offsets = rate(100.0, burstiness).schedule(50_000, 7).unwrap().offsets_s;
    let found = squared_variation(&offsets) * burstiness;
    assert!((0.9..1.1).contains(&found), "squared variation x burstiness = {found}");
}

#[test]
fn infinite_burstiness_is_constant() {
    let offsets = rate(4.0, f64::INFINITY).schedule(8, 1).unwrap().offsets_s;
    for (index, offset) in offsets.iter().enumerate() {
        assert!((offset - (index + 1) as f64 * 0.25).abs() < 1e-12, "{offsets:?}");
    }
}

#[rstest]
#[case(RampStrategy::Linear, 1, 5, &[1.0, 2.0, 3.0, 4.0, 5.0])]
#[case(RampStrategy::Exponential, 1, 16, &[1.0, 2.0, 4.0, 8.0, 16.0])]
#[case(RampStrategy::Linear, 3, 3, &[3.0, 3.0, 3.0, 3.0, 3.0])]
fn a_ramp_meets_both_its_ends(
    #[case] strategy: RampStrategy,
    #[case] start: u32,
    #[case] end: u32,
    #[case] expected: &[f64],
) {
    let schedule = ramp(strategy, start, end).schedule(expected.len(), 0).unwrap();
    for (found, expected) in schedule.rates.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9, "{:?}", schedule.rates);
    }
    let last: f64 = expected.iter().map(|rate| 1.0 / rate).sum();
    assert!((schedule.offsets_s[expected.len() - 1] - last).abs() < 1e-9);
}

#[test]
fn all_at_once_is_at_the_start() {
    let schedule = Arrivals::AllAtOnce { burstiness: Burstiness::POISSON }.schedule(3, 9).unwrap();
    assert_eq!(schedule, Schedule { offsets_s: vec![0.0; 3], rates: Vec::new() });
}

#[rstest]
#[case(rate(0.0, 1.0))]
#[case(rate(-1.0, 1.0))]
#[case(rate(f64::INFINITY, 1.0))]
#[case(rate(f64::NAN, 1.0))]
#[case(ramp(RampStrategy::Linear, 0, 5))]
#[case(ramp(RampStrategy::Exponential, 5, 2))]
fn a_rate_that_never_sends_is_refused(#[case] arrivals: Arrivals) {
    assert!(arrivals.schedule(10, 0).is_err());
}

#[test]
fn burstiness_is_positive() {
    assert_eq!(Burstiness::new(0.0), None);
    assert_eq!(Burstiness::new(f64::NAN), None);
    assert_eq!(Burstiness::new(0.5).map(Burstiness::get), Some(0.5));
}

#[test]
fn an_empty_run_has_an_empty_schedule() {
    assert_eq!(rate(10.0, 1.0).schedule(0, 0).unwrap().offsets_s, Vec::<f64>::new());
}
