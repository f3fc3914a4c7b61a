//! Certificates from the key that signed a report to the vendor's root: NVIDIA signs them with ECDSA, AMD with RSA.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use ring::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// Five certificates of some 700 bytes are what a GPU gives; NVML's buffer has 5,120 bytes.
const MOST_BYTES: usize = 16 << 10;
const MOST_CERTIFICATES: usize = 8;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// TCG's DICE TcbInfo: its value ends in the firmware id, 48 bytes.
const DICE_TCB_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
/// Basic constraints, key usage and the two key identifiers; RFC 5280 refuses critical ones that are not understood.
const UNDERSTOOD: [&str; 5] = ["2.5.29.19", "2.5.29.15", "2.5.29.14", "2.5.29.35", "2.23.133.5.4.1"];

/// A chain that vouches for nothing. Certificates count from 0, the leaf.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// More bytes or certificates than a GPU gives.
    #[error("longer than {MOST_BYTES} bytes or {MOST_CERTIFICATES} certificates")]
    TooLong,
    /// Not certificates in PEM.
    #[error("not two or more certificates in PEM")]
    NotPem,
    /// A certificate cannot be read.
    #[error("certificate {0} cannot be read")]
    Malformed(usize),
    /// A certificate is not issued by the next one.
    #[error("certificate {0} is not issued by the one after it")]
    Issuer(usize),
    /// A signature does not hold.
    #[error("certificate {0} is not signed by the one after it (ECDSA on P-384 or RSASSA-PSS, with SHA-384)")]
    Signature(usize),
    /// A key of another kind.
    #[error("certificate {0} has no key of its signature's kind")]
    Key(usize),
    /// It may not issue certificates.
    #[error("certificate {0} may not issue the one before it")]
    NotAnIssuer(usize),
    /// It was not valid when the report was taken.
    #[error("certificate {0} was not valid when the report was taken")]
    Expired(usize),
    /// A critical extension whose meaning is not known here.
    #[error("certificate {0} has a critical extension that is not understood")]
    CriticalExtension(usize),
    /// It ends in another root.
    #[error("ends in another root (SHA-256 {0})")]
    Root(String),
    /// The leaf has no firmware id.
    #[error("the leaf certificate has no firmware id")]
    NoFirmwareId,
}

/// Certificates, leaf first.
#[derive(Clone, Debug)]
pub struct Chain {
    certificates: Vec<Certificate>,
    root_sha256: [u8; 32],
}

impl Chain {
    /// Reads certificates in PEM, leaf first, root last. Zeros after the last one are what NVML's buffer is filled with.
    ///
    /// # Errors
    /// These are not certificates.
    pub fn parse(pem: &[u8]) -> Result<Self, ChainError> {
        if pem.len() > MOST_BYTES {
            return Err(ChainError::TooLong);
        }
        let text = std::str::from_utf8(pem).map_err(|_| ChainError::NotPem)?;
        let mut rest = text.trim_matches(|character: char| character == '\0' || character.is_whitespace());
        let (mut certificates, mut last) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let (body, after) =
                rest.strip_prefix(BEGIN).and_then(|rest| rest.split_once(END)).ok_or(ChainError::NotPem)?;
            if certificates.len() == MOST_CERTIFICATES {
                return Err(ChainError::TooLong);
            }
            let base64: String = body.split_ascii_whitespace().collect();
            last = STANDARD.decode(base64).map_err(|_| ChainError::Malformed(certificates.len()))?;
            let certificate = Certificate::from_der(&last).map_err(|_| ChainError::Malformed(certificates.len()))?;
            certificates.push(certificate);
            rest = after.trim_start();
        }
        if certificates.len() < 2 {
            return Err(ChainError::NotPem);
        }
        Ok(Self { certificates, root_sha256: Sha256::digest(last).into() })
    }

    /// Whether every certificate is issued and signed by the next, the last by itself, and the last is a pinned root.
    ///
    /// # Errors
    /// The first certificate, from the leaf, that does not hold.
    pub fn issued_under(&self, roots_sha256: &[[u8; 32]]) -> Result<(), ChainError> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let parent_index = (index + 1).min(self.certificates.len() - 1);
            let parent = &self.certificates[parent_index];
            if certificate.tbs_certificate().issuer() != parent.tbs_certificate().subject() {
                return Err(ChainError::Issuer(index));
            }
            may_issue(parent, parent_index)?;
            signed_by(certificate, parent, index, parent_index)?;
            only_understood(certificate, index)?;
        }
        if !roots_sha256.contains(&self.root_sha256) {
            return Err(ChainError::Root(hex::encode(self.root_sha256)));
        }
        Ok(())
    }

    /// Whether all certificates are valid at a time, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// The first certificate, from the leaf, that is not.
    pub fn valid_at(&self, unix_seconds: u64) -> Result<(), ChainError> {
        let mut certificates = self.certificates.iter().enumerate();
        certificates.try_for_each(|(index, certificate)| valid_at(certificate, index, unix_seconds))
    }

    /// Whether the leaf's key signed the message; `signature` is r and s, big endian.
    ///
    /// # Errors
    /// The leaf has no key on P-384.
    pub fn leaf_signed(&self, message: &[u8], signature: &[u8; 96]) -> Result<bool, ChainError> {
        let key = key(&self.certificates[0], 0)?;
        Ok(Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok()))
    }

    /// The firmware id that the leaf was issued for.
    ///
    /// # Errors
    /// The leaf has none.
    pub fn firmware_id(&self) -> Result<[u8; 48], ChainError> {
        let value = self.leaf_extension(DICE_TCB_INFO).ok_or(ChainError::NoFirmwareId)?;
        value.last_chunk().copied().ok_or(ChainError::NoFirmwareId)
    }

    /// The value of an extension that the leaf has exactly once.
    pub(crate) fn leaf_extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let extensions = self.certificates[0].tbs_certificate().extensions().into_iter().flatten();
        let mut named = extensions.filter(|extension| extension.extn_id == oid);
        match (named.next(), named.next()) {
            (Some(only), None) => Some(only.extn_value.as_bytes()),
            _ => None,
        }
    }
}

