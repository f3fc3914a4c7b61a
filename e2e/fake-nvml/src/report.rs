//! The report that a GPU signs over a nonce, in the layout of SPDM 1.1 that Hopper's firmware writes.

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use p384::pkcs8::DecodePrivateKey;
use serde::Deserialize;

/// What a GPU signs with, and what it says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Signing {
    /// Private key on P-384, PKCS #8 in hex.
    key_pkcs8_hex: String,
    /// Certificates in PEM, leaf first.
    pub(crate) chain_pem: String,
    /// 48 bytes in hex, as the leaf certificate has them.
    firmware_id_hex: String,
    /// The nonce that is signed in place of the one that was asked for, in hex.
    #[serde(default)]
    nonce_hex: Option<String>,
    /// The driver that the report names in place of the machine's.
    #[serde(default)]
    driver_version: Option<String>,
}

impl Signing {
    /// The signed report; `None` where the file's key or digits are none.
    pub(crate) fn report(&self, nonce: &[u8], driver_version: &str, vbios_version: &str) -> Option<Vec<u8>> {
        let other = self.nonce_hex.as_deref().map(from_hex);
        let nonce = match &other {
            None => nonce,
            Some(other) => other.as_deref()?,
        };
        let driver_version = self.driver_version.as_deref().unwrap_or(driver_version);
        let mut driver = driver_version.as_bytes().to_vec();
        driver.push(0);
        let fields = [
            (3_u16, driver),
            (6, vbios_bytes(vbios_version)?),
            (14, vec![1, 0]),
            (20, from_hex(&self.firmware_id_hex)?),
        ];
        let mut report = unsigned(nonce, &fields)?;
        let key = SigningKey::from_pkcs8_der(&from_hex(&self.key_pkcs8_hex)?).ok()?;
        let signature: Signature = key.sign(&report);
        report.extend_from_slice(&signature.to_bytes());
        Some(report)
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// `96.00.9F.00.01` is a number of eight bytes, little endian: the first four pairs in its lower half.
fn vbios_bytes(version: &str) -> Option<Vec<u8>> {
    let parts: Option<Vec<u8>> = version.split('.').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let [a, b, c, d, last] = parts?[..] else { return None };
    Some(vec![d, c, b, a, last, 0, 0, 0])
}

fn unsigned(nonce: &[u8], fields: &[(u16, Vec<u8>)]) -> Option<Vec<u8>> {
    const MEASUREMENTS: u8 = 64;
    const DIGEST: [u8; 48] = [0x5a; 48];
    let mut record = Vec::new();
    for index in 1..=MEASUREMENTS {
        // Index, specification, size of what follows; type, size of the value.
        record.extend_from_slice(&[index, 1, 51, 0, 1, 48, 0]);
        record.extend_from_slice(&DIGEST);
    }
    let mut opaque = Vec::new();
    for (number, value) in fields {
        opaque.extend_from_slice(&number.to_le_bytes());
        opaque.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
        opaque.extend_from_slice(value);
    }
    let mut report = vec![0x11, 0xe0, 0x01, 0xff];
    report.extend_from_slice(nonce);
    report.push(0);
    report.extend_from_slice(&[0x11, 0x60, 0, 0, MEASUREMENTS]);
    report.extend_from_slice(&u32::try_from(record.len()).ok()?.to_le_bytes()[..3]);
    report.extend_from_slice(&record);
    report.extend_from_slice(&[0xa5; 32]);
    report.extend_from_slice(&u16::try_from(opaque.len()).ok()?.to_le_bytes());
    report.extend_from_slice(&opaque);
    Some(report)
}
