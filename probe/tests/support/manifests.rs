//! Reference manifests and a remote verifier's tokens, made for the tests' GPU.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use teebench_probe::endorsement::Keys;

/// A manifest for a version that expects these measurements: index, whether it counts, the values that will do.
pub fn manifest(version: &str, measurements: &[(u8, bool, &[[u8; 48]])]) -> String {
    let mut text = String::from(
        "<SoftwareIdentity xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" \
         xmlns:h=\"http://www.w3.org/2001/04/xmlenc#sha384\" name=\"GH100\" tagId=\"test\">\n",
    );
    writeln!(text, "<Meta colloquialVersion=\"{version}\" edition=\"GPU\" product=\"GH100\"/>\n<Payload>").unwrap();
    for (index, active, values) in measurements {
        let active = if *active { "True" } else { "False" };
        write!(text, "<Resource type=\"Measurement\" index=\"{index}\" active=\"{active}\" ").unwrap();
        write!(text, "alternatives=\"{}\" size=\"48\"", values.len()).unwrap();
        for (number, value) in values.iter().enumerate() {
            write!(text, " h:Hash{number}=\"{}\"", hex::encode(value)).unwrap();
        }
        text.push_str("/>\n");
    }
    text + "</Payload>\n</SoftwareIdentity>\n"
}

/// The value that the tests' GPU measured at an index of a manifest.
pub const fn measured(index: u8) -> [u8; 48] {
    [index + 1; 48]
}

/// Manifests of the tests' GPU's driver and VBIOS, which its reports match.
pub fn manifests() -> [String; 2] {
    [
        manifest("580.159.04", &[(20, true, &[[0; 48], measured(20)]), (21, false, &[[0; 48]])]),
        manifest("96.00.9f.00.01", &[(1, true, &[measured(1)]), (63, true, &[measured(63)])]),
    ]
}

/// A remote verifier's key.
pub struct Authority(SigningKey);

impl Authority {
    /// One of the keys for tests.
    pub fn new(number: u8) -> Self {
        Self(SigningKey::from_slice(&[number; 48]).unwrap())
    }

    /// Its public part as the verifier publishes it.
    pub fn keys(&self) -> Keys {
        Keys::parse(self.jwks().to_string().as_bytes()).unwrap()
    }

    /// The same as JSON.
    pub fn jwks(&self) -> Value {
        let point = self.0.verifying_key().to_sec1_point(false);
        let coordinate = |at: usize| URL_SAFE_NO_PAD.encode(&point.as_bytes()[at..at + 48]);
        json!({"keys": [{"kty": "EC", "crv": "P-384", "kid": "test", "x": coordinate(1), "y": coordinate(49)}]})
    }

    /// A token with these claims.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature: Signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The answer for one GPU; `change` gets the overall and the detached claims before they are signed.
    pub fn answer(&self, nonce: &str, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let header = json!({"alg": "ES384", "typ": "JWT", "kid": "test"});
        let mut detached = json!({
            "eat_nonce": nonce, "nbf": 1_780_000_000, "exp": 1_790_000_000, "measres": "success", "dbgstat": "disabled",
            "x-nvidia-gpu-driver-version": "580.159.04", "x-nvidia-gpu-vbios-version": "96.00.9F.00.01"
        });
        let mut overall = json!({
            "iss": "https://verifier.example", "eat_nonce": nonce, "nbf": 1_780_000_000, "exp": 1_790_000_000,
            "x-nvidia-overall-att-result": true, "submods": null
        });
        change(&mut overall, &mut detached);
        let detached = self.token(&header, &detached);
        if overall["submods"].is_null() {
            let digest = hex::encode(Sha256::digest(&detached));
            overall["submods"] = json!({"GPU-0": ["DIGEST", ["SHA-256", digest]]});
        }
        json!([["JWT", self.token(&header, &overall)], {"GPU-0": detached}]).to_string()
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
