//! Who the simulated GPU says it is: UUIDs and NVML's answers on confidential computing.

use std::time::Duration;

use teebench_api::files::gpu::ConfidentialCompute;
use xxhash_rust::xxh3::Xxh3;

use crate::faults::GpuFaults;

/// Driver version of the simulated machine, the one of the measured H200.
pub const DRIVER_VERSION: &str = "580.159.04";

/// CUDA driver version of the simulated machine.
pub(super) const CUDA_VERSION: &str = "13.0";

/// NVML's UUID of a server's GPU: the same for the same seed, arm and ordinal, distinct otherwise.
#[must_use]
pub fn gpu_uuid(seed: u64, arm: &str, ordinal: u32) -> String {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(arm.as_bytes());
    hash.update(&ordinal.to_le_bytes());
    let digits = format!("{:032x}", hash.digest128());
    format!("GPU-{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

/// What NVML and CPUID would answer on a machine that has been up for `elapsed`.
///
/// An on state is that of an AMD SEV-SNP guest with a GPU in production mode.
#[must_use]
pub fn confidential_compute(
    configured: bool,
    faults: &GpuFaults,
    elapsed: Duration,
    memory_mib: u64,
) -> ConfidentialCompute {
    let flipped = faults.confidential_flip_after.is_some_and(|after| elapsed >= after);
    let on = configured != flipped;
    ConfidentialCompute {
        cpu_capability: if on { 3 } else { 0 },
        gpus_capability: 1,
        feature_enabled: on,
        environment_production: on,
        dev_tools_enabled: false,
        gpus_ready: on,
        protected_memory_mib: if on { memory_mib } else { 0 },
        cpuid_isolation_type: if on { 2 } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashSet;

    #[test]
    fn gpus_of_distinct_servers_arms_and_seeds_are_distinct() {
        let uuids: HashSet<String> = [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0)]
            .into_iter()
            .map(|(seed, arm, ordinal)| gpu_uuid(seed, arm, ordinal))
            .collect();
        assert_eq!(uuids.len(), 4);
        assert_eq!(gpu_uuid(1, "a", 0), gpu_uuid(1, "a", 0));
        assert!(uuids.iter().all(|uuid| uuid.len() == 40 && uuid.split('-').count() == 6));
    }

    #[rstest]
    #[case::off(false, None, false)]
    #[case::on(true, None, true)]
    #[case::on_before_the_flip(true, Some(10), true)]
    #[case::on_after_the_flip(true, Some(5), false)]
    #[case::off_after_the_flip(false, Some(5), true)]
    fn the_state_is_the_configured_one_until_it_flips(
        #[case] configured: bool,
        #[case] flip_after_s: Option<u64>,
        #[case] expected: bool,
    ) {
        let faults =
            GpuFaults { confidential_flip_after: flip_after_s.map(Duration::from_secs), ..GpuFaults::default() };
        let state = confidential_compute(configured, &faults, Duration::from_secs(5), 1024);
        let on = ConfidentialCompute {
            cpu_capability: 3,
            gpus_capability: 1,
            feature_enabled: true,
            environment_production: true,
            dev_tools_enabled: false,
            gpus_ready: true,
            protected_memory_mib: 1024,
            cpuid_isolation_type: 2,
        };
        let off = ConfidentialCompute {
            cpu_capability: 0,
            gpus_capability: 1,
            feature_enabled: false,
            environment_production: false,
            dev_tools_enabled: false,
            gpus_ready: false,
            protected_memory_mib: 0,
            cpuid_isolation_type: 0,
        };
        assert_eq!(state, if expected { on } else { off });
    }
}
