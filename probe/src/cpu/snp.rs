//! The CPU's own report of a guest (AMD SEV-SNP), and the certificates of the key that signed it.
//!
//! Layout and meaning: AMD, "SEV Secure Nested Paging Firmware ABI Specification", table ATTESTATION_REPORT; the
//! certificates: AMD, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification". Numbers are
//! little endian.
//!
//! ```text
//! 0x000  version u32      0x008  policy u64         0x030  privilege level u32    0x034  algorithm u32 (1)
//! 0x048  signing key in bits 2 to 4 (0: VCEK)       0x050  report data, 64        0x090  launch measurement, 48
//! 0x180  firmware versions, 8                       0x188  cpu family (version 3) 0x1a0  chip, 64
//! 0x2a0  r, s: 72 bytes each                        over all that is before
//! ```

use p384::ecdsa::Signature;
use x509_cert::der::asn1::ObjectIdentifier;

use super::hcl::SNP_BYTES;
use crate::attestation::{Chain, ChainError};

/// SHA-256 of AMD's root certificates "ARK-Milan", "ARK-Genoa" and "ARK-Turin", which every genuine chain ends in.
pub(crate) const AMD_ROOTS: [[u8; 32]; 3] = [
    [
        0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a, 0x2e, 0x94, 0xe1, 0xf4, 0x21, 0x0d, 0xe4, 0x9e, 0xf5, 0x55,
        0x30, 0x82, 0x87, 0xd4, 0xc1, 0x74, 0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd,
    ],
    [
        0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c, 0x5d, 0xfd, 0x4a, 0x7d, 0x33, 0x5f, 0x67, 0x4e, 0x5b, 0xfe,
        0x1d, 0x8f, 0x80, 0x0c, 0xea, 0x2c, 0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1,
    ],
    [
        0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9, 0x37, 0x78, 0xa9, 0x04, 0x87, 0x7d, 0x48, 0x19, 0xca, 0xfa,
        0x5d, 0x05, 0xef, 0x41, 0x93, 0xb2, 0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a,
    ],
];

const POLICY_DEBUG: u64 = 1 << 19;
const ECDSA_P384_SHA384: u32 = 1;
const SIGNED_BYTES: usize = 0x2a0;
const CHIP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
/// Family of the CPUs from Turin on, whose firmware versions are laid out anew.
const FAMILY_TURIN: u8 = 0x1a;
/// Extensions of a VCEK with the least firmware versions that it is for, and the byte of the report that has each.
const VERSIONS: [(&str, usize); 4] = [
    ("1.3.6.1.4.1.3704.1.3.1", 0),
    ("1.3.6.1.4.1.3704.1.3.2", 1),
    ("1.3.6.1.4.1.3704.1.3.3", 6),
    ("1.3.6.1.4.1.3704.1.3.8", 7),
];
const VERSIONS_TURIN: [(&str, usize); 5] = [
    ("1.3.6.1.4.1.3704.1.3.9", 0),
    ("1.3.6.1.4.1.3704.1.3.1", 1),
    ("1.3.6.1.4.1.3704.1.3.2", 2),
    ("1.3.6.1.4.1.3704.1.3.3", 3),
    ("1.3.6.1.4.1.3704.1.3.8", 7),
];

/// A report that shows nothing of a CPU.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum SnpError {
    /// A part is not what it must be.
    #[error("its {0} is not what this version has")]
    Unexpected(&'static str),
    /// The guest may be debugged.
    #[error("its policy allows the host to debug the guest")]
    Debug,
    /// The report was asked for from inside the guest's own system.
    #[error("it was asked for at privilege level {0}, not by what runs beneath the guest's system (level 0)")]
    Level(u32),
    /// Another key signed it, or it was changed since.
    #[error("the signature is not its certificate's over these bytes")]
    Signature,
    /// The certificates do not hold.
    #[error("certificates: {0}")]
    Chain(#[from] ChainError),
    /// The certificate is another chip's.
    #[error("its chip is not its certificate's")]
    Chip,
    /// The certificate is for other firmware.
    #[error("its firmware versions are not its certificate's")]
    Firmware,
}

/// A guest's report.
#[derive(Clone, Copy, Debug)]
pub struct SnpReport<'a>(&'a [u8; SNP_BYTES]);

