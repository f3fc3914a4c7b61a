//! A remote verifier's word on GPUs: an entity attestation token (RFC 9711) with one detached token for each GPU, in the
//! form of NVIDIA's attestation service.
//!
//! ```text
//! [["JWT", OVERALL], {"GPU-0": DETACHED, ...}]
//! OVERALL   eat_nonce, x-nvidia-overall-att-result, submods {"GPU-0": ["DIGEST", ["SHA-256", hex of DETACHED]]}
//! DETACHED  eat_nonce, measres, x-nvidia-gpu-driver-version, x-nvidia-gpu-vbios-version, dbgstat, ...
//! ```
//!
//! The verifier compared the measurements with manifests of its own; here its tokens are held against keys that were
//! given, and nothing is asked of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::jws::{JwsError, Keys};

/// An answer of a verifier has some kilobytes for each GPU.
const MOST_BYTES: usize = 4 << 20;
const MOST_GPUS: usize = 64;

/// A token that vouches for nothing.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum EatError {
    /// More bytes than a verifier answers.
    #[error("{0} bytes, more than {MOST_BYTES}")]
    TooLong(usize),
    /// Not an overall token with detached ones.
    #[error("is not an overall token with a detached one for each gpu: [[\"JWT\", ...], {{\"GPU-0\": ...}}]")]
    Form,
    /// A token is not believed.
    #[error("{name}: {source}")]
    Token {
        /// `overall`, or the GPU's name.
        name: String,
        /// Why.
        source: JwsError,
    },
    /// It vouches for other evidence.
    #[error("{0}: its nonce is not the evidence's")]
    Nonce(String),
    /// It is from another time.
    #[error("{0}: it was not valid when the evidence was taken")]
    Time(String),
    /// The verifier did not find the GPUs to be in order.
    #[error("{name}: its {claim} is {found}")]
    Refused {
        /// `overall`, or the GPU's name.
        name: String,
        /// The claim.
        claim: &'static str,
        /// What it says.
        found: String,
    },
    /// The detached tokens are not those of the overall one.
    #[error("{0}: the overall token vouches for another token of this gpu, or none")]
    Digest(String),
}

/// An answer of a verifier, taken apart and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eat {
    overall: String,
    detached: BTreeMap<String, String>,
}

/// What a verifier vouches for: the GPUs of one piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Who says so.
    pub issuer: String,
    /// The GPUs, by the verifier's names for them.
    pub gpus: BTreeMap<String, VouchedGpu>,
}

/// A GPU whose measurements the verifier found to be those that it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchedGpu {
    /// Driver version.
    pub driver_version: String,
    /// VBIOS version.
    pub vbios_version: String,
}

#[derive(Deserialize)]
struct Overall {
    iss: Option<String>,
    eat_nonce: String,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(rename = "x-nvidia-overall-att-result", deserialize_with = "yes_or_no")]
    result: bool,
    submods: BTreeMap<String, (String, (String, String))>,
}

#[derive(Deserialize)]
struct Detached {
    eat_nonce: String,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    measres: String,
    dbgstat: Option<String>,
    #[serde(rename = "x-nvidia-gpu-driver-version")]
    driver_version: String,
    #[serde(rename = "x-nvidia-gpu-vbios-version")]
    vbios_version: String,
}

/// Some versions of the service write a truth value as text.
fn yes_or_no<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bool(bool),
        Text(String),
    }
    Ok(match Written::deserialize(from)? {
        Written::Bool(value) => value,
        Written::Text(text) => text.eq_ignore_ascii_case("true"),
    })
}

impl Eat {
    /// Takes a verifier's answer apart.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, EatError> {
        if bytes.len() > MOST_BYTES {
            return Err(EatError::TooLong(bytes.len()));
        }
        let whole: ((String, String), BTreeMap<String, String>) =
            serde_json::from_slice(bytes).map_err(|_| EatError::Form)?;
        let ((kind, overall), detached) = whole;
        if kind != "JWT" || detached.is_empty() || detached.len() > MOST_GPUS {
            return Err(EatError::Form);
        }
        Ok(Self { overall, detached })
    }

    /// What the verifier vouches for, if one of the keys is its own and it speaks of the evidence with this nonce, in
    /// hex, that was taken at this time.
    ///
    /// # Errors
    /// The first reason why it vouches for nothing.
    pub fn vouched(&self, keys: &Keys, nonce: &str, taken_unix_seconds: u64) -> Result<Vouched, EatError> {
        let token = |name: &str| {
            let name = name.to_owned();
            move |source| EatError::Token { name, source }
        };
        let overall: Overall = keys.claims(&self.overall).map_err(token("overall"))?;
        bound("overall", &overall.eat_nonce, nonce, overall.nbf, overall.exp, taken_unix_seconds)?;
        if !overall.result {
            return Err(refused("overall", "x-nvidia-overall-att-result", "false"));
        }
        if overall.submods.len() != self.detached.len() {
            return Err(EatError::Digest("overall".to_owned()));
        }
        let mut gpus = BTreeMap::new();
        for (name, text) in &self.detached {
            let digest = hex::encode(Sha256::digest(text));
            let is_named = overall.submods.get(name).is_some_and(|(kind, (algorithm, named))| {
                kind == "DIGEST" && is_sha256(algorithm) && named.eq_ignore_ascii_case(&digest)
            });
            if !is_named {
                return Err(EatError::Digest(name.clone()));
            }
            let detached: Detached = keys.claims(text).map_err(token(name))?;
            gpus.insert(name.clone(), in_order(name, detached, nonce, taken_unix_seconds)?);
        }
        Ok(Vouched { issuer: overall.iss.unwrap_or_else(|| "an unnamed verifier".to_owned()), gpus })
    }
}

fn in_order(name: &str, detached: Detached, nonce: &str, taken: u64) -> Result<VouchedGpu, EatError> {
    let Detached { eat_nonce, exp, nbf, measres, dbgstat, driver_version, vbios_version } = detached;
    bound(name, &eat_nonce, nonce, nbf, exp, taken)?;
    if !measres.eq_ignore_ascii_case("success") {
        return Err(refused(name, "measres", &measres));
    }
    match dbgstat {
        Some(debug) if debug != "disabled" => Err(refused(name, "dbgstat", &debug)),
        _ => Ok(VouchedGpu { driver_version, vbios_version }),
    }
}

fn is_sha256(algorithm: &str) -> bool {
    matches!(algorithm, "SHA-256" | "SHA256")
}

fn refused(name: &str, claim: &'static str, found: &str) -> EatError {
    EatError::Refused { name: name.to_owned(), claim, found: found.to_owned() }
}

/// A token is for one nonce. It is fetched after the evidence was taken, so it may begin later, but not end before.
fn bound(name: &str, found: &str, nonce: &str, nbf: u64, exp: u64, taken: u64) -> Result<(), EatError> {
    if !found.eq_ignore_ascii_case(nonce) {
        return Err(EatError::Nonce(name.to_owned()));
    }
    if exp <= taken || nbf >= exp {
        return Err(EatError::Time(name.to_owned()));
    }
    Ok(())
}
