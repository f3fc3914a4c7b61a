//! What the GPUs signed, counted into what their driver said. Pure.
//!
//! A state that the answers show as enabled is device-signed when every GPU gave a report with the evidence's nonce that
//! verifies. A report that does not verify contradicts the answers; a GPU that gave none leaves the level where it was.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use teebench_api::files::evidence::{Environment, EvidenceLevel, GpuReport, NodeHints, ReportFields, TeeState};

use super::Classification;
use super::classify::{NOT_SIGNED, level_by_labels};
use crate::attestation::{Attested, Expected, Root, Verifier};

/// Said of every state that is device-signed: what is still not shown.
pub(super) const NOT_ENDORSED: &str =
    "neither reference measurements nor the cpu's own report were checked: the level is not above DeviceSigned";

/// What reports are held against.
pub(crate) struct Against<'a> {
    /// The nonce of the evidence, in hex.
    pub(crate) nonce_sha256: &'a str,
    /// When it was taken: certificates must be valid then.
    pub(crate) taken_unix_ns: u64,
    /// GPUs and driver as NVML gives them.
    pub(crate) environment: &'a Environment,
    /// The root.
    pub(crate) verifier: &'a Verifier,
}

/// A report as the evidence file holds it, with what it says where it verifies.
pub(super) fn recorded(uuid: &str, report: &[u8], chain: &[u8], against: &Against<'_>) -> GpuReport {
    let test_root_sha256 = against.verifier.root().test_sha256();
    let unverified = GpuReport {
        uuid: uuid.to_owned(),
        report_base64: STANDARD.encode(report),
        chain_base64: STANDARD.encode(chain),
        test_root_sha256,
        fields: None,
    };
    GpuReport { fields: verified(&unverified, against).ok(), ..unverified }
}

/// What a recorded report says.
///
/// # Errors
/// Why it proves nothing.
fn verified(report: &GpuReport, against: &Against<'_>) -> Result<ReportFields, String> {
    let GpuReport { uuid, report_base64, chain_base64, test_root_sha256: _, fields: _ } = report;
    let Environment { gpus, driver_version, .. } = against.environment;
    let gpu = gpus.iter().find(|gpu| gpu.uuid == *uuid).ok_or("the machine has no such gpu")?;
    let driver_version = driver_version.as_deref().ok_or("nvml gives no driver version to hold it against")?;
    let vbios_version = gpu.vbios_version.as_deref().ok_or("nvml gives no vbios version to hold it against")?;
    let decoded = |text: &str, what: &str| STANDARD.decode(text).map_err(|_| format!("its {what} is not base64"));
    let nonce = hex::decode(against.nonce_sha256).ok().and_then(|bytes| bytes.try_into().ok());
    let expected = Expected {
        nonce: nonce.ok_or("the evidence's nonce is not 32 bytes in hex")?,
        driver_version,
        vbios_version,
        unix_seconds: against.taken_unix_ns / 1_000_000_000,
    };
    let (report, chain) = (decoded(report_base64, "report")?, decoded(chain_base64, "chain")?);
    let attested = against.verifier.verify(&report, &chain, &expected).map_err(|error| error.to_string())?;
    let Attested { test: _, firmware_id, driver_version, vbios_version, measurements } = attested;
    let measurements = u32::try_from(measurements).expect("a report has a measurement for each of 256 indices at most");
    Ok(ReportFields { driver_version, vbios_version, firmware_id, measurements })
}

/// The classification by the answers, with the reports counted; `missing` says why a GPU gave none.
pub(super) fn with_reports(
    found: Classification,
    reports: &[GpuReport],
    missing: Vec<String>,
    node: &NodeHints,
    against: &Against<'_>,
) -> Classification {
    if found.state != TeeState::Enabled {
        return found;
    }
    let refused: Vec<String> = reports
        .iter()
        .filter_map(|report| {
            let uuid = &report.uuid;
            match verified(report, against) {
                Ok(fields) if report.fields.as_ref() == Some(&fields) => None,
                Ok(_) => Some(format!("gpu {uuid}: its signed report says something else than is recorded of it")),
                Err(reason) => Some(format!("gpu {uuid}: {reason}")),
            }
        })
        .collect();
    if !refused.is_empty() {
        return Classification { level: level_by_labels(node), state: TeeState::Contradictory, reasons: refused };
    }
    let gpus = &against.environment.gpus;
    let all_signed = gpus.iter().all(|gpu| reports.iter().any(|report| report.uuid == gpu.uuid));
    if gpus.is_empty() || !all_signed {
        let reasons = found.reasons.into_iter().chain(missing).collect();
        return Classification { reasons, ..found };
    }
    let mut reasons: Vec<String> = found.reasons.into_iter().filter(|reason| reason != NOT_SIGNED).collect();
    if let Root::Test(_) = against.verifier.root() {
        reasons.push("the reports were verified under a root for tests: they show nothing of a gpu".to_owned());
    }
    reasons.push(NOT_ENDORSED.to_owned());
    Classification { level: EvidenceLevel::DeviceSigned, state: found.state, reasons }
}
