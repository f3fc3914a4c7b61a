//! The in-toto Statement over a campaign's sums, for people who sign with cosign or another tool of that kind.

use serde::Serialize;

use super::sums::{SUMS_FILE, parse, sha256_hex};

/// Name of the file, beside the `SHA256SUMS` that it is made of. It is derived, so the sums do not name it.
pub const STATEMENT_FILE: &str = "statement.intoto.json";

/// Type of the Statement's predicate.
const PREDICATE_TYPE: &str = "https://teebench.dev/attestation/results/v1";

/// A text that is no `SHA256SUMS`.
#[derive(thiserror::Error, Debug)]
#[error("SHA256SUMS: {0}")]
pub struct StatementError(String);

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject<'a>>,
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: Digest<'a>,
}

#[derive(Serialize)]
struct Digest<'a> {
    sha256: &'a str,
}

#[derive(Serialize)]
struct Predicate<'a> {
    campaign: &'a str,
}

/// The Statement (in-toto attestation framework v1) whose first subject is `SHA256SUMS` itself and whose others are the
/// files that it names, by path. Equal sums give equal bytes.
///
/// # Errors
/// When the text is no `SHA256SUMS`.
pub fn statement(campaign: &str, sums_text: &str) -> Result<Vec<u8>, StatementError> {
    let sums = parse(sums_text).map_err(StatementError)?;
    let own = sha256_hex(sums_text.as_bytes());
    let all =
        [(SUMS_FILE, own.as_str())].into_iter().chain(sums.iter().map(|(path, sum)| (path.as_str(), sum.as_str())));
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: all.map(|(name, sha256)| Subject { name, digest: Digest { sha256 } }).collect(),
        predicate_type: PREDICATE_TYPE,
        predicate: Predicate { campaign },
    };
    let mut bytes =
        serde_json::to_vec_pretty(&statement).expect("strings serialise to JSON, and memory takes every write");
    bytes.push(b'\n');
    Ok(bytes)
}
