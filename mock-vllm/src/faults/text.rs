//! A fault as `KIND[=VALUE]`: read and written.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::{Fault, ResetReply};

/// All kinds with the form of their values.
pub const FAULT_KINDS: &str = "crash-at-request=N, hang-from-request=N, error-rate=SHARE, truncate-stream=CHUNKS, \
     slow-stream=MILLISECONDS, slow-start=SECONDS, never-ready, refuse-connections=SECONDS, reset-refused=empty|json, \
     reset-not-done, gpu-throttle=SECONDS, sensors-unavailable, energy-counter-reset=SECONDS, cc-flip=SECONDS";

/// A fault that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FaultParseError {
    /// There is no such kind.
    #[error("fault {0:?} is unknown: give one of {FAULT_KINDS}")]
    UnknownKind(String),
    /// The value is missing, superfluous or out of range.
    #[error("fault {kind}: {value:?} will not do: give {expected}")]
    BadValue {
        /// The fault's kind.
        kind: String,
        /// What was given.
        value: String,
        /// What is needed.
        expected: &'static str,
    },
}

impl FromStr for Fault {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, value) = text.split_once('=').map_or((text, None), |(kind, value)| (kind, Some(value)));
        let bad = |expected| FaultParseError::BadValue {
            kind: kind.to_owned(),
            value: value.unwrap_or_default().to_owned(),
            expected,
        };
        let count = || value.and_then(|v| v.parse::<NonZeroU64>().ok()).ok_or_else(|| bad("a count of at least 1"));
        let duration = |unit_s: f64, expected| {
            value
                .and_then(|v| v.parse::<f64>().ok())
                .and_then(|v| Duration::try_from_secs_f64(v * unit_s).ok())
                .ok_or_else(|| bad(expected))
        };
        let uptime = || duration(1.0, "seconds of uptime, for instance 2.5");
        let none = |fault| if value.is_none() { Ok(fault) } else { Err(bad("the kind alone")) };
        match kind {
            "crash-at-request" => count().map(Self::CrashAtRequest),
            "hang-from-request" => count().map(Self::HangFromRequest),
            "error-rate" => value
                .and_then(|v| v.parse::<f64>().ok())
                .filter(|rate| (0.0..=1.0).contains(rate))
                .map(Self::ErrorRate)
                .ok_or_else(|| bad("a share from 0 to 1")),
            "truncate-stream" => count().map(Self::TruncateStream),
            "reset-refused" => match value {
                Some("empty") => Ok(Self::ResetRefused(ResetReply::Empty)),
                Some("json") => Ok(Self::ResetRefused(ResetReply::Json)),
                _ => Err(bad("empty or json")),
            },
            "reset-not-done" => none(Self::ResetNotDone),
            "never-ready" => none(Self::NeverReady),
            "slow-start" => duration(1.0, "seconds, for instance 2.5").map(Self::SlowStart),
            "refuse-connections" => uptime().map(Self::RefuseConnections),
            "slow-stream" => duration(1e-3, "milliseconds, for instance 50").map(Self::SlowStream),
            "gpu-throttle" => uptime().map(Self::GpuThrottle),
            "sensors-unavailable" => none(Self::SensorsUnavailable),
            "energy-counter-reset" => uptime().map(Self::EnergyCounterReset),
            "cc-flip" => uptime().map(Self::ConfidentialFlip),
            _ => Err(FaultParseError::UnknownKind(kind.to_owned())),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrashAtRequest(request) => write!(f, "crash-at-request={request}"),
            Self::HangFromRequest(request) => write!(f, "hang-from-request={request}"),
            Self::ErrorRate(rate) => write!(f, "error-rate={rate}"),
            Self::TruncateStream(chunks) => write!(f, "truncate-stream={chunks}"),
            Self::SlowStream(gap) => write!(f, "slow-stream={}", gap.as_secs_f64() * 1e3),
            Self::SlowStart(delay) => write!(f, "slow-start={}", delay.as_secs_f64()),
            Self::NeverReady => f.write_str("never-ready"),
            Self::RefuseConnections(after) => write!(f, "refuse-connections={}", after.as_secs_f64()),
            Self::ResetRefused(ResetReply::Empty) => f.write_str("reset-refused=empty"),
            Self::ResetRefused(ResetReply::Json) => f.write_str("reset-refused=json"),
            Self::ResetNotDone => f.write_str("reset-not-done"),
            Self::GpuThrottle(after) => write!(f, "gpu-throttle={}", after.as_secs_f64()),
            Self::SensorsUnavailable => f.write_str("sensors-unavailable"),
            Self::EnergyCounterReset(after) => write!(f, "energy-counter-reset={}", after.as_secs_f64()),
            Self::ConfidentialFlip(after) => write!(f, "cc-flip={}", after.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn n(value: u64) -> NonZeroU64 {
        NonZeroU64::new(value).unwrap()
    }

    #[rstest]
    #[case("crash-at-request=3", Fault::CrashAtRequest(n(3)))]
    #[case("hang-from-request=1", Fault::HangFromRequest(n(1)))]
    #[case("error-rate=0.25", Fault::ErrorRate(0.25))]
    #[case("truncate-stream=2", Fault::TruncateStream(n(2)))]
    #[case("reset-refused=empty", Fault::ResetRefused(ResetReply::Empty))]
    #[case("reset-refused=json", Fault::ResetRefused(ResetReply::Json))]
    #[case("reset-not-done", Fault::ResetNotDone)]
    #[case("never-ready", Fault::NeverReady)]
    #[case("slow-start=1.5", Fault::SlowStart(Duration::from_millis(1500)))]
    #[case("refuse-connections=3", Fault::RefuseConnections(Duration::from_secs(3)))]
    #[case("slow-stream=50", Fault::SlowStream(Duration::from_millis(50)))]
    #[case("gpu-throttle=0", Fault::GpuThrottle(Duration::ZERO))]
    #[case("sensors-unavailable", Fault::SensorsUnavailable)]
    #[case("energy-counter-reset=2.5", Fault::EnergyCounterReset(Duration::from_millis(2500)))]
    #[case("cc-flip=10", Fault::ConfidentialFlip(Duration::from_secs(10)))]
    fn every_fault_can_be_asked_for_and_told(#[case] text: &str, #[case] expected: Fault) {
        let fault = text.parse::<Fault>().unwrap();
        assert_eq!((fault, fault.to_string().as_str()), (expected, text));
        let kind = text.split('=').next().unwrap();
        assert!(FAULT_KINDS.split(", ").any(|known| known.split('=').next() == Some(kind)), "{kind} is not listed");
    }

    #[rstest]
    #[case("explode", "fault \"explode\" is unknown")]
    #[case("crash-at-request", "fault crash-at-request: \"\" will not do: give a count")]
    #[case("crash-at-request=0", "fault crash-at-request: \"0\" will not do")]
    #[case("error-rate=1.5", "fault error-rate: \"1.5\" will not do: give a share from 0 to 1")]
    #[case("reset-refused", "fault reset-refused: \"\" will not do: give empty or json")]
    #[case("never-ready=1", "fault never-ready: \"1\" will not do: give the kind alone")]
    #[case("cc-flip=-1", "fault cc-flip: \"-1\" will not do")]
    fn a_bad_fault_is_named_with_its_mend(#[case] text: &str, #[case] start: &str) {
        let error = text.parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
}
