//! What reference manifests and the CPU's evidence add to evidence that the GPUs signed. Pure.
//!
//! Evidence that is device-signed is endorsed when every GPU's measurements are those of the pinned manifests, and what
//! the machine's CPU signed in this boot verifies. What is missing leaves the level where it was, with the reason.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use teebench_api::files::evidence::{CpuEvidence, Evidence, EvidenceLevel, GpuReport, TeeState};

use super::Classification;
use super::signed::NOT_ENDORSED;
use crate::attestation::{Report, Root, Verifier};
use crate::cpu;
use crate::endorsement::{References, compare};

/// Said of every state that is endorsed: what is still not shown.
const NOT_COMPARED: &str =
    "the cpu's launch measurement and the tpm's registers were compared with no reference: only that they were signed";

/// Adds the CPU's evidence and the manifests to what a probe took, and raises its level where they endorse it.
pub fn endorse(evidence: &mut Evidence, cpu: Option<&CpuEvidence>, references: &References, verifier: &Verifier) {
    evidence.cpu = cpu.cloned();
    evidence.references_sha256 = references.iter().map(|(sha256, _)| sha256.to_owned()).collect();
    if evidence.cpu.is_none() && references.is_empty() {
        return;
    }
    let found =
        Classification { level: evidence.level, state: evidence.state, reasons: std::mem::take(&mut evidence.reasons) };
    let Classification { level, state: _, reasons } = with_references(found, evidence, references, verifier);
    (evidence.level, evidence.reasons) = (level, reasons);
}

/// The classification with manifests and the CPU's evidence counted.
pub(super) fn with_references(
    found: Classification,
    evidence: &Evidence,
    references: &References,
    verifier: &Verifier,
) -> Classification {
    if (found.level, found.state) != (EvidenceLevel::DeviceSigned, TeeState::Enabled) {
        return found;
    }
    let mut missing = not_expected(evidence, references);
    missing.extend(not_of_the_cpu(evidence, verifier));
    let mut reasons: Vec<String> = found.reasons.into_iter().filter(|reason| reason != NOT_ENDORSED).collect();
    if !missing.is_empty() {
        reasons.extend(missing.into_iter().map(|reason| format!("not endorsed: {reason}")));
        return Classification { reasons, ..found };
    }
    if let Root::Test(_) = verifier.cpu_root() {
        reasons.push("the cpu's report was verified under a root for tests: it shows nothing of a cpu".to_owned());
    }
    reasons.push(NOT_COMPARED.to_owned());
    Classification { level: EvidenceLevel::Endorsed, state: found.state, reasons }
}

/// Why the measurements are not those of the manifests.
fn not_expected(evidence: &Evidence, references: &References) -> Vec<String> {
    if references.is_empty() {
        return vec!["no reference manifests were given".to_owned()];
    }
    let rims = references.rims();
    let of_gpu = |report: &GpuReport| {
        let fields = report.fields.as_ref().ok_or("its report did not verify")?;
        let bytes = STANDARD.decode(&report.report_base64).map_err(|_| "its report is not base64")?;
        let parsed = Report::parse(&bytes).map_err(|error| error.to_string())?;
        compare(&parsed, &fields.driver_version, &fields.vbios_version, &rims).map_err(|error| error.to_string())?;
        Ok::<_, String>(())
    };
    let told = evidence.reports.iter().filter_map(|report| {
        let reason = of_gpu(report).err()?;
        Some(format!("gpu {}: {reason}", report.uuid))
    });
    told.collect()
}

/// Why the CPU's evidence shows nothing of this machine.
pub(crate) fn not_of_the_cpu(evidence: &Evidence, verifier: &Verifier) -> Option<String> {
    let Some(cpu) = &evidence.cpu else { return Some("the cpu's own report was not taken".to_owned()) };
    let Some(boot_id) = &evidence.environment.boot_id else { return Some("the boot id was not read".to_owned()) };
    cpu::verify(cpu, boot_id, verifier.cpu_root()).err().map(|error| error.to_string())
}
