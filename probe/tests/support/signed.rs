//! Runs whose evidence a GPU of the tests has signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use teebench_api::files::evidence::{EvidenceLevel, GpuReport, ReportFields};

use super::device::{Device, FIRMWARE_ID, NOW};
use super::results::Made;

/// Has the GPU sign the nonces before and after the run, which makes the run device-signed.
pub fn sign(made: &mut Made, device: &Device) {
    for evidence in &mut made.evidence {
        let mut nonce = [0; 32];
        hex::decode_to_slice(&evidence.nonce_sha256, &mut nonce).expect("a nonce is 32 bytes in hex");
        evidence.taken_unix_ns = NOW * 1_000_000_000;
        evidence.level = EvidenceLevel::DeviceSigned;
        evidence.reports = vec![GpuReport {
            uuid: "GPU-1".to_owned(),
            report_base64: STANDARD.encode(device.report(nonce)),
            chain_base64: STANDARD.encode(device.chain()),
            test_root_sha256: Some(hex::encode(device.root_sha256)),
            fields: Some(ReportFields {
                driver_version: "580.159.04".to_owned(),
                vbios_version: "96.00.9F.00.01".to_owned(),
                firmware_id: hex::encode(FIRMWARE_ID),
                measurements: 64,
            }),
        }];
    }
    made.run.evidence_level = Some(EvidenceLevel::DeviceSigned);
}
