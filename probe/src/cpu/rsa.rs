//! Verification of RSA signatures (RFC 8017): PKCS #1 v1.5 with SHA-256, and PSS with SHA-384.
//!
//! Everything here is public, so nothing has to run in constant time.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use sha2::{Digest, Sha256, Sha384};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode, Reader, SliceReader};

/// Keys below are weak, keys above are not what AMD or a TPM has.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
const SHA384_BYTES: usize = 48;
/// DER of DigestInfo with SHA-256 up to the digest (RFC 8017, section 9.2, note 1).
const SHA256_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// An RSA key of 2048 to 4096 bits.
#[derive(Clone, Debug)]
pub struct RsaKey {
    modulus: BoxedMontyParams,
    exponent: BoxedUint,
    bytes: usize,
    bits: u32,
}

impl RsaKey {
    /// A key from its modulus and exponent, big endian; `None` where they are none.
    #[must_use]
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        // Exponents have 17 bits in practice; RFC 8017 wants them odd and from 3 on.
        let is_exponent = (1..=4).contains(&exponent.len()) && exponent.last()? % 2 == 1 && exponent != [1];
        if !MODULUS_BYTES.contains(&modulus.len()) || !is_exponent {
            return None;
        }
        let number = BoxedUint::from_be_slice_vartime(modulus);
        let (bytes, bits) = (modulus.len(), number.bits());
        let modulus = BoxedMontyParams::new_vartime(Option::from(Odd::new(number))?);
        Some(Self { modulus, exponent: BoxedUint::from_be_slice_vartime(exponent), bytes, bits })
    }

    /// A key as certificates hold it (PKCS #1): a sequence of modulus and exponent in DER.
    #[must_use]
    pub fn from_pkcs1(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let read = reader.sequence(|inner: &mut SliceReader<'_>| {
            Ok::<_, x509_cert::der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?))
        });
        let (modulus, exponent) = read.ok()?;
        if reader.is_finished() { Self::new(modulus.as_bytes(), exponent.as_bytes()) } else { None }
    }

    /// Whether the key signed a message, by PKCS #1 v1.5 with SHA-256.
    #[must_use]
    pub fn signed_pkcs1v15_sha256(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(encoded) = self.encoded(signature) else { return false };
        let mut expected = vec![0xff; self.bytes];
        let tail = [&[0], SHA256_INFO.as_slice(), &Sha256::digest(message)].concat();
        expected[..2].copy_from_slice(&[0, 1]);
        expected[self.bytes - tail.len()..].copy_from_slice(&tail);
        encoded == expected
    }

    /// Whether the key signed a message, by PSS with SHA-384 and a salt of its length (RFC 8017, section 9.1.2).
    #[must_use]
    pub fn signed_pss_sha384(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(encoded) = self.encoded(signature) else { return false };
        let bits = self.bits - 1;
        let (zero, encoded) = encoded.split_at(self.bytes - bits.div_ceil(8) as usize);
        let Some((encoded, 0xbc)) = encoded.split_last().map(|(last, rest)| (rest, *last)) else { return false };
        let Some((masked, digest)) = encoded.split_last_chunk::<SHA384_BYTES>() else { return false };
        // The bits of the first byte that lie beyond the number's, 0 to 7 of them.
        let beyond = !(0xff_u8 >> (8 * bits.div_ceil(8) - bits));
        if zero.iter().any(|byte| *byte != 0) || masked[0] & beyond != 0 {
            return false;
        }
        let mut block: Vec<u8> =
            masked.iter().zip(mask(digest, masked.len())).map(|(byte, mask)| byte ^ mask).collect();
        block[0] &= !beyond;
        let Some((padding, salt)) = block.split_last_chunk::<SHA384_BYTES>() else { return false };
        let Some((1, zeros)) = padding.split_last().map(|(last, rest)| (*last, rest)) else { return false };
        let again =
            Sha384::new().chain_update([0; 8]).chain_update(Sha384::digest(message)).chain_update(salt).finalize();
        zeros.iter().all(|byte| *byte == 0) && again.as_slice() == digest
    }

    /// What a signature was made of: the padded digest, as long as the modulus.
    fn encoded(&self, signature: &[u8]) -> Option<Vec<u8>> {
        if signature.len() != self.bytes {
            return None;
        }
        let number = BoxedUint::from_be_slice(signature, self.modulus.bits_precision()).ok()?;
        if number >= *self.modulus.modulus().as_ref() {
            return None;
        }
        let recovered = BoxedMontyForm::new(number, &self.modulus).pow(&self.exponent).retrieve().to_be_bytes();
        Some(recovered[recovered.len().checked_sub(self.bytes)?..].to_vec())
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().position(|byte| *byte != 0).unwrap_or(number.len())..]
}

/// MGF1 with SHA-384 (RFC 8017, appendix B.2.1).
fn mask(seed: &[u8], count: usize) -> Vec<u8> {
    let blocks =
        (0_u32..).flat_map(|block| Sha384::new().chain_update(seed).chain_update(block.to_be_bytes()).finalize());
    blocks.take(count).collect()
}
