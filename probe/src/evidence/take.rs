//! Taking evidence: the machine is asked at this moment, and the answer carries the nonce it was asked with.

use teebench_api::files::evidence::{Environment, Evidence, GpuReport, NodeHints, NonceDocument};

use super::signed::{self, Against};
use super::{Classification, NonceError, Questions, classify, nonce_sha256};
use crate::clock;
use crate::environment::Machine;
use crate::gpu::{ConfidentialMode, SignedReport, SourceKind};

/// What a machine answered when it was asked everything.
pub struct Examined {
    /// Every question with its answer.
    pub questions: Questions,
    /// The machine.
    pub environment: Environment,
    /// What its GPUs signed.
    pub reports: Vec<GpuReport>,
    /// Level and state that follow.
    pub classification: Classification,
    /// When it was asked, in nanoseconds since the Unix epoch.
    pub taken_unix_ns: u64,
}

/// Asks the machine everything; its GPUs sign the nonce, 32 bytes in hex, where their mode is on. Blocks for the
/// driver's calls.
///
/// `engine` is the engine's name and version, or why it is not known.
pub fn examine(machine: &Machine, engine: Result<String, String>, node: &NodeHints, nonce_sha256: &str) -> Examined {
    let taken_unix_ns = clock::unix_ns();
    let gpu = machine.gpu.confidential_compute();
    let cpuid_isolation_type = machine.isolation_type();
    let environment = machine.environment(&gpu, &cpuid_isolation_type, engine);
    let against = Against { nonce_sha256, taken_unix_ns, environment: &environment, verifier: &machine.verifier };
    let (mut reports, mut missing) = (Vec::new(), Vec::new());
    if matches!(gpu.mode, Ok(ConfidentialMode::On | ConfidentialMode::ProtectedPcie)) {
        for identity in &environment.gpus {
            match machine.gpu.signed_report(&identity.uuid, nonce_sha256) {
                Ok(SignedReport { report, chain }) => {
                    reports.push(signed::recorded(&identity.uuid, &report, &chain, &against));
                }
                Err(reason) => missing.push(format!("gpu {}: no signed report: {reason}", identity.uuid)),
            }
        }
    }
    let questions = Questions { gpu, cpuid_isolation_type, node: node.clone() };
    let classification = signed::with_reports(classify(&questions), &reports, missing, node, &against);
    Examined { questions, environment, reports, classification, taken_unix_ns }
}

/// Takes the evidence of this machine for one phase of a run. Blocks for the driver's calls.
///
/// `engine` is the engine's name and version, or why it is not known.
///
/// # Errors
/// When the nonce document is not whole.
pub fn take(
    machine: &Machine,
    engine: Result<String, String>,
    node: &NodeHints,
    document: &NonceDocument,
) -> Result<Evidence, NonceError> {
    let nonce_sha256 = nonce_sha256(document)?;
    let Examined { questions, environment, reports, classification, taken_unix_ns } =
        examine(machine, engine, node, &nonce_sha256);
    let Classification { level, state, reasons } = classification;
    Ok(Evidence {
        schema_version: 1,
        phase: document.phase,
        level,
        state,
        simulated: machine.gpu.kind() == SourceKind::Simulated,
        reasons,
        nonce_sha256,
        taken_unix_ns,
        environment,
        node: questions.node,
        reports,
        cpu: None,
        references_sha256: Vec::new(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
