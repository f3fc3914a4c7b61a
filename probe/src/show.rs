//! `teebench probe show`: what this machine is, for people, and what of it can be proved.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use sha2::{Digest, Sha256};
use teebench_api::files::evidence::{Environment, EvidenceLevel, GpuReport, TeeState};

use crate::cli::{AttestationArgs, GpuArgs, bad_input};
use crate::clock;
use crate::energy::throttle_reasons_that_void;
use crate::environment::Machine;
use crate::evidence::{Classification, Examined, NodeHints, Questions, examine};
use crate::gpu::{self, Answer, ConfidentialAnswers, SourceKind};
use crate::sampler::Sample;

/// Tells what this machine is, and what of it can be proved.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example:\n  teebench probe show\n  teebench probe show -o json")]
pub struct ShowArgs {
    #[command(flatten)]
    gpu: GpuArgs,
    #[command(flatten)]
    attestation: AttestationArgs,
    /// Format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Json,
}

/// Everything that is shown.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct Shown {
    tool_version: &'static str,
    gpu_source: &'static str,
    simulated: bool,
    level: EvidenceLevel,
    state: TeeState,
    reasons: Vec<String>,
    environment: Environment,
    confidential_answers: BTreeMap<&'static str, String>,
    signed_reports: Vec<GpuReport>,
    readings: BTreeMap<String, Sample>,
}

/// Shows the machine.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let source = match gpu::open(&args.gpu.choice, args.gpu.library.as_deref(), args.gpu.visible.as_deref()) {
        Ok(source) => source,
        Err(error) => return Ok(bad_input(error)),
    };
    let root = match args.attestation.root() {
        Ok(root) => root,
        Err(error) => return Ok(bad_input(error)),
    };
    let shown = look(&Machine::new(source, root));
    let text = match args.output {
        Output::Text => shown.to_string(),
        Output::Json => serde_json::to_string_pretty(&shown)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn look(machine: &Machine) -> Shown {
    // Nothing is bound to what is shown, so any nonce that was not used before will do.
    let nonce = hex::encode(Sha256::digest(clock::unix_ns().to_le_bytes()));
    let no_engine = Err("no engine is part of this".to_owned());
    let Examined { questions, environment, reports, classification, taken_unix_ns: _ } =
        examine(machine, no_engine, &NodeHints::default(), &nonce);
    let Questions { gpu, cpuid_isolation_type, node: _ } = questions;
    let confidential_answers = told(&gpu, &cpuid_isolation_type);
    let Classification { level, state, reasons } = classification;
    let readings = environment.gpus.iter().map(|gpu| {
        let (fast, slow) = (machine.gpu.fast(&gpu.uuid, true), machine.gpu.slow(&gpu.uuid));
        (gpu.uuid.clone(), Sample::new(clock::unix_ns(), clock::mono_ns(), fast, Some(slow)))
    });
    Shown {
        tool_version: env!("CARGO_PKG_VERSION"),
        gpu_source: machine.gpu.kind().word(),
        simulated: machine.gpu.kind() == SourceKind::Simulated,
        level,
        state,
        reasons,
        readings: readings.collect(),
        environment,
        confidential_answers,
        signed_reports: reports,
    }
}

fn told(answers: &ConfidentialAnswers, isolation: &Answer<u32>) -> BTreeMap<&'static str, String> {
    fn word<T>(answer: &Answer<T>, word: impl Fn(&T) -> String) -> String {
        answer.as_ref().map_or_else(|reason| format!("cannot say: {reason}"), word)
    }
    let yes_or_no = |yes: &bool| if *yes { "yes" } else { "no" }.to_owned();
    let ConfidentialAnswers {
        cpu_capability,
        gpus_capable,
        mode,
        environment,
        dev_tools,
        gpus_ready,
        protected_memory_mib,
    } = answers;
    let cpu = |code: &u32| match code {
        0 => "none".to_owned(),
        1 => "AMD SEV".to_owned(),
        2 => "Intel TDX".to_owned(),
        3 => "AMD SEV-SNP".to_owned(),
        4 => "AMD SEV-SNP with vTOM".to_owned(),
        other => format!("unknown ({other})"),
    };
    let isolated = |kind: &u32| match kind {
        0 => "none".to_owned(),
        1 => "VBS".to_owned(),
        2 => "SEV-SNP".to_owned(),
        3 => "TDX".to_owned(),
        other => format!("unknown ({other})"),
    };
    BTreeMap::from([
        ("cpu isolation (leaf 0x4000000C)", word(isolation, isolated)),
        ("cpu capability (driver)", word(cpu_capability, cpu)),
        ("gpu capable", word(gpus_capable, yes_or_no)),
        ("gpu mode", word(mode, |mode| format!("{mode:?}"))),
        ("gpu environment", word(environment, |environment| format!("{environment:?}"))),
        ("gpu development tools", word(dev_tools, yes_or_no)),
        ("gpus ready", word(gpus_ready, yes_or_no)),
        ("gpu protected memory", word(protected_memory_mib, |mib| format!("{mib} MiB"))),
    ])
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Environment {
            boot_id,
            kernel,
            os,
            cpu_model,
            cpu_count,
            memory_mib,
            cpuid_isolation_type: _,
            driver_version,
            cuda_version,
            openssl_version,
            engine: _,
            gpus,
            confidential_compute: _,
            protected_memory_used_mib,
            key_rotation_attacker_advantage,
            unreadable,
        } = &self.environment;
        writeln!(f, "Machine")?;
        line(f, "system", os)?;
        line(f, "kernel", kernel)?;
        line(f, "boot id", boot_id)?;
        line(f, "cpu", cpu_model)?;
        line(f, "cpus", cpu_count)?;
        line(f, "memory", &memory_mib.map(|mib| format!("{mib} MiB")))?;
        line(f, "openssl", openssl_version)?;
        writeln!(f, "\nGPUs (source: {})", self.gpu_source)?;
        line(f, "driver", driver_version)?;
        line(f, "cuda", cuda_version)?;
        if gpus.is_empty() {
            writeln!(f, "  none")?;
        }
        for gpu in gpus {
            writeln!(f, "  {}", gpu.uuid)?;
            let limit = gpu.power_limit_mw.map(|limit| format!("{} W", limit as f64 / 1e3));
            line(f, "  name", &Some(&gpu.name))?;
            line(f, "  vbios", &gpu.vbios_version)?;
            line(f, "  memory", &gpu.memory_total_mib.map(|mib| format!("{mib} MiB")))?;
            line(f, "  power limit", &limit)?;
            let default = gpu.power_limit_default_mw.map(|limit| format!("{} W", limit as f64 / 1e3));
            line(f, "  power limit by default", &default)?;
            line(f, "  graphics clock, highest", &gpu.clock_graphics_max_mhz.map(|clock| format!("{clock} MHz")))?;
            line(f, "  memory clock, highest", &gpu.clock_memory_max_mhz.map(|clock| format!("{clock} MHz")))?;
            if let Some(sample) = self.readings.get(&gpu.uuid) {
                readings(f, sample)?;
            }
        }
        writeln!(f, "\nConfidential computing")?;
        for (question, answer) in &self.confidential_answers {
            line(f, question, &Some(answer))?;
        }
        line(f, "gpu protected memory in use", &protected_memory_used_mib.map(|mib| format!("{mib} MiB")))?;
        line(f, "key rotation (advantage exponent)", key_rotation_attacker_advantage)?;
        for GpuReport { uuid, report_base64: _, chain_base64: _, test_root_sha256, fields } in &self.signed_reports {
            let under = if test_root_sha256.is_some() { ", under a root for tests" } else { "" };
            let told = match fields {
                Some(fields) => format!("verified{under}, firmware {}", &fields.firmware_id),
                None => format!("does not verify{under}"),
            };
            line(f, "report signed by the gpu", &Some(format!("{uuid}: {told}")))?;
        }
        let simulated = if self.simulated { " (simulated)" } else { "" };
        writeln!(f, "\nEvidence")?;
        line(f, "state", &Some(format!("{:?}{simulated}", self.state)))?;
        line(f, "level", &Some(format!("{:?}{simulated}", self.level)))?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))?;
        let mut not_told = unreadable.iter().filter(|(name, _)| !is_told_above(name)).peekable();
        if not_told.peek().is_some() {
            writeln!(f, "\nCannot be read")?;
        }
        not_told.try_for_each(|(name, reason)| line(f, name, &Some(reason)))
    }
}

