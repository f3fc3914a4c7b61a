//! One board's energy over the window.

use teebench_api::files::energy::GpuEnergy;

use super::clock::{ClockError, ClockMapping};
use super::curve::Curve;
use super::throttle::ThrottleCount;
use super::{GpuInput, Window};
use crate::sampler::Sample;

/// A longer time without a sample is flagged: power in between is a guess.
const FLAGGED_GAP_SECONDS: f64 = 1.0;

/// The wall clock may be slewed together with the monotonic one; apart from it by more than this, it was set.
const MAXIMUM_CLOCK_STEP_NS: i128 = 20_000_000;

/// A board's energy, and what stands against it.
pub(super) struct Board {
    pub(super) energy: GpuEnergy,
    pub(super) reasons: Vec<String>,
    /// Whether nothing of the run's energy may be used.
    pub(super) void: bool,
    /// Whether the window has a gap that is flagged.
    pub(super) has_gap: bool,
    pub(super) throttle: ThrottleCount,
}

/// Why mean power or energy over a window cannot be told.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq)]
pub enum MeanPowerError {
    /// The clocks cannot be mapped.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The window has no length.
    #[error("the window is empty: its end is not after its start")]
    EmptyWindow,
    /// The samples of instant power do not span the window.
    #[error("the samples of instant power do not reach over the window")]
    NotCovered,
    /// A counter that only rises was set back.
    #[error("the energy counter fell")]
    CounterFell,
    /// The counter's reads do not span the window.
    #[error("the reads of the energy counter do not reach over the window")]
    CounterNotCovered,
}

/// Mean instant power of one GPU over a window without load, in watts.
///
/// # Errors
/// When the clocks do not map or the samples do not span the window.
pub fn mean_power_watts(samples: &[Sample], window: Window, clock: &ClockMapping) -> Result<f64, MeanPowerError> {
    clock.check()?;
    let span = Span::of(window, clock).ok_or(MeanPowerError::EmptyWindow)?;
    let joules = span.power(samples).integral(0.0, span.seconds).ok_or(MeanPowerError::NotCovered)?;
    Ok(joules / span.seconds)
}

/// What a counter rose by over a window, in joules; between its reads it is followed in a straight line.
///
/// # Errors
/// When the clocks do not map, the counter fell, or its reads do not span the window.
pub fn counted_joules(samples: &[Sample], window: Window, clock: &ClockMapping) -> Result<f64, MeanPowerError> {
    clock.check()?;
    let span = Span::of(window, clock).ok_or(MeanPowerError::EmptyWindow)?;
    let counter = span.counter(samples).map_err(|CounterFell| MeanPowerError::CounterFell)?;
    let edges = counter.at(span.seconds).zip(counter.at(0.0));
    edges.map(|(end, start)| end - start).ok_or(MeanPowerError::CounterNotCovered)
}

/// The window on the probe's clock.
#[derive(Clone, Copy)]
struct Span {
    from_ns: u64,
    to_ns: u64,
    seconds: f64,
}

impl Span {
    fn of(window: Window, clock: &ClockMapping) -> Option<Self> {
        let (from_ns, to_ns) = (clock.to_probe(window.from_unix_ns), clock.to_probe(window.to_unix_ns));
        let length = to_ns.checked_sub(from_ns).filter(|length| *length > 0)?;
        Some(Self { from_ns, to_ns, seconds: length as f64 / 1e9 })
    }

    /// Seconds from the window's start. The difference is taken between whole nanoseconds: a float cannot hold them.
    fn seconds_at(self, unix_ns: u64) -> f64 {
        (i128::from(unix_ns) - i128::from(self.from_ns)) as f64 / 1e9
    }

    fn holds(self, sample: &Sample) -> bool {
        (self.from_ns..=self.to_ns).contains(&sample.unix_ns)
    }

    /// Instant power in watts.
    fn power(self, samples: &[Sample]) -> Curve {
        Curve::new(
            samples
                .iter()
                .filter_map(|sample| Some((self.seconds_at(sample.unix_ns), sample.power_instant_mw? as f64 / 1e3))),
        )
    }

    /// The counter in joules above its first value, with a point at each of its steps.
    ///
    /// The counter steps about every 100 ms, so two samples may show one value; a curve through the steps alone is not
    /// bent by that.
    fn counter(self, samples: &[Sample]) -> Result<Curve, CounterFell> {
        let mut read = samples.iter().filter_map(|sample| Some((sample.unix_ns, sample.energy_mj?))).peekable();
        let first = read.peek().map_or(0, |(_, millijoules)| *millijoules);
        let mut last = None;
        let mut points = Vec::new();
        while let Some((unix_ns, millijoules)) = read.next() {
            if last.is_some_and(|last| millijoules < last) {
                return Err(CounterFell);
            }
            if last != Some(millijoules) || read.peek().is_none() {
                points.push((self.seconds_at(unix_ns), (millijoules - first) as f64 / 1e3));
            }
            last = Some(millijoules);
        }
        Ok(Curve::new(points))
    }
}

struct CounterFell;

