//! Which of NVML's clock event reasons void a run, and which are ordinary load.
//!
//! Bits as in `nvml.h` (`nvmlClocksEventReason*`).

/// The software power cap: the board works at its limit, which is load, not a fault.
pub const SOFTWARE_POWER_CAP: u64 = 0x4;

const VOIDING: [(u64, &str); 4] = [
    (0x8, "hardware slowdown"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "hardware power brake"),
];

/// Names of the reasons in a mask that make a run inconclusive: heat and hardware, never the power cap.
pub fn throttle_reasons_that_void(mask: u64) -> Vec<&'static str> {
    VOIDING.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect()
}

/// Samples that carried throttle reasons, and those of them with the software power cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ThrottleCount {
    pub(super) samples: usize,
    pub(super) capped: usize,
}

impl ThrottleCount {
    pub(super) fn add(&mut self, mask: u64) {
        self.samples += 1;
        self.capped += usize::from(mask & SOFTWARE_POWER_CAP != 0);
    }
}

/// Share of samples with the software power cap; absent when no sample carried the reasons.
pub(super) fn power_cap_share(counts: impl Iterator<Item = ThrottleCount>) -> Option<f64> {
    let all = counts.fold(ThrottleCount::default(), |sum, count| ThrottleCount {
        samples: sum.samples + count.samples,
        capped: sum.capped + count.capped,
    });
    (all.samples > 0).then(|| all.capped as f64 / all.samples as f64)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none(0x0, &[])]
    #[case::idle(0x1, &[])]
    #[case::application_clocks(0x2, &[])]
    #[case::power_cap_is_load(0x4, &[])]
    #[case::hardware(0x8, &["hardware slowdown"])]
    #[case::sync_boost(0x10, &[])]
    #[case::software_thermal(0x20, &["software thermal slowdown"])]
    #[case::hardware_thermal(0x48, &["hardware slowdown", "hardware thermal slowdown"])]
    #[case::power_brake(0x80 | 0x4, &["hardware power brake"])]
    #[case::display_clocks(0x100, &[])]
    fn only_heat_and_hardware_void(#[case] mask: u64, #[case] expected: &[&str]) {
        assert_eq!(throttle_reasons_that_void(mask), expected);
    }

    #[test]
    fn the_share_is_over_samples_that_carried_the_reasons() {
        let counts = [ThrottleCount { samples: 3, capped: 1 }, ThrottleCount { samples: 1, capped: 1 }];
        assert_eq!(power_cap_share(counts.into_iter()), Some(0.5));
        assert_eq!(power_cap_share([ThrottleCount::default()].into_iter()), None);
    }
}
