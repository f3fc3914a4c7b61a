//! Faults on demand: each is one way in which a real server or GPU fails, switched on by `--fault KIND[=VALUE]` or,
//! where that is enabled, by `/admin/faults`.

mod active;
mod plan;
mod text;

pub use active::ActiveFaults;
pub use plan::{Fate, FaultPlan, GpuFaults, ServerFaults};
pub use text::{FAULT_KINDS, FaultParseError};

use std::num::NonZeroU64;
use std::time::Duration;

/// One fault.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// The process ends abruptly when the n-th generation request of a server arrives.
    CrashAtRequest(NonZeroU64),
    /// Generation requests from the n-th on are accepted and never answered.
    HangFromRequest(NonZeroU64),
    /// Generation requests are answered with status 500 at this rate, 0 to 1.
    ErrorRate(f64),
    /// Streams break off after that many chunks, without an end marker.
    TruncateStream(NonZeroU64),
    /// A reset of the prefix cache is refused, and the answer has this shape.
    ResetRefused(ResetReply),
    /// A reset of the prefix cache is claimed and not done.
    ResetNotDone,
    /// The server stays in its loading state.
    NeverReady,
    /// Loading takes that much longer.
    SlowStart(Duration),
    /// From that uptime on new connections are refused; those that are open live on.
    RefuseConnections(Duration),
    /// A stream sends no oftener than once in that time; what is due meanwhile leaves together.
    SlowStream(Duration),
    /// The GPU throttles for heat from that uptime on.
    GpuThrottle(Duration),
    /// The GPU's sensors give no values.
    SensorsUnavailable,
    /// The GPU's energy counter starts over at that uptime.
    EnergyCounterReset(Duration),
    /// The machine's answers on confidential computing turn into their opposite at that uptime.
    ConfidentialFlip(Duration),
}

/// Shape of the answer to a reset of the prefix cache. Status 200 in any case, refused or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetReply {
    /// No body, as vLLM before 0.26.
    Empty,
    /// `{"success": ...}`, as vLLM from 0.26 on.
    Json,
}

impl ResetReply {
    /// The shape that a version of vLLM answers in; versions that cannot be read count as old.
    #[must_use]
    pub fn of_version(version: &str) -> Self {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(0), Some(minor)) if minor >= 26 => Self::Json,
            (Some(major), _) if major >= 1 => Self::Json,
            _ => Self::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0.25.1", ResetReply::Empty)]
    #[case("0.25.1+simulated", ResetReply::Empty)]
    #[case("0.26.0", ResetReply::Json)]
    #[case("1.0.0", ResetReply::Json)]
    #[case("unknown", ResetReply::Empty)]
    fn the_reply_to_a_reset_follows_the_version(#[case] version: &str, #[case] expected: ResetReply) {
        assert_eq!(ResetReply::of_version(version), expected);
    }
}