/// Whether the text names this unread fact in a section of its own; the engine is no part of the machine.
fn is_told_above(name: &str) -> bool {
    name.starts_with("confidential_compute") || matches!(name, "cpuid_isolation_type" | "engine")
}

fn readings(f: &mut fmt::Formatter<'_>, sample: &Sample) -> fmt::Result {
    let watts = |milliwatts: Option<u64>| milliwatts.map(|power| format!("{:.2} W", power as f64 / 1e3));
    line(f, "  power, instant", &watts(sample.power_instant_mw))?;
    line(f, "  power, average", &watts(sample.power_average_mw))?;
    line(f, "  energy counter", &sample.energy_mj.map(|energy| format!("{:.1} J", energy as f64 / 1e3)))?;
    line(f, "  temperature", &sample.temperature_celsius.map(|celsius| format!("{celsius} °C")))?;
    let throttle = sample.throttle_reasons.map(|mask| {
        let mut text = format!("{mask:#x}");
        let voiding = throttle_reasons_that_void(mask);
        if !voiding.is_empty() {
            let _ = write!(text, " (a run would be inconclusive: {})", voiding.join(", "));
        }
        text
    });
    line(f, "  throttle reasons", &throttle)?;
    sample.gap.as_ref().map_or(Ok(()), |gap| line(f, "  failed", &Some(gap)))
}

/// A name and its value in columns; what was not read is named under "Cannot be read".
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &Option<impl Display>) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "  {name:<33} {value}"),
        None => writeln!(f, "  {name:<33} not known"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::attestation::Root;
    use crate::gpu::{Absent, Simulated, fixture};

    #[test]
    fn a_simulated_machine_never_reads_as_a_measured_one() {
        let folder = tempfile::tempdir().unwrap();
        let source = Simulated::new(fixture::write(folder.path(), &fixture::gpu_file()));
        let shown = look(&Machine::new(Arc::new(source), Root::Vendor));
        let text = shown.to_string();
        assert!(text.contains("Enabled (simulated)") && text.contains("SelfReported (simulated)"), "{text}");
        assert!(text.contains("300.00 W") && text.contains("SEV-SNP with vTOM"), "{text}");
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!((&json["simulated"], &json["state"]), (&true.into(), &"Enabled".into()));
    }

    #[test]
    fn a_machine_without_a_gpu_is_told_with_the_reason_and_proves_nothing() {
        let text = look(&Machine::new(Arc::new(Absent::new("no libnvidia-ml.so.1")), Root::Vendor)).to_string();
        assert!(text.contains("Unknown") && text.contains("Declared"), "{text}");
        assert!(text.contains("Cannot be read") && text.contains("no libnvidia-ml.so.1"), "{text}");
    }
}
