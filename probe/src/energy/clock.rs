//! From the load generator's clock to a probe's.

use serde::{Deserialize, Serialize};

/// An offset measured with a longer half round trip than this says too little of the clocks.
pub const MAXIMUM_HALF_ROUND_TRIP_NS: u64 = 10_000_000;

/// Clocks that part by more than this within a run are not mapped.
pub const MAXIMUM_DRIFT_NS: u64 = 20_000_000;

/// How far a probe's clock is ahead of the load generator's, measured once.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct ClockOffset {
    /// Probe's clock less the load generator's, in nanoseconds.
    pub offset_ns: i64,
    /// Half of the round trip of the exchange behind it, in nanoseconds: the offset's uncertainty.
    pub half_round_trip_ns: u64,
    /// When it was measured, on the load generator's clock, in nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
}

impl ClockOffset {
    /// The offset of a clock to itself.
    pub const SAME: Self = Self { offset_ns: 0, half_round_trip_ns: 0, at_unix_ns: 0 };
}

/// A line through the offset before a run and the one after it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct ClockMapping {
    /// Measured before the run.
    pub before: ClockOffset,
    /// Measured after the run.
    pub after: ClockOffset,
}

/// The clocks cannot be mapped well enough.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// The exchange was too slow.
    #[error("clock offset: half round trip of {:.1} ms is over 10 ms", *.0 as f64 / 1e6)]
    SlowExchange(u64),
    /// The offsets before and after differ too much.
    #[error("clock offset: drifted by {:.1} ms during the run, over 20 ms", *.0 as f64 / 1e6)]
    Drift(u64),
    /// The later offset was measured first.
    #[error("clock offset: the one after the run was measured before the other")]
    Order,
}

impl ClockMapping {
    /// The mapping of a clock to itself.
    pub const SAME: Self = Self { before: ClockOffset::SAME, after: ClockOffset::SAME };

    /// Whether the mapping is good enough for energy.
    ///
    /// # Errors
    /// What stands against it.
    pub fn check(&self) -> Result<(), ClockError> {
        let half_round_trip = self.before.half_round_trip_ns.max(self.after.half_round_trip_ns);
        let drift = self.after.offset_ns.abs_diff(self.before.offset_ns);
        match () {
            () if half_round_trip > MAXIMUM_HALF_ROUND_TRIP_NS => Err(ClockError::SlowExchange(half_round_trip)),
            () if drift > MAXIMUM_DRIFT_NS => Err(ClockError::Drift(drift)),
            () if self.after.at_unix_ns < self.before.at_unix_ns => Err(ClockError::Order),
            () => Ok(()),
        }
    }

    /// A moment of the load generator's clock on the probe's; before the first offset and after the last one, by the
    /// nearer of the two.
    pub fn to_probe(&self, unix_ns: u64) -> u64 {
        let span = self.after.at_unix_ns.saturating_sub(self.before.at_unix_ns);
        let share = match span {
            0 => 0.0,
            span => (unix_ns.saturating_sub(self.before.at_unix_ns) as f64 / span as f64).min(1.0),
        };
        let drift = self.after.offset_ns.saturating_sub(self.before.offset_ns);
        let offset = self.before.offset_ns.saturating_add((share * drift as f64).round() as i64);
        unix_ns.saturating_add_signed(offset)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MS: i64 = 1_000_000;

    fn offset(offset_ms: i64, half_ms: u64, at_ms: u64) -> ClockOffset {
        ClockOffset {
            offset_ns: offset_ms * MS,
            half_round_trip_ns: half_ms * 1_000_000,
            at_unix_ns: at_ms * 1_000_000,
        }
    }

    #[rstest]
    #[case::at_the_bounds(offset(0, 10, 0), offset(20, 10, 100), Ok(()))]
    #[case::negative_drift(offset(5, 1, 0), offset(-15, 1, 100), Ok(()))]
    #[case::slow_before(offset(0, 11, 0), offset(0, 1, 100), Err(ClockError::SlowExchange(11_000_000)))]
    #[case::slow_after(offset(0, 1, 0), offset(0, 12, 100), Err(ClockError::SlowExchange(12_000_000)))]
    #[case::drift(offset(0, 1, 0), offset(-21, 1, 100), Err(ClockError::Drift(21_000_000)))]
    #[case::order(offset(0, 1, 100), offset(0, 1, 0), Err(ClockError::Order))]
    fn offsets_are_held_to_their_bounds(
        #[case] before: ClockOffset,
        #[case] after: ClockOffset,
        #[case] expected: Result<(), ClockError>,
    ) {
        assert_eq!(ClockMapping { before, after }.check(), expected);
    }

    #[rstest]
    #[case::first_edge(1_000, 1_010)]
    #[case::middle(1_500, 1_515)]
    #[case::last_edge(2_000, 2_020)]
    #[case::before_the_first(500, 510)]
    #[case::after_the_last(9_000, 9_020)]
    fn moments_are_mapped_along_the_line(#[case] loader_ms: u64, #[case] probe_ms: u64) {
        let mapping = ClockMapping { before: offset(10, 1, 1_000), after: offset(20, 1, 2_000) };
        assert_eq!(mapping.to_probe(loader_ms * 1_000_000), probe_ms * 1_000_000);
    }

    #[test]
    fn a_clock_is_mapped_to_itself_exactly() {
        assert_eq!(ClockMapping::SAME.to_probe(1_795_354_574_273_226_123), 1_795_354_574_273_226_123);
    }
}
