//! Signed JSON (RFC 7515, compact form) under ES384 (RFC 7518), and the keys that it is held against.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use p384::pkcs8::DecodePublicKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use x509_cert::Certificate;
use x509_cert::der::{DecodePem, Encode};

/// A verifier's tokens have under ten kilobytes.
const MOST_BYTES: usize = 256 << 10;
const MOST_KEYS: usize = 64;

/// A token that is not believed.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum JwsError {
    /// More bytes than a token has.
    #[error("{0} bytes, more than {MOST_BYTES}")]
    TooLong(usize),
    /// Not three parts in base64url.
    #[error("is not header, claims and signature in base64url, joined by dots")]
    Form,
    /// Another algorithm, or none.
    #[error("its algorithm is {0:?}, not ES384")]
    Algorithm(String),
    /// It makes demands that are not understood.
    #[error("its header has critical parts that are not understood")]
    Critical,
    /// None of the keys.
    #[error("none of the given keys signed it")]
    Signature,
    /// Its claims cannot be read.
    #[error("its claims cannot be read: {0}")]
    Claims(String),
}

/// Keys that cannot be read.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("is neither a key set (JWKS) with keys on P-384, nor a public key or certificate on P-384 in PEM")]
pub struct KeysError;

/// Keys whose tokens are believed.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<VerifyingKey>);

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads the keys of a file: a JWKS (RFC 7517), a public key or a certificate in PEM.
    ///
    /// # Errors
    /// There is none on P-384 in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeysError> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeysError)?.trim();
        let keys = match serde_json::from_str::<KeySet>(text) {
            Ok(set) => set.keys.iter().take(MOST_KEYS).filter_map(on_p384).collect(),
            Err(_) => vec![from_pem(text).ok_or(KeysError)?],
        };
        if keys.is_empty() { Err(KeysError) } else { Ok(Self(keys)) }
    }

    /// Adds other keys.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims of a token that one of the keys signed.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn claims<T: DeserializeOwned>(&self, token: &str) -> Result<T, JwsError> {
        if token.len() > MOST_BYTES {
            return Err(JwsError::TooLong(token.len()));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::Form)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Form);
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| JwsError::Form)?;
        if header.alg != "ES384" {
            return Err(JwsError::Algorithm(header.alg));
        }
        if header.crit.is_some() {
            return Err(JwsError::Critical);
        }
        let signature = Signature::from_slice(&decoded(signature)?).map_err(|_| JwsError::Signature)?;
        if !self.0.iter().any(|key| key.verify(signed.as_bytes(), &signature).is_ok()) {
            return Err(JwsError::Signature);
        }
        serde_json::from_slice(&decoded(claims)?).map_err(|error| JwsError::Claims(error.to_string()))
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<serde_json::Value>,
}

fn on_p384(key: &Key) -> Option<VerifyingKey> {
    if key.kty != "EC" || key.crv.as_deref() != Some("P-384") {
        return None;
    }
    let mut point = vec![4];
    for coordinate in [&key.x, &key.y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate.as_ref()?).ok()?;
        point.extend((bytes.len() == 48).then_some(bytes)?);
    }
    VerifyingKey::from_sec1_bytes(&point).ok()
}

fn from_pem(text: &str) -> Option<VerifyingKey> {
    if let Ok(key) = VerifyingKey::from_public_key_pem(text) {
        return Some(key);
    }
    let certificate = Certificate::from_pem(text).ok()?;
    let info = certificate.tbs_certificate().subject_public_key_info().to_der().ok()?;
    VerifyingKey::from_public_key_der(&info).ok()
}
