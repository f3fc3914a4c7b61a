//! One sample of one GPU: a line of `power-<uuid>.jsonl`.

use serde::{Deserialize, Serialize};

use crate::gpu::{Answer, FastReading, SlowReading, Unanswered};

/// What one GPU read at one moment. A reading that is absent was not taken, is not supported, or failed; a failure is
/// told in `gap`. The energy is read twice a second, the readings from `utilization_gpu_percent` on once.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Sample {
    /// When it was taken, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// The same moment on `CLOCK_MONOTONIC`, in nanoseconds.
    pub mono_ns: u64,
    /// Instant power in milliwatts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub power_instant_mw: Option<u64>,
    /// Power averaged over the last second, in milliwatts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub power_average_mw: Option<u64>,
    /// Energy since the driver was loaded, in millijoules.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub energy_mj: Option<u64>,
    /// Share of the last sampling period in which a kernel ran, in percent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub utilization_gpu_percent: Option<u32>,
    /// Share of the last sampling period in which memory was read or written, in percent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub utilization_memory_percent: Option<u32>,
    /// Graphics clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_graphics_mhz: Option<u32>,
    /// Memory clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_memory_mhz: Option<u32>,
    /// Temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub temperature_celsius: Option<u32>,
    /// NVML's bit mask of clock event (throttle) reasons.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub throttle_reasons: Option<u64>,
    /// Which calls failed, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gap: Option<String>,
}

impl Sample {
    /// Joins the readings of one moment; `slow` where they were taken.
    pub fn new(unix_ns: u64, mono_ns: u64, fast: FastReading, slow: Option<SlowReading>) -> Self {
        let FastReading { power_instant_mw, power_average_mw, energy_mj } = fast;
        let mut gaps = Gaps::default();
        let sample = Self {
            unix_ns,
            mono_ns,
            power_instant_mw: gaps.note("power_instant", power_instant_mw),
            power_average_mw: gaps.note("power_average", power_average_mw),
            energy_mj: energy_mj.and_then(|answer| gaps.note("energy", answer)),
            ..Self::default()
        };
        let sample = match slow {
            None => sample,
            Some(SlowReading {
                utilization_gpu_percent,
                utilization_memory_percent,
                clock_graphics_mhz,
                clock_memory_mhz,
                temperature_celsius,
                throttle_reasons,
            }) => Self {
                utilization_gpu_percent: gaps.note("utilization_gpu", utilization_gpu_percent),
                utilization_memory_percent: gaps.note("utilization_memory", utilization_memory_percent),
                clock_graphics_mhz: gaps.note("clock_graphics", clock_graphics_mhz),
                clock_memory_mhz: gaps.note("clock_memory", clock_memory_mhz),
                temperature_celsius: gaps.note("temperature", temperature_celsius),
                throttle_reasons: gaps.note("throttle_reasons", throttle_reasons),
                ..sample
            },
        };
        Self { gap: gaps.told(), ..sample }
    }

    /// The sample as a line of JSON, with its line feed.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("numbers and a string always serialize");
        line.push('\n');
        line
    }
}

/// Failures of one sample, grouped by reason: a lost GPU fails every call with the same words.
#[derive(Default)]
struct Gaps {
    reasons: Vec<(String, Vec<&'static str>)>,
}

impl Gaps {
    fn note<T>(&mut self, name: &'static str, answer: Answer<T>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(Unanswered::NotSupported) => None,
            Err(Unanswered::Failed(reason)) => {
                match self.reasons.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, names)) => names.push(name),
                    None => self.reasons.push((reason, vec![name])),
                }
                None
            }
        }
    }

    fn told(self) -> Option<String> {
        let parts: Vec<String> =
            self.reasons.into_iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fast() -> FastReading {
        FastReading { power_instant_mw: Ok(80_660), power_average_mw: Ok(80_370), energy_mj: Some(Ok(3_282_513)) }
    }

    #[test]
    fn a_line_names_its_units_and_leaves_out_what_was_not_read() {
        let line = Sample::new(5, 6, fast(), None).to_line();
        assert_eq!(
            line,
            "{\"unix_ns\":5,\"mono_ns\":6,\"power_instant_mw\":80660,\"power_average_mw\":80370,\
             \"energy_mj\":3282513}\n"
        );
        let read: Sample = serde_json::from_str(&line).unwrap();
        assert_eq!(read.power_average_mw, Some(80_370));
    }

    #[test]
    fn a_reading_that_is_not_supported_is_absent_and_no_gap() {
        let sample = Sample::new(1, 1, FastReading { energy_mj: Some(Err(Unanswered::NotSupported)), ..fast() }, None);
        assert_eq!((sample.energy_mj, sample.gap), (None, None));
    }

    #[test]
    fn failures_are_told_once_for_each_reason() {
        let lost = Unanswered::Failed("GPU is lost".to_owned());
        let slow = SlowReading { clock_memory_mhz: Err(Unanswered::Failed("timed out".to_owned())), ..slow() };
        let sample = Sample::new(1, 1, FastReading::failed(&lost, true), Some(slow));
        let gap = sample.gap.unwrap();
        assert_eq!(gap, "power_instant, power_average, energy: GPU is lost; clock_memory: timed out");
        assert_eq!(sample.temperature_celsius, Some(42));
    }

    fn slow() -> SlowReading {
        SlowReading {
            utilization_gpu_percent: Ok(1),
            utilization_memory_percent: Ok(2),
            clock_graphics_mhz: Ok(345),
            clock_memory_mhz: Ok(3201),
            temperature_celsius: Ok(42),
            throttle_reasons: Ok(1),
        }
    }
}
