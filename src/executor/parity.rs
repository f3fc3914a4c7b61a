//! Arm parity at a boot: what differs between the arms' servers, and whether that breaks the comparison.

use std::collections::BTreeMap;

use teebench_api::{
    campaign::{Factor, ParityDifference},
    files::evidence::{Environment, GpuIdentity},
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

/// What is compared: its name, the difference that may be allowed (none where the factor explains it), and how it is read.
type Fact = (&'static str, Option<ParityDifference>, fn(&ServerFacts) -> String);

/// Compares the arms. Every fact is compared as the set of values found on an arm's servers.
pub fn compare(servers: &[ServerFacts], factor: Factor, allow: &[ParityDifference]) -> Parity {
    let mut parity = Parity::default();
    let facts: [Fact; 14] = [
        ("GPU product, count and memory", Some(ParityDifference::GpuProduct), gpu_product),
        ("engine version", Some(ParityDifference::Image), |server| shown(server.engine.as_ref())),
        ("engine settings", Some(ParityDifference::Flags), |server| server.flags_sha256[..12].to_owned()),
        ("enforced power limit", Some(ParityDifference::PowerLimit), power_limit),
        ("KV blocks", Some(ParityDifference::KvBlocks), |server| shown(server.num_gpu_blocks.as_ref())),
        ("kernel", None, |server| shown(server.environment.kernel.as_ref())),
        ("operating system", None, |server| shown(server.environment.os.as_ref())),
        ("CPU", None, cpu),
        ("memory", None, |server| shown(server.environment.memory_mib.map(|mib| format!("{mib} MiB")).as_ref())),
        ("VBIOS", None, |server| of_gpus(server, |gpu| shown(gpu.vbios_version.as_ref()))),
        ("limits of the GPU's clocks", None, |server| of_gpus(server, clock_limits)),
        ("driver", None, |server| shown(server.environment.driver_version.as_ref())),
        ("CUDA version", None, |server| shown(server.environment.cuda_version.as_ref())),
        ("OpenSSL version", None, |server| shown(server.environment.openssl_version.as_ref())),
    ];
    for (name, difference, fact) in facts {
        let mut by_arm: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for server in servers {
            let values = by_arm.entry(&server.arm).or_default();
            let value = fact(server);
            if !values.contains(&value) {
                values.push(value);
                values.sort();
            }
        }
        let mut distinct: Vec<&Vec<String>> = by_arm.values().collect();
        distinct.sort();
        distinct.dedup();
        if distinct.len() < 2 {
            continue;
        }
        let shown: Vec<String> =
            by_arm.iter().map(|(arm, values)| format!("{arm} has {}", values.join(" and "))).collect();
        let sentence = format!("{name}: {}", shown.join(", "));
        match difference {
            Some(difference) if !factor.explains(difference) && !allow.contains(&difference) => {
                parity.broken.push(format!("{sentence}; make them equal or allow {difference:?} in spec.parity.allow"));
            }
            _ => parity.listed.push(sentence),
        }
    }
    parity
}

fn gpu_product(server: &ServerFacts) -> String {
    let mut gpus: Vec<String> = server
        .environment
        .gpus
        .iter()
        .map(|gpu| format!("{} with {}", gpu.name, gpu.memory_total_mib.map_or("?".into(), |mib| format!("{mib} MiB"))))
        .collect();
    gpus.sort();
    if gpus.is_empty() { "none".to_owned() } else { gpus.join(" + ") }
}

fn power_limit(server: &ServerFacts) -> String {
    of_gpus(server, |gpu| gpu.power_limit_mw.map_or("unknown".into(), |limit| format!("{} W", limit / 1000)))
}

fn clock_limits(gpu: &GpuIdentity) -> String {
    let mhz = |clock: Option<u32>| clock.map_or_else(|| "unknown".to_owned(), |mhz| format!("{mhz} MHz"));
    format!("graphics {}, memory {}", mhz(gpu.clock_graphics_max_mhz), mhz(gpu.clock_memory_max_mhz))
}

fn cpu(server: &ServerFacts) -> String {
    let Environment { cpu_model, cpu_count, .. } = &server.environment;
    format!("{} with {} CPUs", shown(cpu_model.as_ref()), shown(cpu_count.as_ref()))
}

/// What a server's GPUs have of something, each value once.
fn of_gpus(server: &ServerFacts, fact: fn(&GpuIdentity) -> String) -> String {
    let mut values: Vec<String> = server.environment.gpus.iter().map(fact).collect();
    values.sort();
    values.dedup();
    values.join(" and ")
}

fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

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
