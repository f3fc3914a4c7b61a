//! Arm parity at a boot: what differs between the arms' servers, and whether that breaks the comparison.

use std::collections::{BTreeMap, BTreeSet};

use teebench_api::{
    campaign::{Factor, ParityDifference},
    files::evidence::Environment,
    parity::{self, PROPERTIES, ParityKind},
};

/// What is compared of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerFacts {
    /// Name of the arm.
    pub arm: String,
    /// The machine.
    pub environment: Environment,
    /// Engine's name and version.
    pub engine: Option<String>,
    /// KV blocks of its pool.
    pub num_gpu_blocks: Option<u64>,
    /// Digest of its settings.
    pub flags_sha256: String,
}

/// What differs between arms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parity {
    /// Differences that break the comparison.
    pub broken: Vec<String>,
    /// Differences that the factor explains or that were allowed.
    pub listed: Vec<String>,
}

impl ServerFacts {
    fn of_table(&self) -> parity::ServerFacts<'_> {
        parity::ServerFacts {
            engine: self.engine.as_deref(),
            num_gpu_blocks: self.num_gpu_blocks,
            flags_sha256: Some(&self.flags_sha256),
            // All arms of a boot have the same: a model is downloaded, or given by `--model`, once for all of them.
            weights: None,
            environment: &self.environment,
        }
    }
}

/// Compares the arms. Every property is compared as the set of values found on an arm's servers; one that a server does
/// not tell is unknown, which equals nothing else.
pub fn compare(servers: &[ServerFacts], factor: Factor, allow: &[ParityDifference]) -> Parity {
    let mut parity = Parity::default();
    for property in PROPERTIES {
        let mut by_arm: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for server in servers {
            let value = (property.read)(&server.of_table()).unwrap_or_else(|| "unknown".to_owned());
            by_arm.entry(&server.arm).or_default().insert(value);
        }
        if by_arm.values().collect::<BTreeSet<_>>().len() < 2 {
            continue;
        }
        let shown: Vec<String> = by_arm
            .iter()
            .map(|(arm, values)| {
                format!("{arm} has {}", values.iter().map(String::as_str).collect::<Vec<_>>().join(" and "))
            })
            .collect();
        let sentence = format!("{}: {}", property.name, shown.join(", "));
        match (property.breaks, property.kind(factor, allow)) {
            (Some(difference), ParityKind::Breaks) => {
                parity.broken.push(format!("{sentence}; make them equal or allow {difference:?} in spec.parity.allow"));
            }
            _ => parity.listed.push(sentence),
        }
    }
    parity
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use teebench_api::files::evidence::GpuIdentity;

    use super::*;

    fn server(arm: &str) -> ServerFacts {
        ServerFacts {
            arm: arm.into(),
            environment: Environment {
                kernel: Some("6.1".into()),
                gpus: vec![GpuIdentity {
                    uuid: format!("GPU-{arm}"),
                    name: "H100".into(),
                    memory_total_mib: Some(95830),
                    power_limit_mw: Some(400_000),
                    ..GpuIdentity::default()
                }],
                ..Environment::default()
            },
            engine: Some("vllm 0.25.1".into()),
            num_gpu_blocks: Some(7000),
            flags_sha256: "0123456789abcdef".into(),
        }
    }

    #[rstest]
    #[case::equal(|_: &mut ServerFacts| {}, Factor::Tee, &[], 0, 0)]
    #[case::kernel_is_explained(|s: &mut ServerFacts| s.environment.kernel = Some("6.2-cvm".into()), Factor::Tee, &[], 0, 1)]
    #[case::vbios_is_listed(|s: &mut ServerFacts| s.environment.gpus[0].vbios_version = Some("96.00".into()), Factor::Tee, &[], 0, 1)]
    #[case::clocks_are_listed(|s: &mut ServerFacts| s.environment.gpus[0].clock_graphics_max_mhz = Some(1755), Factor::Tee, &[], 0, 1)]
    #[case::cpus_are_listed(|s: &mut ServerFacts| s.environment.cpu_count = Some(40), Factor::Tee, &[], 0, 1)]
    #[case::openssl_is_listed(|s: &mut ServerFacts| s.environment.openssl_version = Some("OpenSSL 3.0.2".into()), Factor::Tee, &[], 0, 1)]
    #[case::image(|s: &mut ServerFacts| s.engine = Some("vllm 0.26".into()), Factor::Tee, &[], 1, 0)]
    #[case::image_allowed(|s: &mut ServerFacts| s.engine = Some("vllm 0.26".into()), Factor::Tee, &[ParityDifference::Image], 0, 1)]
    #[case::blocks(|s: &mut ServerFacts| s.num_gpu_blocks = Some(6000), Factor::Tee, &[], 1, 0)]
    #[case::power(|s: &mut ServerFacts| s.environment.gpus[0].power_limit_mw = Some(700_000), Factor::Tee, &[], 1, 0)]
    #[case::product(|s: &mut ServerFacts| s.environment.gpus[0].name = "H200".into(), Factor::Tee, &[], 1, 0)]
    #[case::settings_are_the_factor(|s: &mut ServerFacts| s.flags_sha256 = "fedcba9876543210".into(), Factor::Engine, &[], 0, 1)]
    #[case::settings_are_not_the_factor(|s: &mut ServerFacts| s.flags_sha256 = "fedcba9876543210".into(), Factor::Tee, &[], 1, 0)]
    #[case::unknown_is_not_equal(|s: &mut ServerFacts| s.num_gpu_blocks = None, Factor::Tee, &[], 1, 0)]
    fn what_the_factor_does_not_explain_breaks_the_comparison(
        #[case] change: fn(&mut ServerFacts),
        #[case] factor: Factor,
        #[case] allow: &[ParityDifference],
        #[case] broken: usize,
        #[case] listed: usize,
    ) {
        let mut on = server("on");
        change(&mut on);

        let parity = compare(&[server("off"), server("off"), on], factor, allow);

        assert_eq!((parity.broken.len(), parity.listed.len()), (broken, listed), "{parity:?}");
    }
}
