//! Energy of a run's window, by the counter and, as a check on it, by the integral of power. Pure.
//!
//! The window is given on the load generator's clock and mapped to each probe's. The counter's difference between the
//! window's edges is the figure, followed between two of its reads along the power that was sampled; the trapezoid of
//! instant power over the same span must agree with it. What was not measured is absent, never zero, and each absence
//! has its reason.

mod board;
mod clock;
mod curve;
mod throttle;

use std::collections::BTreeMap;

use teebench_api::files::energy::{EnergyFile, EnergyVerdict, GpuEnergy};
use teebench_api::files::evidence::GpuIdentity;

pub use board::{MeanPowerError, counted_joules, mean_power_watts};
pub use clock::{ClockError, ClockMapping, ClockOffset, MAXIMUM_DRIFT_NS, MAXIMUM_HALF_ROUND_TRIP_NS};
pub use throttle::{SOFTWARE_POWER_CAP, throttle_reasons_that_void};

use crate::sampler::Sample;

/// A span on the load generator's clock, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment: the first request sent.
    pub from_unix_ns: u64,
    /// Last moment: the last token received.
    pub to_unix_ns: u64,
}

impl Window {
    /// Length in seconds; zero when the end is not after the start.
    pub fn seconds(self) -> f64 {
        self.to_unix_ns.saturating_sub(self.from_unix_ns) as f64 / 1e9
    }
}

/// What the energy is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Tokens generated inside the window.
    pub output_tokens: u64,
    /// Tokens in and out.
    pub total_tokens: u64,
    /// Requests completed.
    pub requests: u64,
}

/// One distinct GPU of the run.
#[derive(Clone, Debug)]
pub struct GpuInput<'a> {
    /// What it is.
    pub identity: GpuIdentity,
    /// From the load generator's clock to the clock of the probe that sampled it.
    pub clock: ClockMapping,
    /// Its samples, from two seconds before the window's start until two seconds after its end: the counter is read
    /// less often than power, and a read on either side of each edge is needed.
    pub samples: &'a [Sample],
    /// Mean power with the model loaded and no request, in watts; see [`mean_power_watts`].
    pub idle_watts: Option<f64>,
}

/// All that the energy of a run is computed from.
#[derive(Clone, Debug)]
pub struct EnergyInputs<'a> {
    /// First send to last token.
    pub window: Window,
    /// The GPUs by UUID, so that eight servers on one board are one board.
    pub gpus: BTreeMap<String, GpuInput<'a>>,
    /// Tokens and requests; `None` where no load is behind the window.
    pub work: Option<Work>,
    /// Windows shorter than this carry no figure per token or request.
    pub minimum_window_seconds: f64,
    /// Whether the GPUs are simulated.
    pub simulated: bool,
}

