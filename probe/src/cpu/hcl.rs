//! The report of Azure's host compatibility layer, as NV index 0x01400001 of a confidential machine's virtual TPM has it.
//!
//! ```text
//! 0     "HCLA"; version, size, kind of request, status: u32 each; 12 bytes reserved      little endian, as all numbers
//! 32    the CPU's report, 1184 bytes (SEV-SNP)
//! 1216  size, version, kind of report (2: SEV-SNP), hash (1: SHA-256), size of the claims: u32 each
//! 1236  runtime claims: JSON, with the key "HCLAkPub" that signs the TPM's quotes
//! ```
//!
//! The CPU's report carries SHA-256 of the runtime claims as its report data: so the CPU vouches for the key. Source:
//! Microsoft, "Azure confidential VMs: guest attestation design", and the public reports of such machines.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::quote::AttestationKey;
use crate::bytes::{Rest, Truncated};

/// The NV index has 2,600 bytes.
const MOST_BYTES: usize = 16 << 10;
const SIGNATURE: [u8; 4] = *b"HCLA";
/// Length of the CPU's report.
pub const SNP_BYTES: usize = 1184;
const KIND_SNP: u32 = 2;
const HASH_SHA256: u32 = 1;
/// Name of the key that signs quotes, among the keys of the claims.
const ATTESTATION_KEY: &str = "HCLAkPub";

/// Bytes that are no such report.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum HclError {
    /// More bytes than the index has.
    #[error("{0} bytes, more than {MOST_BYTES}")]
    TooLong(usize),
    /// It ends inside a part.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A part is not what it must be.
    #[error("its {0} is not what this version has")]
    Unexpected(&'static str),
    /// The claims cannot be read.
    #[error("its runtime claims cannot be read: {0}")]
    Claims(String),
    /// There is no key, or several.
    #[error("its runtime claims have not exactly one key {ATTESTATION_KEY}, RSA of 2048 to 4096 bits or on P-256")]
    Key,
}

/// The report's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HclReport<'a> {
    snp: &'a [u8; SNP_BYTES],
    claims: &'a [u8],
}

#[derive(Deserialize)]
struct Claims {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    kty: String,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl<'a> HclReport<'a> {
    /// Takes a report apart. What follows the claims is the rest of the index.
    ///
    /// # Errors
    /// It is no such report, or not one of SEV-SNP.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HclError> {
        if bytes.len() > MOST_BYTES {
            return Err(HclError::TooLong(bytes.len()));
        }
        let mut rest = Rest(bytes);
        expect(*rest.array::<4>("header")? == SIGNATURE, "signature")?;
        rest.take(28, "header")?;
        let snp = rest.array("cpu report")?;
        rest.take(8, "runtime data")?;
        expect(rest.u32_le("runtime data")? == KIND_SNP, "kind of cpu report")?;
        expect(rest.u32_le("runtime data")? == HASH_SHA256, "hash of the runtime claims")?;
        let size = rest.u32_le("runtime data")?;
        let claims = rest.take(usize::try_from(size).unwrap_or(usize::MAX), "runtime claims")?;
        Ok(Self { snp, claims })
    }

    /// The CPU's report.
    #[must_use]
    pub const fn snp(&self) -> &'a [u8; SNP_BYTES] {
        self.snp
    }

    /// SHA-256 of the runtime claims, which the CPU's report must carry.
    #[must_use]
    pub fn claims_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.claims).into()
    }

    /// The key that signs the TPM's quotes.
    ///
    /// # Errors
    /// The claims cannot be read or have no such key.
    pub fn attestation_key(&self) -> Result<AttestationKey, HclError> {
        let Claims { keys } =
            serde_json::from_slice(self.claims).map_err(|error| HclError::Claims(error.to_string()))?;
        let mut named = keys.iter().filter(|key| key.kid == ATTESTATION_KEY);
        let (Some(key), None) = (named.next(), named.next()) else { return Err(HclError::Key) };
        let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok();
        let found = match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => number(&key.n).zip(number(&key.e)).and_then(|(n, e)| AttestationKey::rsa(&n, &e)),
            ("EC", Some("P-256")) => number(&key.x).zip(number(&key.y)).and_then(|(x, y)| AttestationKey::p256(&x, &y)),
            _ => None,
        };
        found.ok_or(HclError::Key)
    }
}

const fn expect(holds: bool, part: &'static str) -> Result<(), HclError> {
    if holds { Ok(()) } else { Err(HclError::Unexpected(part)) }
}
