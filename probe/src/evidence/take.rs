//! Taking evidence: the machine is asked at this moment, and the answer carries the nonce it was asked with.

use teebench_api::files::evidence::{Evidence, NonceDocument};

use super::{Classification, NodeHints, NonceError, Questions, classify, nonce_sha256};
use crate::clock;
use crate::environment::Machine;
use crate::gpu::SourceKind;

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
    let gpu = machine.gpu.confidential_compute();
    let cpuid_isolation_type = machine.isolation_type();
    let environment = machine.environment(&gpu, &cpuid_isolation_type, engine);
    let Classification { level, state, reasons } =
        classify(&Questions { gpu, cpuid_isolation_type, node: node.clone() });
    Ok(Evidence {
        schema_version: 1,
        phase: document.phase,
        level,
        state,
        simulated: machine.gpu.kind() == SourceKind::Simulated,
        reasons,
        nonce_sha256,
        taken_unix_ns: clock::unix_ns(),
        environment,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
