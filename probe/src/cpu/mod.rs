//! What a confidential machine's CPU says of it, signed: AMD's report, and a quote of the virtual TPM whose key the
//! report vouches for.
//!
//! ```text
//! AMD's root > ASK > VCEK  signs  the CPU's report          which carries  SHA-256 of the runtime claims
//! the claims               have   the attestation key       which signs    the quote
//! the quote                has    a nonce of the boot id and a salt, and the digest of the platform's registers
//! ```
//!
//! | module | subject |
//! | --- | --- |
//! | `hcl` | the report as Azure's machines have it |
//! | `snp` | the CPU's own report and its certificates |
//! | `quote` | the TPM's quote |
//! | `rsa` | RSA signatures |
//! | `tpm` | asking a TPM |
//! | `attest` | `teebench probe attest-cpu` |

pub(crate) mod attest;
mod hcl;
mod quote;
mod snp;
mod tpm;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use teebench_api::files::evidence::{CpuEvidence, CpuNonceDocument};

pub use attest::{AttestCpuArgs, take};
pub use hcl::{HclError, HclReport, SNP_BYTES};
pub use quote::{AttestationKey, Quote, QuoteError};
pub use snp::{SnpError, SnpReport};
pub use tpm::{Tpm, TpmError};

use crate::attestation::Root;

/// What verified evidence shows of a CPU. It does not show what the launch measurement or the registers should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuAttested {
    /// Whether the root was one for tests: then nothing is shown of a CPU.
    pub test: bool,
    /// Digest of what the guest was started with, in hex.
    pub launch_measurement: String,
    /// Registers that the quote attests.
    pub registers: usize,
}

/// Evidence that shows nothing of a CPU.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum CpuError {
    /// Another version.
    #[error("cpu evidence: its {0} is not what this version has")]
    Version(&'static str),
    /// A part is not in base64.
    #[error("cpu evidence: its {0} is not base64")]
    Base64(&'static str),
    /// The nonce document is not whole.
    #[error("cpu evidence: its salt is not 32 bytes in lower-case hex")]
    Salt,
    /// It is of another boot.
    #[error("cpu evidence: it was taken in another boot of the machine ({0}), or on another one")]
    Boot(String),
    /// The layer's report.
    #[error("hcl report: {0}")]
    Hcl(#[from] HclError),
    /// The CPU's report.
    #[error("cpu report: {0}")]
    Snp(#[from] SnpError),
    /// The CPU vouches for other claims.
    #[error("cpu report: its report data is not the SHA-256 of the runtime claims")]
    ReportData,
    /// The quote.
    #[error("tpm quote: {0}")]
    Quote(#[from] QuoteError),
}

/// The nonce of a quote.
///
/// # Errors
/// When the document is not one of this version, whole and well formed.
pub fn quote_nonce(document: &CpuNonceDocument) -> Result<[u8; 32], CpuError> {
    let CpuNonceDocument { v, boot_id: _, salt } = document;
    if v != CpuNonceDocument::VERSION {
        return Err(CpuError::Version("nonce document"));
    }
    if salt.len() != 64 || !salt.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(CpuError::Salt);
    }
    let canonical = serde_json_canonicalizer::to_vec(document).expect("three texts have a canonical form");
    Ok(Sha256::digest(canonical).into())
}

/// Verifies what a CPU signed of the machine that has this boot id.
///
/// # Errors
/// The first reason why it shows nothing.
pub fn verify(evidence: &CpuEvidence, boot_id: &str, root: Root) -> Result<CpuAttested, CpuError> {
    let CpuEvidence {
        schema_version,
        document,
        taken_unix_ns,
        hcl_report_base64,
        quote_base64,
        signature_base64,
        pcrs_sha256,
        certificates_pem,
        test_root_sha256: _,
        tool_version: _,
    } = evidence;
    if *schema_version != 1 {
        return Err(CpuError::Version("schema_version"));
    }
    let nonce = quote_nonce(document)?;
    if document.boot_id != boot_id {
        return Err(CpuError::Boot(document.boot_id.clone()));
    }
    let decoded = |text: &str, part| STANDARD.decode(text).map_err(|_| CpuError::Base64(part));
    let (hcl, quote) = (decoded(hcl_report_base64, "hcl report")?, decoded(quote_base64, "quote")?);
    let hcl = HclReport::parse(&hcl)?;
    let snp = SnpReport::new(hcl.snp())?;
    let data = snp.report_data();
    if data[..32] != hcl.claims_sha256() || data[32..].iter().any(|byte| *byte != 0) {
        return Err(CpuError::ReportData);
    }
    let roots = match root {
        Root::Vendor => snp::AMD_ROOTS.to_vec(),
        Root::Test(sha256) => vec![sha256],
    };
    snp.signed_by(certificates_pem.as_bytes(), &roots, taken_unix_ns / 1_000_000_000)?;
    hcl.attestation_key()?.signed(&quote, &decoded(signature_base64, "signature")?)?;
    let quote = Quote::parse(&quote)?;
    if quote.nonce() != nonce {
        return Err(QuoteError::Nonce.into());
    }
    if !quote.attests(pcrs_sha256) {
        return Err(QuoteError::Registers.into());
    }
    Ok(CpuAttested {
        test: matches!(root, Root::Test(_)),
        launch_measurement: hex::encode(snp.measurement()),
        registers: pcrs_sha256.len(),
    })
}
