//! Arm parity: what is compared between the arms' servers, and what a difference means. The executors ask at each boot,
//! the report over all runs that count; both by this one table.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    campaign::{Factor, ParityDifference},
    files::evidence::{Environment, GpuIdentity},
};

/// What is compared of one server.
#[derive(Debug, Clone, Copy)]
pub struct ServerFacts<'a> {
    /// Engine's name and version.
    pub engine: Option<&'a str>,
    /// KV blocks of its pool.
    pub num_gpu_blocks: Option<u64>,
    /// SHA-256 of its settings, in hex.
    pub flags_sha256: Option<&'a str>,
    /// What its weights are, where they are not those of the model's revision.
    pub weights: Option<&'a str>,
    /// The machine.
    pub environment: &'a Environment,
}

/// What a difference between arms means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ParityKind {
    /// It breaks the comparison.
    Breaks,
    /// It would break the comparison, but the campaign allows it.
    Allowed,
    /// The factor explains it.
    Explained,
    /// It is listed, and that is all.
    Listed,
}

/// A property of a server.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// What it is called.
    pub name: &'static str,
    /// The difference that breaks a comparison; absent of what is merely listed.
    pub breaks: Option<ParityDifference>,
    /// What a server has of it; `None` where nothing tells.
    pub read: fn(&ServerFacts<'_>) -> Option<String>,
}

impl Property {
    /// What a difference in it means, given the factor in which the arms are meant to differ and what is allowed.
    #[must_use]
    pub fn kind(&self, factor: Factor, allow: &[ParityDifference]) -> ParityKind {
        match self.breaks {
            None => ParityKind::Listed,
            Some(difference) if factor.explains(difference) => ParityKind::Explained,
            Some(difference) if allow.contains(&difference) => ParityKind::Allowed,
            Some(_) => ParityKind::Breaks,
        }
    }
}

const fn breaking(
    name: &'static str,
    difference: ParityDifference,
    read: fn(&ServerFacts<'_>) -> Option<String>,
) -> Property {
    Property { name, breaks: Some(difference), read }
}

const fn listed(name: &'static str, read: fn(&ServerFacts<'_>) -> Option<String>) -> Property {
    Property { name, breaks: None, read }
}

/// All properties that are compared, what breaks a comparison first.
pub const PROPERTIES: [Property; 19] = [
    breaking("GPU product", ParityDifference::GpuProduct, |server| of_gpus(server, |gpu| Some(gpu.name.clone()))),
    breaking("GPUs of a server", ParityDifference::GpuProduct, |server| {
        let gpus = server.environment.gpus.len();
        (gpus > 0).then(|| gpus.to_string())
    }),
    breaking("GPU memory", ParityDifference::GpuProduct, |server| {
        of_gpus(server, |gpu| gpu.memory_total_mib.map(|memory| format!("{memory} MiB")))
    }),
    breaking("enforced power limit", ParityDifference::PowerLimit, |server| {
        of_gpus(server, |gpu| gpu.power_limit_mw.map(|limit| format!("{} W", limit as f64 / 1e3)))
    }),
    breaking("engine", ParityDifference::Image, |server| {
        server.engine.map(str::to_owned).or_else(|| server.environment.engine.clone())
    }),
    breaking("engine settings (SHA-256)", ParityDifference::Flags, |server| {
        server.flags_sha256.map(|digest| digest.chars().take(12).collect())
    }),
    breaking("model weights", ParityDifference::Revision, |server| {
        Some(server.weights.unwrap_or("those of the revision").to_owned())
    }),
    breaking("KV blocks", ParityDifference::KvBlocks, |server| server.num_gpu_blocks.map(|blocks| blocks.to_string())),
    listed("GPU VBIOS", |server| of_gpus(server, |gpu| gpu.vbios_version.clone())),
    listed("limits of the GPU's clocks", |server| of_gpus(server, clock_limits)),
    listed("NVIDIA driver", |server| server.environment.driver_version.clone()),
    listed("CUDA", |server| server.environment.cuda_version.clone()),
    listed("OpenSSL", |server| server.environment.openssl_version.clone()),
    listed("operating system", |server| server.environment.os.clone()),
    listed("kernel", |server| server.environment.kernel.clone()),
    listed("CPU", |server| server.environment.cpu_model.clone()),
    listed("CPUs", |server| server.environment.cpu_count.map(|count| count.to_string())),
    listed("memory", |server| server.environment.memory_mib.map(|memory| format!("{} GiB", memory / 1024))),
    listed("confidential computing of the GPU", |server| {
        let state = server.environment.confidential_compute?;
        Some(if state.feature_enabled { "on" } else { "off" }.to_owned())
    }),
];

/// What a server's GPUs have of something, each value once.
fn of_gpus(server: &ServerFacts<'_>, read: impl Fn(&GpuIdentity) -> Option<String>) -> Option<String> {
    let values: BTreeSet<String> = server.environment.gpus.iter().filter_map(read).collect();
    (!values.is_empty()).then(|| values.into_iter().collect::<Vec<_>>().join(", "))
}

fn clock_limits(gpu: &GpuIdentity) -> Option<String> {
    let mhz = |clock: Option<u32>| clock.map_or_else(|| "unknown".to_owned(), |mhz| format!("{mhz} MHz"));
    let (graphics, memory) = (gpu.clock_graphics_max_mhz, gpu.clock_memory_max_mhz);
    (graphics.is_some() || memory.is_some()).then(|| format!("graphics {}, memory {}", mhz(graphics), mhz(memory)))
}
