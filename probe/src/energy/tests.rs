//! Energy of curves whose energy is known by analysis.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// Some moment of the probe's clock at which the curves begin.
const EPOCH_NS: u64 = 1_795_354_574_000_000_000;
/// Monotonic time at the same moment.
const MONO_NS: u64 = 77_000_000_000;

/// Samples of a power curve in watts, every 100 ms over `seconds`, with the exact counter.
fn samples(seconds: f64, watts: impl Fn(f64) -> f64, joules: impl Fn(f64) -> f64) -> Vec<Sample> {
    let count = (seconds * 10.0).round() as u64;
    (0..=count)
        .map(|index| {
            let time = index as f64 / 10.0;
            Sample {
                unix_ns: EPOCH_NS + index * 100_000_000,
                mono_ns: MONO_NS + index * 100_000_000,
                power_instant_mw: Some((watts(time) * 1e3).round() as u64),
                energy_mj: Some(5_000_000 + (joules(time) * 1e3).round() as u64),
                throttle_reasons: (index % 10 == 0).then_some(0),
                ..Sample::default()
            }
        })
        .collect()
}

fn constant(seconds: f64) -> Vec<Sample> {
    samples(seconds, |_| 300.0, |time| 300.0 * time)
}

fn window(from: f64, to: f64) -> Window {
    let at = |seconds: f64| EPOCH_NS.saturating_add_signed((seconds * 1e9).round() as i64);
    Window { from_unix_ns: at(from), to_unix_ns: at(to) }
}

fn gpu<'a>(uuid: &str, samples: &'a [Sample]) -> (String, GpuInput<'a>) {
    let identity = GpuIdentity {
        uuid: uuid.to_owned(),
        name: "NVIDIA H100 NVL".to_owned(),
        power_limit_mw: Some(400_000),
        ..GpuIdentity::default()
    };
    (uuid.to_owned(), GpuInput { identity, clock: ClockMapping::SAME, samples, idle_watts: Some(60.0) })
}

fn inputs<'a>(window: Window, gpus: impl IntoIterator<Item = (String, GpuInput<'a>)>) -> EnergyInputs<'a> {
    EnergyInputs {
        window,
        gpus: gpus.into_iter().collect(),
        work: Some(Work { output_tokens: 1_000, total_tokens: 3_000, requests: 10 }),
        minimum_window_seconds: 60.0,
        simulated: false,
    }
}

fn close(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value - expected).abs() <= 1e-3 * expected.abs().max(1.0))
}

#[rstest]
#[case::constant(|_: f64| 300.0, |t: f64| 300.0 * t, 10.03, 90.07, 300.0 * 80.04)]
#[case::ramp(|t: f64| 4.0 * t, |t: f64| 2.0 * t * t, 5.0, 95.0, 2.0 * (95.0 * 95.0 - 25.0))]
#[case::sine(
    |t: f64| 300.0 + 100.0 * t.sin(),
    |t: f64| 300.0 * t + 100.0 * (1.0 - t.cos()),
    20.0,
    80.0,
    300.0 * 60.0 + 100.0 * (20f64.cos() - 80f64.cos())
)]
fn both_methods_find_the_energy_of_a_known_curve(
    #[case] watts: fn(f64) -> f64,
    #[case] joules: fn(f64) -> f64,
    #[case] from: f64,
    #[case] to: f64,
    #[case] expected: f64,
) {
    let samples = samples(100.0, watts, joules);
    let file = compute(&inputs(window(from, to), [gpu("GPU-a", &samples)]));
    assert!(close(file.counter_joules, expected), "{:?} is not {expected}", file.counter_joules);
    assert!(close(file.integral_joules, expected), "{:?} is not {expected}", file.integral_joules);
    assert_eq!((file.verdict, file.reasons.as_slice()), (EnergyVerdict::Ok, [].as_slice()));
}

#[test]
fn gross_idle_net_and_shares_follow_from_the_counter() {
    let samples = constant(100.0);
    let file = compute(&inputs(window(10.0, 90.0), [gpu("GPU-a", &samples)]));
    assert!(close(file.counter_joules, 24_000.0));
    assert!(close(file.idle_joules, 4_800.0));
    assert!(close(file.net_joules, 19_200.0));
    assert!(close(file.joules_per_output_token, 24.0));
    assert!(close(file.joules_per_total_token, 8.0));
    assert!(close(file.joules_per_request, 2_400.0));
    assert_eq!(file.gpus[0].power_limit_watts, Some(400.0));
    assert!(close(file.gpus[0].peak_watts, 300.0));
    assert!((file.gpus[0].longest_gap_seconds - 0.1).abs() < 1e-9);
    assert_eq!(file.gpus[0].samples, 801);
}

