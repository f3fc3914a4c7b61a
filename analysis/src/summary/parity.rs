//! What the arms' machines are, side by side, and what a difference means.

use std::collections::BTreeSet;

use teebench_api::{
    campaign::{BenchmarkCampaignSpec, ParityDifference},
    files::{evidence::GpuIdentity, run::ServerRecord},
};

use super::{ParityKind, ParityRow, ParityValues, counted::CountedRun};

/// A property of a server and what it is called.
struct Property {
    name: &'static str,
    /// The difference that breaks a comparison; absent for what is merely listed.
    breaks: Option<ParityDifference>,
    read: fn(&ServerRecord) -> Option<String>,
}

const PROPERTIES: [Property; 17] = [
    Property {
        name: "GPU product",
        breaks: Some(ParityDifference::GpuProduct),
        read: |server| of_gpus(server, |gpu| Some(gpu.name.clone())),
    },
    Property {
        name: "GPUs of a server",
        breaks: Some(ParityDifference::GpuProduct),
        read: |server| (!server.environment.gpus.is_empty()).then(|| server.environment.gpus.len().to_string()),
    },
    Property {
        name: "GPU memory",
        breaks: Some(ParityDifference::GpuProduct),
        read: |server| of_gpus(server, |gpu| gpu.memory_total_mib.map(|memory| format!("{memory} MiB"))),
    },
    Property {
        name: "GPU power limit",
        breaks: Some(ParityDifference::PowerLimit),
        read: |server| of_gpus(server, |gpu| gpu.power_limit_mw.map(|limit| format!("{} W", limit as f64 / 1e3))),
    },
    Property {
        name: "engine",
        breaks: Some(ParityDifference::Image),
        read: |server| server.engine.clone().or_else(|| server.environment.engine.clone()),
    },
    Property {
        name: "engine settings (SHA-256)",
        breaks: Some(ParityDifference::Flags),
        read: |server| server.flags_sha256.as_ref().map(|digest| digest.chars().take(12).collect()),
    },
    Property {
        name: "KV blocks",
        breaks: Some(ParityDifference::KvBlocks),
        read: |server| server.num_gpu_blocks.map(|blocks| blocks.to_string()),
    },
    Property { name: "GPU VBIOS", breaks: None, read: |server| of_gpus(server, |gpu| gpu.vbios_version.clone()) },
    Property { name: "NVIDIA driver", breaks: None, read: |server| server.environment.driver_version.clone() },
    Property { name: "CUDA", breaks: None, read: |server| server.environment.cuda_version.clone() },
    Property { name: "OpenSSL", breaks: None, read: |server| server.environment.openssl_version.clone() },
    Property { name: "operating system", breaks: None, read: |server| server.environment.os.clone() },
    Property { name: "kernel", breaks: None, read: |server| server.environment.kernel.clone() },
    Property { name: "CPU", breaks: None, read: |server| server.environment.cpu_model.clone() },
    Property { name: "CPUs", breaks: None, read: |server| server.environment.cpu_count.map(|count| count.to_string()) },
    Property {
        name: "memory",
        breaks: None,
        read: |server| server.environment.memory_mib.map(|memory| format!("{} GiB", memory / 1024)),
    },
    Property {
        name: "confidential computing of the GPU",
        breaks: None,
        read: |server| {
            let state = server.environment.confidential_compute?;
            Some(if state.feature_enabled { "on" } else { "off" }.to_owned())
        },
    },
];

fn of_gpus(server: &ServerRecord, read: impl Fn(&GpuIdentity) -> Option<String>) -> Option<String> {
    let values: BTreeSet<String> = server.environment.gpus.iter().filter_map(read).collect();
    (!values.is_empty()).then(|| values.into_iter().collect::<Vec<_>>().join(", "))
}

/// Compares the machines of `arms` over the given runs. Properties that no server tells are left out.
pub fn rows(spec: &BenchmarkCampaignSpec, arms: &[String], runs: &[CountedRun<'_>]) -> Vec<ParityRow> {
    PROPERTIES.iter().filter_map(|property| row(spec, arms, runs, property)).collect()
}

fn row(
    spec: &BenchmarkCampaignSpec,
    arms: &[String],
    runs: &[CountedRun<'_>],
    property: &Property,
) -> Option<ParityRow> {
    let arms: Vec<ParityValues> = arms
        .iter()
        .map(|arm| {
            let values: BTreeSet<String> = runs
                .iter()
                .filter(|run| run.id.arm == *arm)
                .flat_map(|run| run.file.servers.iter().filter_map(property.read))
                .collect();
            ParityValues { arm: arm.clone(), values: values.into_iter().collect() }
        })
        .collect();
    if arms.iter().all(|arm| arm.values.is_empty()) {
        return None;
    }
    // An arm without a valid run, or whose servers do not tell, does not differ: nothing is known of it.
    let told: BTreeSet<&Vec<String>> = arms.iter().map(|arm| &arm.values).filter(|values| !values.is_empty()).collect();
    Some(ParityRow {
        property: property.name.to_owned(),
        kind: kind(spec, property.breaks),
        differs: told.len() > 1,
        arms,
    })
}

/// What a difference means, given the factor in which the arms are meant to differ.
fn kind(spec: &BenchmarkCampaignSpec, breaks: Option<ParityDifference>) -> ParityKind {
    let Some(difference) = breaks else { return ParityKind::Listed };
    let factor = spec.comparison.map(|comparison| comparison.factor).unwrap_or_default();
    if factor.explains(difference) {
        ParityKind::Explained
    } else if spec.parity.allow.contains(&difference) {
        ParityKind::Allowed
    } else {
        ParityKind::Breaks
    }
}

/// In what the rows say that the arms differ, of that which breaks the comparison.
pub fn broken(rows: &[ParityRow]) -> Vec<String> {
    rows.iter().filter(|row| row.differs && row.kind == ParityKind::Breaks).map(|row| row.property.clone()).collect()
}
