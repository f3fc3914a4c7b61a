//! Whether a piece of evidence that was written down follows from the answers that it recorded, and from the reference
//! manifests that it was held against. Pure.

use teebench_api::files::evidence::{Evidence, EvidenceLevel, TeeState};
use teebench_api::files::gpu::ConfidentialCompute;

use super::endorsed::with_references;
use super::signed::{Against, with_reports};
use super::{Classification, NodeHints, Questions, classify};
use crate::attestation::Verifier;
use crate::endorsement::References;
use crate::gpu::{ConfidentialAnswers, ConfidentialEnvironment, ConfidentialMode, Unanswered};

/// What in the evidence contradicts its own answers and its GPUs' reports, verified again; nothing where its state and
/// level follow from them.
///
/// A bare word is not believed: "enabled" without the answers that it rests on is a contradiction as well.
pub fn contradictions(evidence: &Evidence, references: &References, verifier: &Verifier) -> Vec<String> {
    let mut found = Vec::new();
    let Evidence { environment, nonce_sha256, taken_unix_ns, node, reports, .. } = evidence;
    let against = Against { nonce_sha256, taken_unix_ns: *taken_unix_ns, environment, verifier };
    let again = questions(evidence).as_ref().map(classify);
    let again = again.map(|by_answers| {
        let signed = with_reports(by_answers, reports, Vec::new(), node, &against);
        with_references(signed, evidence, references, verifier)
    });
    match &again {
        Some(Classification { level: _, state, reasons }) if *state != evidence.state => {
            found.push(format!(
                "says {:?}, and the answers that it recorded say {state:?}: {}",
                evidence.state,
                reasons.join("; ")
            ));
        }
        None if evidence.state == TeeState::Enabled => {
            found.push("says Enabled, and the answers that this rests on are not recorded".to_owned());
        }
        Some(_) | None => {}
    }
    let why: Vec<&str> =
        again.iter().flat_map(|found| &found.reasons).filter_map(|told| told.strip_prefix("not endorsed: ")).collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
    let most = match (evidence.state, again) {
        (TeeState::Enabled, Some(Classification { level, state: TeeState::Enabled, reasons: _ })) => level,
        (TeeState::Enabled | TeeState::Disabled, _) => EvidenceLevel::SelfReported,
        (TeeState::Unknown | TeeState::Contradictory, _) => EvidenceLevel::Scheduled,
    };
    if evidence.level > most {
        found.push(format!("says level {:?}, and what it recorded reaches {most:?} at most{why}", evidence.level));
    }
    found
}

/// The questions as they were answered; `None` where the file does not hold every answer of the driver.
fn questions(evidence: &Evidence) -> Option<Questions> {
    let ConfidentialCompute {
        cpu_capability,
        gpus_capability,
        feature_enabled,
        environment_production,
        dev_tools_enabled,
        gpus_ready,
        protected_memory_mib,
        cpuid_isolation_type: _,
    } = evidence.environment.confidential_compute?;
    let gpu = ConfidentialAnswers {
        cpu_capability: Ok(cpu_capability),
        gpus_capable: Ok(gpus_capability != 0),
        mode: Ok(if feature_enabled { ConfidentialMode::On } else { ConfidentialMode::Off }),
        environment: Ok(match environment_production {
            true => ConfidentialEnvironment::Production,
            false => ConfidentialEnvironment::Unavailable,
        }),
        dev_tools: Ok(dev_tools_enabled),
        gpus_ready: Ok(gpus_ready),
        protected_memory_mib: Ok(protected_memory_mib),
    };
    let cpuid_isolation_type = evidence.environment.cpuid_isolation_type.ok_or(Unanswered::NotSupported);
    Some(Questions { gpu, cpuid_isolation_type, node: NodeHints::default() })
}
