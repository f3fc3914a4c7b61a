//! One server's evidence before and after a run: whose nonce it carries, whether its verdict follows from the answers
//! that it recorded, and whether the two support the arm's claim.

use std::path::Path;

use sha2::{Digest, Sha256};
use teebench_api::campaign::Tee;
use teebench_api::files::evidence::{Evidence, EvidenceLevel, NonceDocument, Phase};
use teebench_api::files::run::ServerRecord;

use super::Trust;
use super::found::Fault;
use super::manifests::Manifests;
use super::sums::{self, Sums};
use crate::evidence::{Bound, TeeClaim, recorded, supports};

/// What the evidence of an attempt must be bound to, and what is claimed of it.
pub(super) struct Expected<'a> {
    pub(super) campaign: &'a str,
    pub(super) run: &'a str,
    pub(super) plan_sha256: &'a str,
    pub(super) salt: Option<&'a str>,
    pub(super) bench_sha256: Option<&'a str>,
    pub(super) tee: Tee,
    pub(super) minimum: EvidenceLevel,
    pub(super) engine_simulated: bool,
    pub(super) manifests: &'a Manifests,
    pub(super) trust: &'a Trust,
}

/// What the files of a server support, or of all servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Supported {
    /// The level.
    pub(super) level: EvidenceLevel,
    /// The level with the tokens that were given beside them; absent where no token is of this evidence.
    pub(super) with_tokens: Option<EvidenceLevel>,
}

impl Supported {
    /// What both support.
    pub(super) fn weaker(self, other: Self) -> Self {
        let with_tokens =
            |one: Self, other: Self| one.with_tokens.map(|level| level.min(other.with_tokens.unwrap_or(other.level)));
        Self {
            level: self.level.min(other.level),
            with_tokens: with_tokens(self, other).or_else(|| with_tokens(other, self)),
        }
    }
}

/// The level at which the server's evidence supports the claim. What contradicts the files is a fault in any case.
///
/// # Errors
/// Why it supports no level.
pub(super) fn verify(
    directory: &Path,
    sums: &Sums,
    server: &ServerRecord,
    expected: &Expected<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Supported, Vec<String>> {
    let own = format!("servers/{}", server.ordinal);
    let file = |name: &str| format!("{own}/evidence/{name}.json");
    if !["pre", "nonce-pre", "post", "nonce-post"].iter().any(|name| sums.contains_key(&file(name))) {
        return match expected.tee {
            Tee::Undeclared => Ok(Supported { level: EvidenceLevel::Declared, with_tokens: None }),
            Tee::Enabled | Tee::Disabled => Err(vec!["it has no evidence".to_owned()]),
        };
    }
    let missing: Vec<String> = ["pre", "nonce-pre", "post", "nonce-post"]
        .map(file)
        .into_iter()
        .filter(|name| !sums.contains_key(name))
        .collect();
    if !missing.is_empty() {
        return Err(vec![format!("its evidence is not whole: {} is missing", missing.join(", "))]);
    }
    let evidence = |name: &str, faults: &mut Vec<Fault>| sums::read_json::<Evidence>(directory, &file(name), faults);
    let (pre, post) = (evidence("pre", faults), evidence("post", faults));
    let document =
        |name: &str, faults: &mut Vec<Fault>| sums::read_json::<NonceDocument>(directory, &file(name), faults);
    let (nonce_pre, nonce_post) = (document("nonce-pre", faults), document("nonce-post", faults));
    let (Some(pre), Some(post), Some(nonce_pre), Some(nonce_post)) = (pre, post, nonce_pre, nonce_post) else {
        return Err(vec!["its evidence cannot be read".to_owned()]);
    };
    let samples = samples_sha256(directory, sums, &own).map_err(|reason| vec![reason])?;
    for (name, document) in [("nonce-pre", &nonce_pre), ("nonce-post", &nonce_post)] {
        for message in not_as_expected(document, server.ordinal, &samples, expected) {
            faults.push(Fault::new(&file(name), message));
        }
    }
    if server.environment != pre.environment {
        faults.push(Fault::new(&file("pre"), "its environment is not the one that run.json has for this server"));
    }
    for (name, evidence) in [("pre", &pre), ("post", &post)] {
        let references = &expected.manifests.references;
        let by_answers = recorded::contradictions(evidence, references, &expected.trust.verifier);
        for message in by_answers.into_iter().chain(expected.manifests.contradictions(evidence)) {
            faults.push(Fault::new(&file(name), message));
        }
    }
    let with_tokens = [("pre", &pre), ("post", &post)].map(|(name, evidence)| {
        let level = expected.trust.tokens.level(evidence, &expected.trust.verifier);
        level.unwrap_or_else(|message| {
            faults.push(Fault::new(&file(name), message));
            None
        })
    });
    let level = supports(
        match expected.tee {
            Tee::Enabled => TeeClaim::Enabled,
            Tee::Disabled => TeeClaim::Disabled,
            Tee::Undeclared => TeeClaim::Undeclared,
        },
        expected.minimum,
        Bound { evidence: &pre, nonce: &nonce_pre },
        Bound { evidence: &post, nonce: &nonce_post },
        expected.engine_simulated,
    )?;
    Ok(Supported { level, with_tokens: with_tokens[0].zip(with_tokens[1]).map(|(pre, post)| pre.min(post).max(level)) })
}

fn not_as_expected(document: &NonceDocument, ordinal: u32, samples: &str, expected: &Expected<'_>) -> Vec<String> {
    let NonceDocument { v: _, phase, campaign, run, server, plan_sha256, salt, bench_sha256, samples_sha256 } =
        document;
    let mut wrong = Vec::new();
    let mut check = |field: &str, holds: bool| {
        if !holds {
            wrong.push(format!("its {field} is not this run's: the evidence is bound to something else"));
        }
    };
    check("campaign", campaign == expected.campaign);
    check("run", run == expected.run);
    check("server", *server == ordinal);
    check("planSha256", plan_sha256 == expected.plan_sha256);
    check("salt", expected.salt.is_none_or(|expected| salt == expected));
    if *phase == Phase::Post {
        check("benchSha256", bench_sha256.as_deref() == expected.bench_sha256);
        check("samplesSha256", samples_sha256.as_deref() == Some(samples));
    }
    wrong
}

/// SHA-256 over the server's sample files, concatenated in the order of their names.
fn samples_sha256(directory: &Path, sums: &Sums, own: &str) -> Result<String, String> {
    let prefix = format!("{own}/power-");
    let files: Vec<_> = sums.iter().filter(|(path, _)| path.starts_with(&prefix) && path.ends_with(".jsonl")).collect();
    if let [(_, sum)] = files.as_slice() {
        // The digest of one file is the digest of the files; that its bytes have it is checked with all other files.
        return Ok((*sum).clone());
    }
    let mut hasher = Sha256::new();
    for (path, _) in files {
        sums::hash(&directory.join(path), &mut hasher).map_err(|error| format!("{path}: cannot be read: {error}"))?;
    }
    Ok(hex::encode(hasher.finalize()))
}
