//! The GPU's signed attestation report: parsed, and verified against a pinned root. Pure, and without trust in a byte.
//!
//! ```text
//! report   the report's layout (SPDM 1.1 measurements, Hopper)
//! chain    certificates from the key that signed it to the vendor's root
//! ```

mod chain;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

pub use chain::{Chain, ChainError};
pub use report::{Report, ReportError};

/// SHA-256 of the certificate "NVIDIA Device Identity CA", which every genuine chain ends in.
const NVIDIA_ROOT: [u8; 32] = [
    0x10, 0x2b, 0xf6, 0x59, 0xd5, 0x41, 0x96, 0x14, 0xc9, 0xd8, 0xe6, 0xae, 0xce, 0xbc, 0x80, 0x45, 0x4e, 0xb2, 0x6b,
    0x1d, 0xf6, 0xa7, 0x69, 0xac, 0x72, 0x0b, 0x9a, 0x69, 0x0b, 0x16, 0x7b, 0x48,
];

/// A campaign has a chain for each of its GPUs; beyond this many, chains are verified anew.
const MOST_KNOWN: usize = 1024;

/// Root that a chain must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The vendor's.
    Vendor,
    /// One for tests, by the SHA-256 of its certificate; what it vouches for is marked as a test.
    Test([u8; 32]),
}

impl Root {
    /// The vendor's root, or the one for tests with this SHA-256 in hex.
    ///
    /// # Errors
    /// What was given instead of a digest.
    pub fn from_test_hex(sha256: Option<&str>) -> Result<Self, RootError> {
        let Some(text) = sha256 else { return Ok(Self::Vendor) };
        let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::Test).ok_or_else(|| RootError { given: text.to_owned() })
    }

    /// SHA-256 in hex of a root for tests.
    pub fn test_sha256(self) -> Option<String> {
        match self {
            Self::Vendor => None,
            Self::Test(sha256) => Some(hex::encode(sha256)),
        }
    }

    const fn gpu_sha256(self) -> [u8; 32] {
        match self {
            Self::Vendor => NVIDIA_ROOT,
            Self::Test(sha256) => sha256,
        }
    }
}

/// A root that is none.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
#[error("attestation root {given:?}: give the SHA-256 of the root certificate's DER, 64 hex digits")]
pub struct RootError {
    given: String,
}

/// What a report must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The nonce that the GPU was asked with.
    pub nonce: [u8; 32],
    /// Driver version as NVML gives it.
    pub driver_version: &'a str,
    /// VBIOS version as NVML gives it.
    pub vbios_version: &'a str,
    /// When the report was taken, in seconds since the Unix epoch: certificates must be valid then.
    pub unix_seconds: u64,
}

/// What a verified report shows. It does not show that no certificate was revoked since, nor what the measurements
/// should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// Whether the root was one for tests: such a report proves nothing of a GPU.
    pub test: bool,
    /// SHA-384 of the firmware that holds the signing key, in hex.
    pub firmware_id: String,
    /// Driver version.
    pub driver_version: String,
    /// VBIOS version.
    pub vbios_version: String,
    /// Number of measurements in the report.
    pub measurements: usize,
}

/// A report that proves nothing.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum AttestationError {
    /// It is no report.
    #[error("attestation report: {0}")]
    Report(#[from] ReportError),
    /// Its chain does not hold.
    #[error("certificate chain: {0}")]
    Chain(#[from] ChainError),
    /// It answers another question.
    #[error("attestation report: its nonce is not the one that the gpu was asked with")]
    Nonce,
    /// Another key signed it, or it was changed since.
    #[error("attestation report: the signature is not its leaf certificate's over these bytes")]
    Signature,
    /// The key belongs to other firmware.
    #[error("attestation report: its firmware id {report} is not the leaf certificate's, {leaf}")]
    FirmwareId {
        /// As the report has it, in hex.
        report: String,
        /// As the certificate has it, in hex.
        leaf: String,
    },
    /// The driver says something else outside the report.
    #[error("attestation report: its {field} is {report:?}, and nvml says {nvml:?}")]
    Version {
        /// Driver or VBIOS.
        field: &'static str,
        /// As the report has it.
        report: String,
        /// As NVML gives it.
        nvml: String,
    },
}

/// Verifies reports under one root. Chains that held are remembered, since the runs of a campaign share a few.
#[derive(Debug)]
pub struct Verifier {
    root: Root,
    cpu_root: Root,
    known: Mutex<BTreeMap<[u8; 32], Arc<Chain>>>,
}

impl Verifier {
    /// Verifies what GPUs signed under this root, and what CPUs signed under their vendor's.
    pub const fn new(root: Root) -> Self {
        Self { root, cpu_root: Root::Vendor, known: Mutex::new(BTreeMap::new()) }
    }

    /// Verifies what CPUs signed under this root.
    #[must_use]
    pub fn with_cpu_root(self, cpu_root: Root) -> Self {
        Self { cpu_root, ..self }
    }

    /// The root of CPUs.
    pub const fn cpu_root(&self) -> Root {
        self.cpu_root
    }

    /// The root.
    pub const fn root(&self) -> Root {
        self.root
    }

    /// Verifies a report with its chain (PEM, leaf first).
    ///
    /// # Errors
    /// The first reason why it proves nothing.
    pub fn verify(&self, report: &[u8], chain: &[u8], expected: &Expected<'_>) -> Result<Attested, AttestationError> {
        let report = Report::parse(report)?;
        let chain = self.chain(chain)?;
        chain.valid_at(expected.unix_seconds)?;
        if *report.nonce() != expected.nonce {
            return Err(AttestationError::Nonce);
        }
        if !chain.leaf_signed(report.signed(), report.signature())? {
            return Err(AttestationError::Signature);
        }
        let (in_report, in_leaf) = (report.firmware_id()?, chain.firmware_id()?);
        if in_report != in_leaf {
            return Err(AttestationError::FirmwareId { report: hex::encode(in_report), leaf: hex::encode(in_leaf) });
        }
        Ok(Attested {
            test: matches!(self.root, Root::Test(_)),
            firmware_id: hex::encode(in_report),
            driver_version: same("driver version", report.driver_version()?, expected.driver_version)?,
            vbios_version: same("vbios version", report.vbios_version()?, expected.vbios_version)?,
            measurements: report.measurements().len(),
        })
    }

    /// The chain, issued link by link under the root.
    fn chain(&self, pem: &[u8]) -> Result<Arc<Chain>, ChainError> {
        let digest = Sha256::digest(pem).into();
        // Chains are added whole, so a poisoned lock guards whole data.
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&digest) {
            return Ok(Arc::clone(known));
        }
        let chain = Arc::new(Chain::parse(pem)?);
        chain.issued_under(&[self.root.gpu_sha256()])?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_KNOWN {
            known.insert(digest, Arc::clone(&chain));
        }
        Ok(chain)
    }
}

/// Verifies one report with its chain; see [`Verifier::verify`].
///
/// # Errors
/// The first reason why it proves nothing.
pub fn verify(report: &[u8], chain: &[u8], expected: &Expected<'_>, root: Root) -> Result<Attested, AttestationError> {
    Verifier::new(root).verify(report, chain, expected)
}

fn same(field: &'static str, report: String, nvml: &str) -> Result<String, AttestationError> {
    if report.eq_ignore_ascii_case(nvml) {
        Ok(report)
    } else {
        Err(AttestationError::Version { field, report, nvml: nvml.to_owned() })
    }
}
