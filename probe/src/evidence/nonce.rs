//! The nonce: SHA-256 of the canonical JSON (RFC 8785) of what the evidence is bound to.

use sha2::{Digest, Sha256};
use teebench_api::files::evidence::{NonceDocument, Phase};

/// A nonce document that is refused.
#[derive(thiserror::Error, Debug)]
pub enum NonceError {
    /// Another version.
    #[error("nonce: v {0:?} is not {expected:?}", expected = NonceDocument::VERSION)]
    Version(String),
    /// A digest or the salt has the wrong form.
    #[error("nonce: {field}: give 32 bytes in lower-case hex")]
    NotHex {
        /// The field's name in the document.
        field: &'static str,
    },
    /// The result's digests are bound after the run, and only then.
    #[error("nonce: benchSha256 and samplesSha256 belong to phase post, both of them, and not to phase pre")]
    Results,
    /// The document has no canonical form.
    #[error("nonce: the document cannot be written canonically")]
    Canonical(#[source] serde_json::Error),
}

/// The nonce of a document, in hex.
///
/// # Errors
/// When the document is not one of this version, whole and well formed.
pub fn nonce_sha256(document: &NonceDocument) -> Result<String, NonceError> {
    let NonceDocument { v, phase, campaign: _, run: _, server: _, plan_sha256, salt, bench_sha256, samples_sha256 } =
        document;
    if v != NonceDocument::VERSION {
        return Err(NonceError::Version(v.clone()));
    }
    let digests = [
        ("planSha256", Some(plan_sha256)),
        ("salt", Some(salt)),
        ("benchSha256", bench_sha256.as_ref()),
        ("samplesSha256", samples_sha256.as_ref()),
    ];
    for (field, digest) in digests {
        if digest.is_some_and(|digest| !is_hex_of_32_bytes(digest)) {
            return Err(NonceError::NotHex { field });
        }
    }
    let bound = [bench_sha256.is_some(), samples_sha256.is_some()];
    if bound != [*phase == Phase::Post; 2] {
        return Err(NonceError::Results);
    }
    let canonical = serde_json_canonicalizer::to_vec(document).map_err(NonceError::Canonical)?;
    Ok(hex::encode(Sha256::digest(canonical)))
}

fn is_hex_of_32_bytes(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Documents and the nonces that an independent implementation computed for them (Python's `json` and `hashlib`).
    const VECTORS: &str = include_str!("../../tests/data/nonce-vectors.json");

    #[derive(serde::Deserialize)]
    struct Vector {
        document: NonceDocument,
        canonical: String,
        sha256: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(VECTORS).unwrap()
    }

    #[test]
    fn nonces_equal_the_test_vectors() {
        for vector in vectors() {
            let canonical = serde_json_canonicalizer::to_string(&vector.document).unwrap();
            assert_eq!(canonical, vector.canonical);
            assert_eq!(nonce_sha256(&vector.document).unwrap(), vector.sha256);
        }
    }

    type Change = fn(&mut NonceDocument);

    #[rstest]
    #[case::version((|document: &mut NonceDocument| document.v = "teebench/2".to_owned()) as Change, "teebench/2")]
    #[case::short_salt((|document: &mut NonceDocument| document.salt = "00".to_owned()) as Change, "salt")]
    #[case::capital_hex((|document: &mut NonceDocument| document.plan_sha256 = "A".repeat(64)) as Change, "planSha256")]
    #[case::result_before_the_run(
        (|document: &mut NonceDocument| document.bench_sha256 = Some("0".repeat(64))) as Change,
        "phase post"
    )]
    #[case::no_result_after_the_run(
        (|document: &mut NonceDocument| document.phase = Phase::Post) as Change,
        "phase post"
    )]
    fn a_document_that_is_not_whole_is_refused_by_field(#[case] change: Change, #[case] told: &str) {
        let mut document = vectors().remove(0).document;
        assert_eq!(document.phase, Phase::Pre);
        change(&mut document);
        let error = nonce_sha256(&document).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }

    #[test]
    fn every_field_changes_the_nonce() {
        let base = vectors().remove(1).document;
        let other = || "1".repeat(64);
        let changes: [Change; 6] = [
            |document| document.campaign.push('x'),
            |document| document.run.push('x'),
            |document| document.server += 1,
            |document| document.plan_sha256 = "1".repeat(64),
            |document| document.salt = "1".repeat(64),
            |document| document.bench_sha256 = Some("1".repeat(64)),
        ];
        let mut nonces = vec![nonce_sha256(&base).unwrap()];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            nonces.push(nonce_sha256(&changed).unwrap());
        }
        nonces.push(nonce_sha256(&NonceDocument { samples_sha256: Some(other()), ..base }).unwrap());
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 8);
    }
}
