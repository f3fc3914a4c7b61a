//! A GPU's identity and reports in the vendor's layout, made for tests: an own root, three authorities, and a leaf whose
//! key signs.

#![allow(dead_code, reason = "each test program uses a part")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use p384::ecdsa::Signature;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, SigningKey, date_time_ymd,
};
use sha2::{Digest, Sha256};

/// SHA-384 of the firmware, as certificate and report have it.
pub const FIRMWARE_ID: [u8; 48] = [0xf1; 48];
/// A moment at which all certificates are valid: the first of June 2026.
pub const NOW: u64 = 1_780_272_000;

/// A GPU with its chain.
pub struct Device {
    /// Certificates in PEM, leaf first, root last.
    pub pem: Vec<String>,
    /// SHA-256 of the root certificate.
    pub root_sha256: [u8; 32],
    key: KeyPair,
}

/// What a certificate of the chain is made with.
pub struct Link {
    /// Whether it may issue others.
    pub authority: bool,
    /// Years between which it is valid.
    pub years: (i32, i32),
}

impl Device {
    /// A GPU whose chain holds.
    pub fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// A GPU whose chain was changed: `change` gets the number of each certificate, from 0, the leaf.
    pub fn with(change: impl Fn(usize, &mut Link)) -> Self {
        let mut pem = Vec::new();
        let mut root_sha256 = [0; 32];
        let mut issuer: Option<Issuer<'static, KeyPair>> = None;
        for index in (0..5_usize).rev() {
            let mut link = Link { authority: index > 0, years: (2022, 4000) };
            change(index, &mut link);
            let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
            let params = params(index, &link);
            let certificate = match &issuer {
                Some(issuer) => params.signed_by(&key, issuer).unwrap(),
                None => params.self_signed(&key).unwrap(),
            };
            pem.insert(0, certificate.pem());
            if index == 4 {
                root_sha256 = Sha256::digest(certificate.der()).into();
            }
            issuer = Some(Issuer::new(params, key));
        }
        let key = KeyPair::from_pem(&issuer.unwrap().key().serialize_pem()).unwrap();
        Self { pem, root_sha256, key }
    }

    /// The chain as NVML gives it.
    pub fn chain(&self) -> Vec<u8> {
        self.pem.concat().into_bytes()
    }

    /// The key that signs, PKCS #8.
    pub fn key_pkcs8(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// A signed report.
    pub fn report(&self, nonce: [u8; 32]) -> Vec<u8> {
        self.sign(unsigned(nonce, &fields()))
    }

    /// Adds the signature to what was made without one.
    pub fn sign(&self, mut unsigned: Vec<u8>) -> Vec<u8> {
        let der = self.key.sign(&unsigned).unwrap();
        unsigned.extend_from_slice(&Signature::from_der(&der).unwrap().to_bytes());
        unsigned
    }
}

fn params(index: usize, link: &Link) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("teebench test {index}"));
    params.not_before = date_time_ymd(link.years.0, 1, 1);
    params.not_after = date_time_ymd(link.years.1, 1, 1);
    if link.authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    if index == 0 {
        let mut value = vec![0x30, 0x32, 0x04, 0x30];
        value.extend_from_slice(&FIRMWARE_ID);
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], value));
    }
    params
}

/// Driver 580.159.04, VBIOS 96.00.9F.00.01, the firmware id, and a board number.
pub fn fields() -> Vec<(u16, Vec<u8>)> {
    vec![
        (3, b"580.159.04\0\0".to_vec()),
        (6, vec![0x00, 0x9f, 0x00, 0x96, 0x01, 0, 0, 0]),
        (14, vec![1, 0]),
        (20, FIRMWARE_ID.to_vec()),
    ]
}

/// All of a report but the signature.
pub fn unsigned(nonce: [u8; 32], fields: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut record = Vec::new();
    for index in 1..=64_u8 {
        record.extend_from_slice(&[index, 1, 51, 0, 1, 48, 0]);
        record.extend_from_slice(&[index; 48]);
    }
    let mut opaque = Vec::new();
    for (number, value) in fields {
        opaque.extend_from_slice(&number.to_le_bytes());
        opaque.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        opaque.extend_from_slice(value);
    }
    let mut report = vec![0x11, 0xe0, 0x01, 0xff];
    report.extend_from_slice(&nonce);
    report.extend_from_slice(&[0, 0x11, 0x60, 0, 0, 64]);
    report.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes()[..3]);
    report.extend_from_slice(&record);
    report.extend_from_slice(&[0x5c; 32]);
    report.extend_from_slice(&u16::try_from(opaque.len()).unwrap().to_le_bytes());
    report.extend_from_slice(&opaque);
    report
}
