//! One clock for a run: nanoseconds since its start, and what they are on the monotonic and the Unix clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Reads time as nanoseconds since the clock was started: exact differences in eight bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    origin_monotonic_ns: u64,
    origin_unix_ns: u64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        // CLOCK_MONOTONIC exists on every system that this builds for; were it missing, instants would count from 0.
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        Clock {
            origin: Instant::now(),
            origin_monotonic_ns: nanoseconds(monotonic),
            origin_unix_ns: nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// Nanoseconds since the clock was started.
    pub(super) fn now_ns(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// An instant of this clock on the machine's monotonic clock.
    pub(super) fn monotonic(&self, instant_ns: u64) -> Duration {
        Duration::from_nanos(self.origin_monotonic_ns + instant_ns)
    }

    /// An instant of this clock in seconds of the machine's monotonic clock (Python's `perf_counter`).
    pub(super) fn monotonic_s(&self, instant_ns: u64) -> f64 {
        seconds(self.origin_monotonic_ns + instant_ns)
    }

    /// A moment in nanoseconds since the Unix epoch as an instant of this clock; 0 when it was before the clock.
    pub(super) fn instant_of_unix_ns(&self, unix_ns: u64) -> u64 {
        unix_ns.saturating_sub(self.origin_unix_ns)
    }

    /// An instant of the monotonic clock, in seconds, as nanoseconds since the Unix epoch.
    pub(super) fn unix_ns_of(&self, monotonic_s: f64) -> u64 {
        let since_origin_s = monotonic_s - seconds(self.origin_monotonic_ns);
        self.origin_unix_ns.saturating_add_signed((since_origin_s * 1e9).round() as i64)
    }
}

/// Nanoseconds of a duration; 64 bits hold 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