#[test]
fn a_window_under_the_minimum_has_energy_but_no_claim_per_token() {
    let samples = constant(100.0);
    let file = compute(&inputs(window(10.0, 60.0), [gpu("GPU-a", &samples)]));
    assert!(close(file.counter_joules, 15_000.0));
    assert_eq!((file.joules_per_output_token, file.joules_per_request), (None, None));
    assert!(file.reasons[0].contains("under the minimum of 60 s"), "{:?}", file.reasons);
}

#[test]
fn distinct_boards_are_summed_and_one_without_a_figure_leaves_no_sum() {
    let (first, mut second) = (constant(100.0), constant(100.0));
    let both = compute(&inputs(window(10.0, 90.0), [gpu("GPU-a", &first), gpu("GPU-b", &second)]));
    assert!(close(both.counter_joules, 48_000.0));
    assert!(close(both.idle_watts, 120.0));
    second.iter_mut().for_each(|sample| sample.energy_mj = None);
    let partial = compute(&inputs(window(10.0, 90.0), [gpu("GPU-a", &first), gpu("GPU-b", &second)]));
    assert_eq!((partial.counter_joules, partial.net_joules, partial.joules_per_output_token), (None, None, None));
    assert!(close(partial.integral_joules, 48_000.0));
    assert!(close(partial.gpus[0].counter_joules, 24_000.0));
    assert_eq!(partial.verdict, EnergyVerdict::Degraded);
}

#[rstest]
#[case::within_five_percent(1.04, EnergyVerdict::Ok)]
#[case::within_ten_percent(1.08, EnergyVerdict::Warn)]
#[case::further_apart(1.2, EnergyVerdict::Degraded)]
#[case::further_apart_below(0.8, EnergyVerdict::Degraded)]
fn the_verdict_is_how_far_the_methods_part(#[case] factor: f64, #[case] expected: EnergyVerdict) {
    let samples = samples(100.0, |_| 300.0 * factor, |time| 300.0 * time);
    let file = compute(&inputs(window(10.0, 90.0), [gpu("GPU-a", &samples)]));
    assert_eq!(file.verdict, expected);
    assert_eq!(file.reasons.is_empty(), expected == EnergyVerdict::Ok);
}

#[test]
fn errors_of_two_boards_do_not_cancel() {
    let high = samples(100.0, |_| 360.0, |time| 300.0 * time);
    let low = samples(100.0, |_| 240.0, |time| 300.0 * time);
    let file = compute(&inputs(window(10.0, 90.0), [gpu("GPU-a", &high), gpu("GPU-b", &low)]));
    assert_eq!(file.verdict, EnergyVerdict::Degraded);
}

type Spoil = fn(&mut Vec<Sample>);