impl<'a> SnpReport<'a> {
    /// A report of a guest that may not be debugged, asked for beneath its system.
    ///
    /// # Errors
    /// It is another one.
    pub fn new(bytes: &'a [u8; SNP_BYTES]) -> Result<Self, SnpError> {
        let report = Self(bytes);
        let version = report.u32(0);
        if !(2..=5).contains(&version) {
            return Err(SnpError::Unexpected("version"));
        }
        if report.u32(0x34) != ECDSA_P384_SHA384 {
            return Err(SnpError::Unexpected("algorithm"));
        }
        if report.u32(0x48) >> 2 & 7 != 0 {
            return Err(SnpError::Unexpected("signing key"));
        }
        if u64::from_le_bytes(report.array(0x08)) & POLICY_DEBUG != 0 {
            return Err(SnpError::Debug);
        }
        match report.u32(0x30) {
            0 => Ok(report),
            level => Err(SnpError::Level(level)),
        }
    }

    /// What the guest had the CPU sign.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        self.array(0x50)
    }

    /// Digest of what the guest was started with.
    #[must_use]
    pub fn measurement(&self) -> [u8; 48] {
        self.array(0x90)
    }

    /// Whether the certificates are issued under one of the roots, were valid at a time in seconds since the Unix epoch,
    /// and belong to the key that signed this report.
    ///
    /// # Errors
    /// Why not.
    pub fn signed_by(&self, certificates: &[u8], roots: &[[u8; 32]], unix_seconds: u64) -> Result<(), SnpError> {
        let chain = Chain::parse(certificates)?;
        chain.issued_under(roots)?;
        chain.valid_at(unix_seconds)?;
        let signature = self.signature().ok_or(SnpError::Signature)?;
        if !chain.leaf_signed(&self.0[..SIGNED_BYTES], &signature)? {
            return Err(SnpError::Signature);
        }
        self.of_chip(chain.leaf_extension(CHIP).unwrap_or_default())?;
        self.of_firmware(&chain)
    }

    /// r and s as other formats have them: 48 bytes each, big endian.
    fn signature(&self) -> Option<[u8; 96]> {
        let mut both = [0; 96];
        for (number, part) in both.chunks_exact_mut(48).enumerate() {
            let start = SIGNED_BYTES + 72 * number;
            let (value, beyond) = self.0[start..start + 72].split_at(48);
            if beyond.iter().any(|byte| *byte != 0) {
                return None;
            }
            part.iter_mut().zip(value.iter().rev()).for_each(|(to, from)| *to = *from);
        }
        Signature::from_slice(&both).ok().map(|_| both)
    }

    /// A certificate names the chip by 64 bytes, from Turin on by 8; a host may leave the chip out of reports.
    fn of_chip(&self, named: &[u8]) -> Result<(), SnpError> {
        let chip: [u8; 64] = self.array(0x1a0);
        let (own, beyond) = chip.split_at(named.len().min(64));
        let is_named = matches!(named.len(), 8 | 64) && own == named && own.iter().any(|byte| *byte != 0);
        if is_named && beyond.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(SnpError::Chip) }
    }

    fn of_firmware(&self, chain: &Chain) -> Result<(), SnpError> {
        let versions: [u8; 8] = self.array(0x180);
        let is_turin = self.u32(0) >= 3 && self.0[0x188] >= FAMILY_TURIN;
        let named = if is_turin { VERSIONS_TURIN.as_slice() } else { VERSIONS.as_slice() };
        let holds = |(oid, byte): &(&str, usize)| {
            let value = chain.leaf_extension(ObjectIdentifier::new_unwrap(oid)).and_then(small_integer);
            value == Some(versions[*byte])
        };
        if named.iter().all(holds) { Ok(()) } else { Err(SnpError::Firmware) }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("every part lies within the report's 1184 bytes")
    }
}

/// A DER integer from 0 to 255.
fn small_integer(der: &[u8]) -> Option<u8> {
    match der {
        [2, 1, value @ 0..=127] => Some(*value),
        [2, 2, 0, value @ 128..=255] => Some(*value),
        _ => None,
    }
}