fn key(certificate: &Certificate, index: usize) -> Result<VerifyingKey, ChainError> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let bytes = info.subject_public_key.as_bytes().ok_or(ChainError::Key(index))?;
    if info.algorithm.oid != EC_PUBLIC_KEY || curve != Some(SECP384R1) {
        return Err(ChainError::Key(index));
    }
    VerifyingKey::from_sec1_bytes(bytes).map_err(|_| ChainError::Key(index))
}

/// `parent_index` is also the number of certificates below it, of which the leaf does not count for its path length.
fn may_issue(parent: &Certificate, parent_index: usize) -> Result<(), ChainError> {
    let refused = ChainError::NotAnIssuer(parent_index);
    let tbs = parent.tbs_certificate();
    let constraints = tbs.get_extension::<BasicConstraints>().map_err(|_| refused.clone())?;
    let usage = tbs.get_extension::<KeyUsage>().map_err(|_| refused.clone())?;
    let length_holds = |most: Option<u8>| most.is_none_or(|most| parent_index <= usize::from(most) + 1);
    let is_authority = constraints.is_some_and(|(_, found)| found.ca && length_holds(found.path_len_constraint));
    let may_sign = usage.is_none_or(|(_, usage)| usage.key_cert_sign());
    if is_authority && may_sign { Ok(()) } else { Err(refused) }
}

fn signed_by(child: &Certificate, parent: &Certificate, index: usize, parent_index: usize) -> Result<(), ChainError> {
    let refused = ChainError::Signature(index);
    let algorithm = child.signature_algorithm();
    if algorithm != child.tbs_certificate().signature() {
        return Err(refused);
    }
    let signed = child.tbs_certificate().to_der().map_err(|_| refused.clone())?;
    let bytes = child.signature().as_bytes().ok_or_else(|| refused.clone())?;
    let holds = match algorithm.oid {
        ECDSA_WITH_SHA384 => {
            let key = key(parent, parent_index)?;
            Signature::from_der(bytes).is_ok_and(|signature| key.verify(&signed, &signature).is_ok())
        }
        RSASSA_PSS => rsa_key(parent, parent_index)?.verify(&signed, bytes).is_ok(),
        _ => false,
    };
    if holds { Ok(()) } else { Err(refused) }
}

/// A key for signatures by PSS with SHA-384 and a salt of its length.
fn rsa_key(certificate: &Certificate, index: usize) -> Result<UnparsedPublicKey<&[u8]>, ChainError> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let bytes = info.subject_public_key.as_bytes().filter(|_| info.algorithm.oid == RSA_PUBLIC_KEY);
    bytes.map(|bytes| UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, bytes)).ok_or(ChainError::Key(index))
}

fn valid_at(certificate: &Certificate, index: usize, unix_seconds: u64) -> Result<(), ChainError> {
    let validity = certificate.tbs_certificate().validity();
    let from = validity.not_before.to_unix_duration().as_secs();
    let to = validity.not_after.to_unix_duration().as_secs();
    if (from..=to).contains(&unix_seconds) { Ok(()) } else { Err(ChainError::Expired(index)) }
}

fn only_understood(certificate: &Certificate, index: usize) -> Result<(), ChainError> {
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let mut critical = extensions.filter(|extension| extension.critical);
    match critical.all(|extension| UNDERSTOOD.contains(&extension.extn_id.to_string().as_str())) {
        true => Ok(()),
        false => Err(ChainError::CriticalExtension(index)),
    }
}