/// Measures one board by both methods.
pub(super) fn measure(window: Window, gpu: &GpuInput<'_>) -> Board {
    let mut board = Board {
        energy: GpuEnergy {
            uuid: gpu.identity.uuid.clone(),
            name: gpu.identity.name.clone(),
            power_limit_watts: gpu.identity.power_limit_mw.map(|milliwatts| milliwatts as f64 / 1e3),
            counter_joules: None,
            integral_joules: None,
            idle_watts: gpu.idle_watts,
            samples: 0,
            longest_gap_seconds: window.seconds(),
            peak_watts: None,
            peak_temperature_celsius: None,
            throttle_reasons: 0,
        },
        reasons: Vec::new(),
        void: false,
        has_gap: false,
        throttle: ThrottleCount::default(),
    };
    if let Err(error) = gpu.clock.check() {
        board.void(error.to_string());
        return board;
    }
    let Some(span) = Span::of(window, &gpu.clock) else {
        board.void("the window is empty on the probe's clock".to_owned());
        return board;
    };
    let touching = touching(gpu.samples, span);
    board.describe(touching, span);
    if clock_was_set(touching) {
        board.void("the probe's wall clock was set during the window".to_owned());
        return board;
    }
    let power = span.power(touching);
    board.integrate(&power, span);
    board.count(touching, &power, span);
    board
}

/// The samples inside the window and, for its edges, those of two seconds around it and one more on either side: a
/// counter that steps every 100 ms may need a sample further out than the next.
fn touching(samples: &[Sample], span: Span) -> &[Sample] {
    const AROUND_NS: u64 = 2_000_000_000;
    let (from_ns, to_ns) = (span.from_ns.saturating_sub(AROUND_NS), span.to_ns.saturating_add(AROUND_NS));
    let first = samples.iter().position(|sample| sample.unix_ns >= from_ns).unwrap_or(samples.len());
    let end = samples.iter().rposition(|sample| sample.unix_ns <= to_ns).map_or(0, |last| last + 1);
    samples.get(first.saturating_sub(1)..(end + 1).min(samples.len())).unwrap_or_default()
}

fn clock_was_set(samples: &[Sample]) -> bool {
    let apart = samples.iter().map(|sample| i128::from(sample.unix_ns) - i128::from(sample.mono_ns));
    let (least, most) = apart.fold((i128::MAX, i128::MIN), |(least, most), apart| (least.min(apart), most.max(apart)));
    !samples.is_empty() && most - least > MAXIMUM_CLOCK_STEP_NS
}

impl Board {
    fn void(&mut self, reason: String) {
        self.void = true;
        self.reasons.push(reason);
    }

    /// What is told of the window beside its energy.
    fn describe(&mut self, samples: &[Sample], span: Span) {
        let mut gaps = 0;
        for sample in samples.iter().filter(|sample| span.holds(sample)) {
            self.energy.samples += 1;
            self.energy.peak_temperature_celsius = self.energy.peak_temperature_celsius.max(sample.temperature_celsius);
            if let Some(mask) = sample.throttle_reasons {
                self.energy.throttle_reasons |= mask;
                self.throttle.add(mask);
            }
            if let Some(gap) = &sample.gap {
                if gaps == 0 {
                    self.reasons.push(format!("readings failed: {gap}"));
                }
                gaps += 1;
            }
        }
        // They are read once a second: a short window may have none.
        if self.energy.samples > 0 && self.throttle.samples == 0 {
            self.reasons.push("throttle reasons were not read in the window: no slow-down is ruled out".to_owned());
        }
        if gaps > 1 {
            self.reasons.push(format!("readings failed in {gaps} of {} samples", self.energy.samples));
        }
    }

    fn integrate(&mut self, power: &Curve, span: Span) {
        self.energy.peak_watts = power.peak(0.0, span.seconds);
        if let Some(gap) = power.longest_gap(0.0, span.seconds) {
            self.energy.longest_gap_seconds = gap;
            self.has_gap = gap > FLAGGED_GAP_SECONDS;
        }
        if self.has_gap {
            self.reasons.push(format!("no power for {:.1} s inside the window", self.energy.longest_gap_seconds));
        }
        self.energy.integral_joules = power.integral(0.0, span.seconds);
        if self.energy.integral_joules.is_none() {
            self.reasons.push(uncovered("instant power", power, span));
        }
    }

    fn count(&mut self, samples: &[Sample], power: &Curve, span: Span) {
        let Ok(counter) = span.counter(samples) else {
            return self.void("the energy counter fell".to_owned());
        };
        let edges = counter.at_along(span.seconds, power).zip(counter.at_along(0.0, power));
        self.energy.counter_joules = edges.map(|(end, start)| end - start);
        if self.energy.counter_joules.is_none() {
            self.reasons.push(uncovered("the energy counter", &counter, span));
        }
    }
}

fn uncovered(what: &str, curve: &Curve, span: Span) -> String {
    match curve.span() {
        None => format!("{what} was not read"),
        Some((first, _)) if first > 0.0 => {
            format!("samples of {what} begin {first:.3} s after the window's start")
        }
        Some((_, last)) => {
            format!("samples of {what} end {:.3} s before the window's end", span.seconds - last)
        }
    }
}