#[rstest]
#[case::counter_fell(
    (|samples: &mut Vec<Sample>| samples.iter_mut().skip(500).for_each(|sample| sample.energy_mj = Some(1))) as Spoil,
    EnergyVerdict::Absent,
    "the energy counter fell"
)]
#[case::wall_clock_set(
    (|samples: &mut Vec<Sample>| samples.iter_mut().skip(500).for_each(|sample| sample.unix_ns += 50_000_000)) as Spoil,
    EnergyVerdict::Absent,
    "wall clock was set"
)]
#[case::samples_begin_late(
    (|samples: &mut Vec<Sample>| drop(samples.drain(..200))) as Spoil,
    EnergyVerdict::Absent,
    "begin 10.000 s after the window's start"
)]
#[case::samples_end_early(
    (|samples: &mut Vec<Sample>| samples.truncate(851)) as Spoil,
    EnergyVerdict::Absent,
    "end 5.000 s before the window's end"
)]
#[case::no_counter(
    (|samples: &mut Vec<Sample>| samples.iter_mut().for_each(|sample| sample.energy_mj = None)) as Spoil,
    EnergyVerdict::Degraded,
    "the energy counter was not read"
)]
#[case::no_instant_power(
    (|samples: &mut Vec<Sample>| samples.iter_mut().for_each(|sample| sample.power_instant_mw = None)) as Spoil,
    EnergyVerdict::Degraded,
    "instant power was not read"
)]
#[case::a_gap_of_two_seconds(
    (|samples: &mut Vec<Sample>| drop(samples.drain(501..520))) as Spoil,
    EnergyVerdict::Warn,
    "no power for 2.0 s"
)]
#[case::a_failed_call_is_told(
    (|samples: &mut Vec<Sample>| samples[500].gap = Some("energy: GPU is lost".to_owned())) as Spoil,
    EnergyVerdict::Ok,
    "GPU is lost"
)]
#[case::a_reading_that_no_board_draws(
    (|samples: &mut Vec<Sample>| samples[500].power_instant_mw = Some(u64::from(u32::MAX))) as Spoil,
    EnergyVerdict::Degraded,
    "differ by over 5 %"
)]
#[case::a_counter_that_leaps(
    (|samples: &mut Vec<Sample>| {
        samples.iter_mut().skip(500).for_each(|sample| sample.energy_mj = sample.energy_mj.map(|counted| counted + (1 << 60)));
    }) as Spoil,
    EnergyVerdict::Degraded,
    "differ by over 5 %"
)]
#[case::no_throttle_reasons(
    (|samples: &mut Vec<Sample>| samples.iter_mut().for_each(|sample| sample.throttle_reasons = None)) as Spoil,
    EnergyVerdict::Ok,
    "no slow-down is ruled out"
)]
#[case::no_samples((|samples: &mut Vec<Sample>| samples.clear()) as Spoil, EnergyVerdict::Absent, "was not read")]
fn what_spoils_a_measurement_is_named(#[case] spoil: Spoil, #[case] verdict: EnergyVerdict, #[case] reason: &str) {
    let mut samples = constant(100.0);
    spoil(&mut samples);
    let file = compute(&inputs(window(10.0, 90.0), [gpu("GPU-a", &samples)]));
    assert_eq!(file.verdict, verdict, "{:?}", file.reasons);
    assert!(file.reasons.iter().any(|told| told.contains(reason)), "{:?}", file.reasons);
    let figures = [file.counter_joules, file.integral_joules, file.joules_per_output_token];
    assert!(verdict != EnergyVerdict::Absent || figures == [None; 3], "{figures:?}");
}

#[rstest]
#[case::half_round_trip(ClockOffset { half_round_trip_ns: 11_000_000, ..ClockOffset::SAME }, "half round trip")]
#[case::drift(ClockOffset { offset_ns: 21_000_000, ..ClockOffset::SAME }, "drifted by 21.0 ms")]
fn clocks_that_do_not_map_give_no_energy(#[case] after: ClockOffset, #[case] reason: &str) {
    let samples = constant(100.0);
    let (uuid, mut input) = gpu("GPU-a", &samples);
    input.clock.after = after;
    let file = compute(&inputs(window(10.0, 90.0), [(uuid, input)]));
    assert_eq!((file.verdict, file.counter_joules, file.integral_joules), (EnergyVerdict::Absent, None, None));
    assert!(file.reasons[0].contains(reason), "{:?}", file.reasons);
}

#[test]
fn the_window_is_looked_up_on_the_clock_of_the_probe() {
    // The power steps from 100 W to 500 W at 50 s; the probe's clock is 7 s ahead.
    let watts = |time: f64| if time < 50.0 { 100.0 } else { 500.0 };
    let joules = |time: f64| 100.0 * time + 400.0 * (time - 50.0).max(0.0);
    let samples = samples(120.0, watts, joules);
    let ahead = ClockOffset { offset_ns: 7_000_000_000, half_round_trip_ns: 1, at_unix_ns: EPOCH_NS };
    let (uuid, mut input) = gpu("GPU-a", &samples);
    input.clock = ClockMapping { before: ahead, after: ahead };
    let file = compute(&inputs(window(43.0, 103.0), [(uuid, input)]));
    assert!(close(file.counter_joules, 500.0 * 60.0), "{:?}", file.counter_joules);
}

#[test]
fn a_counter_read_twice_between_its_steps_is_not_bent() {
    // The counter steps at every other sample, so half of the samples repeat the value before.
    let mut samples = constant(100.0);
    for index in (1..samples.len()).step_by(2) {
        samples[index].energy_mj = samples[index - 1].energy_mj;
    }
    let file = compute(&inputs(window(10.15, 90.05), [gpu("GPU-a", &samples)]));
    assert!((file.counter_joules.unwrap() - 300.0 * 79.9).abs() < 0.01, "{:?}", file.counter_joules);
}

#[test]
fn a_counter_read_twice_a_second_is_exact_where_power_jumps_at_an_edge() {
    // Load begins with the window, 0.3 s after a read of the counter.
    let watts = |time: f64| if time < 10.25 { 80.0 } else { 700.0 };
    let joules = |time: f64| 80.0 * time + 620.0 * (time - 10.25).max(0.0);
    let mut samples = samples(100.0, watts, joules);
    for (index, sample) in samples.iter_mut().enumerate().filter(|(index, _)| index % 5 != 0) {
        assert!(index > 0);
        sample.energy_mj = None;
    }
    let file = compute(&inputs(window(10.25, 90.0), [gpu("GPU-a", &samples)]));
    // A straight line between the reads would be 77 J away.
    assert!((file.counter_joules.unwrap() - 700.0 * 79.75).abs() < 10.0, "{:?}", file.counter_joules);
    assert_eq!(file.verdict, EnergyVerdict::Ok);
}

