//! A TPM's quote: which platform configuration registers it attests, with which nonce, and the signature over that.
//!
//! Layouts are those of TPM 2.0 Library, part 2: TPMS_ATTEST (10.12.8) with TPMS_QUOTE_INFO (10.12.1), TPMT_SIGNATURE
//! (11.3.4). All numbers are big endian.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use p256::ecdsa::signature::Verifier;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use sha2::{Digest, Sha256};

use crate::bytes::{Rest, Truncated};

/// TPM_GENERATED_VALUE: no key that is bound to a TPM signs such bytes unless the TPM made them.
const GENERATED: u32 = 0xff54_4347;
const ATTEST_QUOTE: u16 = 0x8018;
const SHA256: u16 = 0x000b;
const RSASSA: u16 = 0x0014;
const ECDSA: u16 = 0x0018;
/// Registers 0 to 23, in three bytes of a selection.
const REGISTERS: u8 = 24;
const MOST_BYTES: usize = 4096;
/// Keys below are weak, keys above no TPM has.
const RSA_MODULUS_BYTES: RangeInclusive<usize> = 256..=512;

/// A quote that attests nothing.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum QuoteError {
    /// More bytes than a quote has.
    #[error("{0} bytes, more than {MOST_BYTES}")]
    TooLong(usize),
    /// It ends inside a part.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A part is not what it must be.
    #[error("its {0} is not what a quote has")]
    Unexpected(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes follow it")]
    Trailing(usize),
    /// Another key signed it, or it was changed since.
    #[error("its signature is not the attestation key's over these bytes (RSASSA or ECDSA on P-256, with SHA-256)")]
    Signature,
    /// It answers another question.
    #[error("its nonce is not the one that the tpm was asked with")]
    Nonce,
    /// The registers that were recorded are not those that it attests.
    #[error("the registers that were recorded are not those that it attests")]
    Registers,
}

/// The key that signs quotes.
#[derive(Clone, Debug)]
pub enum AttestationKey {
    /// RSA.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// ECDSA on P-256.
    P256(p256::ecdsa::VerifyingKey),
}

impl AttestationKey {
    /// An RSA key of 2048 to 4096 bits from its modulus and exponent, big endian.
    #[must_use]
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (n, e) = (without_zeros(modulus).to_vec(), without_zeros(exponent).to_vec());
        RSA_MODULUS_BYTES.contains(&n.len()).then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
    }

    /// A key on P-256 from the coordinates of its point, big endian.
    #[must_use]
    pub fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&[&[4], x, y].concat()).ok().map(Self::P256)
    }

    /// Whether the key signed a message; `signature` is a TPMT_SIGNATURE.
    ///
    /// # Errors
    /// It did not, or the signature is of another kind.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> Result<(), QuoteError> {
        let mut rest = Rest(signature);
        let (scheme, hash) = (rest.u16_be("signature")?, rest.u16_be("signature")?);
        if hash != SHA256 {
            return Err(QuoteError::Signature);
        }
        let holds = match (self, scheme) {
            (Self::Rsa(key), RSASSA) => {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, rest.sized("signature")?).is_ok()
            }
            (Self::P256(key), ECDSA) => {
                let (r, s) = (scalar(rest.sized("signature")?), scalar(rest.sized("signature")?));
                let signature = r.zip(s).and_then(|(r, s)| p256::ecdsa::Signature::from_scalars(r, s).ok());
                signature.is_some_and(|signature| key.verify(message, &signature).is_ok())
            }
            _ => false,
        };
        match rest.0.len() {
            0 if holds => Ok(()),
            0 => Err(QuoteError::Signature),
            left => Err(QuoteError::Trailing(left)),
        }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().position(|byte| *byte != 0).unwrap_or(number.len())..]
}

/// A number of 256 bits; TPMs leave leading zeros out.
fn scalar(bytes: &[u8]) -> Option<[u8; 32]> {
    let mut scalar = [0; 32];
    scalar[32_usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(scalar)
}

/// A quote's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    nonce: &'a [u8],
    selected: Vec<u8>,
    digest: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Takes a quote apart; every byte must belong to a part.
    ///
    /// # Errors
    /// It is no quote over registers of the SHA-256 bank.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MOST_BYTES {
            return Err(QuoteError::TooLong(bytes.len()));
        }
        let mut rest = Rest(bytes);
        expect(rest.u32_be("magic number")? == GENERATED, "magic number")?;
        expect(rest.u16_be("kind")? == ATTEST_QUOTE, "kind")?;
        rest.sized("signer's name")?;
        let nonce = rest.sized("nonce")?;
        rest.take(17, "clock")?;
        rest.take(8, "firmware version")?;
        expect(rest.u32_be("selection")? == 1, "number of banks")?;
        expect(rest.u16_be("selection")? == SHA256, "bank")?;
        let size = rest.u8("selection")?;
        let selection = rest.take(usize::from(size), "selection")?;
        let is_selected = |register: u8| {
            selection.get(usize::from(register / 8)).is_some_and(|byte| byte & (1 << (register % 8)) != 0)
        };
        expect(selection.iter().skip(3).all(|byte| *byte == 0), "selection")?;
        let selected = (0..REGISTERS).filter(|register| is_selected(*register)).collect();
        let digest = rest.sized("digest")?;
        match rest.0.len() {
            0 => Ok(Self { nonce, selected, digest }),
            left => Err(QuoteError::Trailing(left)),
        }
    }

    /// The nonce that the TPM was asked with.
    #[must_use]
    pub const fn nonce(&self) -> &'a [u8] {
        self.nonce
    }

    /// Whether these registers, by number and in hex, are the ones that the quote attests, and no others.
    #[must_use]
    pub fn attests(&self, registers: &BTreeMap<u8, String>) -> bool {
        let mut hasher = Sha256::new();
        for register in &self.selected {
            let Some(value) = registers.get(register).and_then(|text| hex::decode(text).ok()) else { return false };
            if value.len() != 32 {
                return false;
            }
            hasher.update(value);
        }
        let is_whole = !self.selected.is_empty() && registers.len() == self.selected.len();
        is_whole && hasher.finalize().as_slice() == self.digest
    }
}

const fn expect(holds: bool, part: &'static str) -> Result<(), QuoteError> {
    if holds { Ok(()) } else { Err(QuoteError::Unexpected(part)) }
}
