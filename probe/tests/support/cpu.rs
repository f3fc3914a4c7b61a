//! What a machine's CPU and its TPM in software signed (`tests/data/cpu/machine` made the machine, and `teebench probe
//! attest-cpu` took this), and CPU reports signed anew with the tests' key.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use p384::pkcs8::DecodePrivateKey;
use sha2::{Digest, Sha256};
use teebench_api::files::evidence::CpuEvidence;
use teebench_probe::attestation::Root;
use x509_cert::Certificate;
use x509_cert::der::Encode;

/// Boot id of the machine.
pub const BOOT_ID: &str = "2d3c1f7a-6a0b-4d5e-9c64-0d3b8f0f5c11";
/// Where the CPU's report begins in the layer's, and where its signature does.
pub const SNP: usize = 32;
pub const SNP_SIGNATURE: usize = SNP + 0x2a0;
/// Where the runtime claims begin.
pub const CLAIMS: usize = 1236;

/// What was taken of the machine.
pub fn evidence() -> CpuEvidence {
    serde_json::from_str(include_str!("../data/cpu/evidence.json")).unwrap()
}

/// The root of its CPU's certificates.
pub fn root() -> Root {
    root_of(&evidence().certificates_pem)
}

/// The root of certificates in PEM.
pub fn root_of(certificates: &str) -> Root {
    let chain = Certificate::load_pem_chain(certificates.as_bytes()).unwrap();
    Root::Test(Sha256::digest(chain.last().unwrap().to_der().unwrap()).into())
}

/// Changes the layer's report; with `sign`, the CPU's report in it is signed anew.
pub fn with_hcl(change: impl FnOnce(&mut Vec<u8>), sign: bool) -> CpuEvidence {
    let mut evidence = evidence();
    let mut hcl = STANDARD.decode(&evidence.hcl_report_base64).unwrap();
    change(&mut hcl);
    if sign {
        let key = SigningKey::from_pkcs8_pem(include_str!("../data/cpu/vcek.pem")).unwrap();
        let signature: Signature = key.sign(&hcl[SNP..SNP_SIGNATURE]);
        for (number, part) in signature.to_bytes().chunks(48).enumerate() {
            let start = SNP_SIGNATURE + 72 * number;
            hcl[start..start + 48].copy_from_slice(&part.iter().rev().copied().collect::<Vec<_>>());
        }
    }
    evidence.hcl_report_base64 = STANDARD.encode(hcl);
    evidence
}

/// Changes bytes that stand in base64.
pub fn changed(base64: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = STANDARD.decode(base64).unwrap();
    change(&mut bytes);
    STANDARD.encode(bytes)
}
