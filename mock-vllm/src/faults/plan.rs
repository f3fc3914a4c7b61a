//! The faults of one server, sorted by who has them.

use std::num::NonZeroU64;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Fault, ResetReply};

/// All faults of one server; the last one of a kind counts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct FaultPlan {
    /// Faults of the server.
    pub server: ServerFaults,
    /// Faults of its GPU, and of their machine.
    pub gpu: GpuFaults,
}

/// Faults of a server; see [`Fault`] for each.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ServerFaults {
    /// [`Fault::CrashAtRequest`].
    pub crash_at_request: Option<NonZeroU64>,
    /// [`Fault::HangFromRequest`].
    pub hang_from_request: Option<NonZeroU64>,
    /// [`Fault::ErrorRate`].
    pub error_rate: f64,
    /// [`Fault::TruncateStream`].
    pub truncate_stream: Option<NonZeroU64>,
    /// [`Fault::ResetRefused`].
    pub reset_refused: Option<ResetReply>,
    /// [`Fault::ResetNotDone`].
    pub reset_not_done: bool,
    /// [`Fault::NeverReady`].
    pub never_ready: bool,
    /// [`Fault::SlowStart`].
    pub slow_start: Duration,
    /// [`Fault::RefuseConnections`].
    pub refuse_connections_after: Option<Duration>,
    /// [`Fault::SlowStream`].
    pub slow_stream: Option<Duration>,
}

/// Faults of a GPU; see [`Fault`] for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GpuFaults {
    /// [`Fault::GpuThrottle`].
    pub throttle_after: Option<Duration>,
    /// [`Fault::SensorsUnavailable`].
    pub sensors_unavailable: bool,
    /// [`Fault::EnergyCounterReset`].
    pub energy_counter_reset_after: Option<Duration>,
    /// [`Fault::ConfidentialFlip`].
    pub confidential_flip_after: Option<Duration>,
}

impl GpuFaults {
    /// Clock of a throttled GPU as a share of the usual one.
    pub const THROTTLED_SPEED: f64 = 0.6;
}

impl FromIterator<Fault> for FaultPlan {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        let mut plan = Self::default();
        for fault in faults {
            match fault {
                Fault::CrashAtRequest(request) => plan.server.crash_at_request = Some(request),
                Fault::HangFromRequest(request) => plan.server.hang_from_request = Some(request),
                Fault::ErrorRate(rate) => plan.server.error_rate = rate,
                Fault::TruncateStream(chunks) => plan.server.truncate_stream = Some(chunks),
                Fault::ResetRefused(reply) => plan.server.reset_refused = Some(reply),
                Fault::ResetNotDone => plan.server.reset_not_done = true,
                Fault::NeverReady => plan.server.never_ready = true,
                Fault::SlowStart(delay) => plan.server.slow_start = delay,
                Fault::RefuseConnections(after) => plan.server.refuse_connections_after = Some(after),
                Fault::SlowStream(gap) => plan.server.slow_stream = Some(gap),
                Fault::GpuThrottle(after) => plan.gpu.throttle_after = Some(after),
                Fault::SensorsUnavailable => plan.gpu.sensors_unavailable = true,
                Fault::EnergyCounterReset(after) => plan.gpu.energy_counter_reset_after = Some(after),
                Fault::ConfidentialFlip(after) => plan.gpu.confidential_flip_after = Some(after),
            }
        }
        plan
    }
}

/// What becomes of a generation request before it reaches the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is served.
    Served,
    /// It gets status 500.
    Failed,
    /// It never gets an answer.
    Hung,
    /// It ends the process.
    Fatal,
}

impl ServerFaults {
    /// Fate of the `ordinal`-th generation request of a server, counted from 1.
    #[must_use]
    pub fn fate(&self, seed: u64, ordinal: u64) -> Fate {
        if self.crash_at_request.is_some_and(|at| ordinal == at.get()) {
            Fate::Fatal
        } else if self.hang_from_request.is_some_and(|from| ordinal >= from.get()) {
            Fate::Hung
        } else if uniform(seed, ordinal) < self.error_rate {
            Fate::Failed
        } else {
            Fate::Served
        }
    }
}

/// A number from 0 (included) to 1 (excluded) that belongs to a request.
fn uniform(seed: u64, ordinal: u64) -> f64 {
    (xxh3_64_with_seed(&ordinal.to_le_bytes(), seed) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: &[&str]) -> FaultPlan {
        faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect()
    }

    fn fates(faults: &[&str], requests: u64) -> Vec<Fate> {
        let server = plan(faults).server;
        (1..=requests).map(|ordinal| server.fate(7, ordinal)).collect()
    }

    #[test]
    fn without_faults_every_request_is_served() {
        assert!(fates(&[], 1000).iter().all(|fate| *fate == Fate::Served));
    }

    #[test]
    fn a_crash_strikes_the_named_request_only() {
        assert_eq!(fates(&["crash-at-request=2"], 3), [Fate::Served, Fate::Fatal, Fate::Served]);
    }

    #[test]
    fn a_hang_lasts() {
        assert_eq!(fates(&["hang-from-request=2"], 3), [Fate::Served, Fate::Hung, Fate::Hung]);
    }

    #[test]
    fn errors_come_at_their_rate_and_repeat_with_the_seed() {
        let failed = |fates: &[Fate]| fates.iter().filter(|fate| **fate == Fate::Failed).count();
        let drawn = fates(&["error-rate=0.2"], 10_000);
        assert!((1800..2200).contains(&failed(&drawn)), "{}", failed(&drawn));
        assert_eq!(drawn, fates(&["error-rate=0.2"], 10_000));
        assert_eq!(failed(&fates(&["error-rate=1"], 100)), 100);
    }

    #[test]
    fn each_fault_reaches_who_has_it() {
        let plan = plan(&["gpu-throttle=1", "sensors-unavailable", "reset-not-done", "never-ready"]);
        assert_eq!(plan.gpu.throttle_after, Some(Duration::from_secs(1)));
        assert!(plan.gpu.sensors_unavailable && plan.server.reset_not_done && plan.server.never_ready);
    }
}