#[test]
fn heat_and_the_power_cap_are_told_apart() {
    let mut samples = constant(100.0);
    for (index, sample) in samples.iter_mut().enumerate().filter(|(index, _)| index % 10 == 0) {
        sample.temperature_celsius = Some(60 + index as u32 / 100);
        sample.throttle_reasons = Some(if index < 500 { SOFTWARE_POWER_CAP } else { 0x20 });
    }
    let file = compute(&inputs(window(10.0, 89.9), [gpu("GPU-a", &samples)]));
    assert_eq!(file.power_cap_share, Some(0.5));
    assert_eq!(file.gpus[0].peak_temperature_celsius, Some(68));
    assert_eq!(throttle_reasons_that_void(file.gpus[0].throttle_reasons), ["software thermal slowdown"]);
}

#[test]
fn no_gpu_or_no_window_is_absent_with_the_reason() {
    let none = compute(&inputs(window(10.0, 90.0), []));
    assert_eq!((none.verdict, none.reasons[0].as_str()), (EnergyVerdict::Absent, "no gpu was sampled"));
    let samples = constant(100.0);
    let reversed = compute(&inputs(window(90.0, 10.0), [gpu("GPU-a", &samples)]));
    assert_eq!((reversed.verdict, reversed.window_seconds), (EnergyVerdict::Absent, 0.0));
}

#[test]
fn mean_power_is_told_for_a_window_that_the_samples_span() {
    let samples = constant(40.0);
    let mean = mean_power_watts(&samples, window(5.0, 35.0), &ClockMapping::SAME).unwrap();
    assert!((mean - 300.0).abs() < 1e-6);
    let beyond = mean_power_watts(&samples, window(5.0, 45.0), &ClockMapping::SAME);
    assert_eq!(beyond, Err(MeanPowerError::NotCovered));
    let empty = mean_power_watts(&samples, window(5.0, 5.0), &ClockMapping::SAME);
    assert_eq!(empty, Err(MeanPowerError::EmptyWindow));
}

proptest! {
    #[test]
    fn energy_of_any_curve_agrees_within_the_step_of_its_counter(
        steps in prop::collection::vec(0.0..700.0f64, 801),
        from in 0.0..5.0f64,
        length in 60.0..70.0f64,
    ) {
        // Power is linear between samples, so the trapezoid over whole steps is the exact counter.
        let mut joules = vec![0.0];
        for pair in steps.windows(2) {
            joules.push(joules.last().unwrap() + (pair[0] + pair[1]) / 2.0 * 0.1);
        }
        let at = |time: f64| (time * 10.0).round() as usize;
        let samples = samples(80.0, |time| steps[at(time)], |time| joules[at(time)]);
        let file = compute(&inputs(window(from, from + length), [gpu("GPU-a", &samples)]));
        let (counter, integral) = (file.counter_joules.unwrap(), file.integral_joules.unwrap());
        // At each edge the two may differ by less than the energy of one step at full power.
        prop_assert!((counter - integral).abs() <= 2.0 * 70.0, "{counter} and {integral}");
        prop_assert!(counter >= 0.0);
    }

    #[test]
    fn nothing_that_a_probe_may_send_makes_it_fail(
        lines in prop::collection::vec((any::<u64>(), any::<u64>(), any::<Option<u64>>(), any::<Option<u64>>()), 0..20),
        from in any::<u64>(),
        to in any::<u64>(),
        offset_ns in any::<i64>(),
        at_unix_ns in any::<u64>(),
    ) {
        let samples: Vec<Sample> = lines
            .into_iter()
            .map(|(unix_ns, mono_ns, power_instant_mw, energy_mj)| {
                Sample { unix_ns, mono_ns, power_instant_mw, energy_mj, ..Sample::default() }
            })
            .collect();
        let (uuid, mut input) = gpu("GPU-a", &samples);
        input.clock.before = ClockOffset { offset_ns, half_round_trip_ns: 0, at_unix_ns };
        let file = compute(&inputs(Window { from_unix_ns: from, to_unix_ns: to }, [(uuid, input)]));
        prop_assert!(file.counter_joules.is_none_or(f64::is_finite));
    }
}