/// Computes the energy of a run. Never fails: what stands against a figure is in its reasons.
pub fn compute(inputs: &EnergyInputs<'_>) -> EnergyFile {
    let window_seconds = inputs.window.seconds();
    let mut reasons = Vec::new();
    if inputs.gpus.is_empty() {
        reasons.push("no gpu was sampled".to_owned());
    }
    if window_seconds <= 0.0 {
        reasons.push("the window is empty: its end is not after its start".to_owned());
    }
    let boards: Vec<board::Board> = inputs.gpus.values().map(|gpu| board::measure(inputs.window, gpu)).collect();
    for board in &boards {
        reasons.extend(board.reasons.iter().map(|reason| format!("gpu {}: {reason}", board.energy.uuid)));
    }

    let verdict = verdict(&boards, &mut reasons);
    let usable = verdict != EnergyVerdict::Absent;
    let sum = |part: fn(&GpuEnergy) -> Option<f64>| total(boards.iter().map(|board| part(&board.energy)));
    let counter_joules = sum(|gpu| gpu.counter_joules).filter(|_| usable);
    let idle_watts = sum(|gpu| gpu.idle_watts);
    let idle_joules = idle_watts.map(|watts| watts * window_seconds);
    let claim = per_unit_base(counter_joules, window_seconds, inputs, &mut reasons);
    let per = |count: fn(&Work) -> u64| {
        let count = inputs.work.as_ref().map(count).filter(|count| *count > 0)?;
        Some(claim? / count as f64)
    };
    EnergyFile {
        schema_version: 1,
        simulated: inputs.simulated,
        scope: "gpu_board".to_owned(),
        window_seconds,
        verdict,
        counter_joules,
        integral_joules: sum(|gpu| gpu.integral_joules).filter(|_| usable),
        idle_watts,
        idle_joules,
        net_joules: counter_joules.zip(idle_joules).map(|(gross, idle)| gross - idle),
        joules_per_output_token: per(|work| work.output_tokens),
        joules_per_total_token: per(|work| work.total_tokens),
        joules_per_request: per(|work| work.requests),
        power_cap_share: throttle::power_cap_share(boards.iter().map(|board| board.throttle)),
        gpus: boards.into_iter().map(|board| board.energy).collect(),
        cpu_packages: Vec::new(),
        reasons,
    }
}

/// The sum over all GPUs; absent when one of them is, or there is none.
fn total(parts: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let parts: Option<Vec<f64>> = parts.collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.iter().sum())
}

/// The worst board decides: errors of two boards must not cancel.
fn verdict(boards: &[board::Board], reasons: &mut Vec<String>) -> EnergyVerdict {
    if boards.iter().any(|board| board.void) {
        return EnergyVerdict::Absent;
    }
    let worst = boards.iter().map(|board| {
        let GpuEnergy { uuid, counter_joules, integral_joules, .. } = &board.energy;
        let (verdict, reason) = match (counter_joules, integral_joules) {
            (None, None) => (EnergyVerdict::Absent, None),
            (Some(counter), Some(integral)) => agreement(*counter, *integral),
            _ => (EnergyVerdict::Degraded, Some("only one of the two methods measured".to_owned())),
        };
        reasons.extend(reason.map(|reason| format!("gpu {uuid}: {reason}")));
        if board.has_gap { worse(verdict, EnergyVerdict::Warn) } else { verdict }
    });
    worst.reduce(worse).unwrap_or(EnergyVerdict::Absent)
}

fn worse(a: EnergyVerdict, b: EnergyVerdict) -> EnergyVerdict {
    let rank = |verdict: EnergyVerdict| match verdict {
        EnergyVerdict::Ok => 0,
        EnergyVerdict::Warn => 1,
        EnergyVerdict::Degraded => 2,
        EnergyVerdict::Absent => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

fn agreement(counter: f64, integral: f64) -> (EnergyVerdict, Option<String>) {
    let apart = (counter - integral).abs();
    let verdict = match () {
        () if apart <= 0.05 * counter => EnergyVerdict::Ok,
        () if apart <= 0.10 * counter => EnergyVerdict::Warn,
        () => EnergyVerdict::Degraded,
    };
    let reason = (verdict != EnergyVerdict::Ok)
        .then(|| format!("counter {counter:.1} J and integral of power {integral:.1} J differ by over 5 %"));
    (verdict, reason)
}

/// What figures per token and request are made of: the counter's energy, unless the window is too short for a claim.
fn per_unit_base(
    counter_joules: Option<f64>,
    window_seconds: f64,
    inputs: &EnergyInputs<'_>,
    reasons: &mut Vec<String>,
) -> Option<f64> {
    inputs.work?;
    if window_seconds < inputs.minimum_window_seconds {
        reasons.push(format!(
            "the window of {window_seconds:.1} s is under the minimum of {} s: no energy per token or request",
            inputs.minimum_window_seconds
        ));
        return None;
    }
    if counter_joules.is_none() {
        reasons.push("no energy per token or request without the counter of every gpu".to_owned());
    }
    counter_joules
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
