//! What the verifier of a results directory promises of runs that claim Endorsed: all of it is recomputed from the files,
//! and a remote verifier's tokens that are given beside them are told apart from what the run itself claims.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/device.rs"]
mod device;
#[path = "support/manifests.rs"]
mod manifests;
#[path = "support/results.rs"]
mod results;
#[path = "support/signed.rs"]
mod signed;

use std::sync::LazyLock;

use device::Device;
use manifests::{Authority, manifests};
use results::{Made, Results};
use rstest::rstest;
use sha2::{Digest, Sha256};
use teebench_api::files::evidence::EvidenceLevel;
use teebench_probe::attestation::{Root, Verifier};
use teebench_probe::endorsement::{Eat, References};
use teebench_probe::evidence::endorse;
use teebench_probe::verify::{Found, Tokens, Trust, verify};

static DEVICE: LazyLock<Device> = LazyLock::new(Device::new);

fn verifier() -> Verifier {
    Verifier::new(Root::Test(DEVICE.root_sha256)).with_cpu_root(cpu::root())
}

fn pins() -> Vec<String> {
    manifests().iter().map(|text| hex::encode(Sha256::digest(text))).collect()
}

/// A run whose GPU signed and whose machine's CPU did, with these manifests.
fn attested(made: &mut Made, manifests: &[String]) {
    signed::sign(made, &DEVICE);
    let files = manifests.iter().map(|text| text.clone().into_bytes());
    let pins: Vec<String> = manifests.iter().map(|text| hex::encode(Sha256::digest(text))).collect();
    let references = References::pinned(files, &pins).unwrap();
    let mut cpu = cpu::evidence();
    if let Root::Test(sha256) = cpu::root() {
        cpu.test_root_sha256 = Some(hex::encode(sha256));
    }
    for evidence in &mut made.evidence {
        evidence.environment.boot_id = Some(cpu::BOOT_ID.to_owned());
        endorse(evidence, Some(&cpu), &references, &verifier());
        made.run.evidence_level = Some(evidence.level);
    }
    made.run.servers[0].environment = made.evidence[0].environment.clone();
    made.files = references.iter().map(|(sha256, kept)| (format!("rim-{sha256}.xml"), kept.bytes.clone())).collect();
}

fn found(trust: &Trust, make: impl FnOnce(&mut Made)) -> Found {
    let out = tempfile::tempdir().unwrap();
    let results = Results::begin_pinned(out.path(), &pins());
    results.run("cc-on", 1, 100, make);
    results.seal();
    verify(std::slice::from_ref(&results.root), trust).unwrap()
}

#[test]
fn an_endorsed_run_holds_from_its_files_alone() {
    let found = found(&Trust::new(verifier()), |made| attested(made, &manifests()));
    assert!(found.holds, "{found}");
    let run = &found.campaigns[0].runs[0];
    assert_eq!((run.claimed, run.supported), (Some(EvidenceLevel::Endorsed), Some(EvidenceLevel::Endorsed)));
    assert!(found.to_string().contains("TEE Enabled, evidence Endorsed (simulated): 1"), "{found}");
}

#[test]
fn under_amds_roots_a_cpu_of_the_tests_endorses_nothing() {
    let trust = Trust::new(Verifier::new(Root::Test(DEVICE.root_sha256)));
    let found = found(&trust, |made| attested(made, &manifests()));
    assert!(!found.holds && found.to_string().contains("another root"), "{found}");
}

type Change = fn(&mut Made);

#[rstest]
#[case::a_manifest_left_out(|made: &mut Made| made.files.truncate(1), "no reference manifest is for")]
#[case::manifests_left_out(|made: &mut Made| made.files.clear(), "no reference manifests were given")]
#[case::a_manifest_changed(|made: &mut Made| made.files[0].1.push(b' '), "no reference manifest has the pinned SHA-256")]
#[case::a_manifest_left_out_and_not_named(
    |made: &mut Made| {
        let kept = made.files.remove(0).0;
        let sha256 = kept.trim_start_matches("rim-").trim_end_matches(".xml").to_owned();
        made.evidence.iter_mut().for_each(|evidence| evidence.references_sha256.retain(|named| *named != sha256));
    },
    "no reference manifest is for"
)]
#[case::a_manifest_that_is_not_there_is_named(
    |made: &mut Made| made.evidence[0].references_sha256.push("ab".repeat(32)),
    "pre.json: says that it was held against the reference manifest abab"
)]
#[case::no_manifest_is_named(
    |made: &mut Made| made.evidence[1].references_sha256.clear(),
    "post.json: does not say that it was held against the reference manifest"
)]
#[case::a_manifest_that_nobody_pinned(
    |made: &mut Made| {
        let content = made.files[0].1.clone();
        made.files.push((format!("rim-{}.xml", "cd".repeat(32)), content));
        made.evidence.iter_mut().for_each(|evidence| evidence.references_sha256.push("cd".repeat(32)));
    },
    "a reference manifest that the plan does not pin for its arm"
)]
#[case::no_cpu(|made: &mut Made| made.evidence[1].cpu = None, "the cpu's own report was not taken")]
#[case::the_cpu_of_another_boot(
    |made: &mut Made| {
        made.evidence.iter_mut().for_each(|evidence| evidence.environment.boot_id = Some("another".to_owned()));
        made.run.servers[0].environment = made.evidence[0].environment.clone();
    },
    "another boot"
)]
#[case::a_register(
    |made: &mut Made| {
        made.evidence[0].cpu.as_mut().unwrap().pcrs_sha256.insert(0, "11".repeat(32));
    },
    "registers that were recorded"
)]
fn an_endorsed_run_that_was_changed_does_not_hold_though_its_sums_are_right(
    #[case] change: Change,
    #[case] told: &str,
) {
    let found = found(&Trust::new(verifier()), |made| {
        attested(made, &manifests());
        change(made);
    });
    assert!(!found.holds && found.to_string().contains(told), "{found}");
}

#[test]
fn measurements_that_are_not_the_manifests_leave_the_level_where_it_was_with_the_reason() {
    let [driver, _] = manifests();
    let vbios = manifests::manifest("96.00.9F.00.01", &[(1, true, &[[0; 48]])]);
    let mut reasons = Vec::new();
    let out = tempfile::tempdir().unwrap();
    Results::begin(out.path()).run("cc-on", 1, 100, |made| {
        attested(made, &[driver, vbios]);
        assert_eq!(made.evidence[0].level, EvidenceLevel::DeviceSigned);
        reasons.clone_from(&made.evidence[0].reasons);
    });
    assert!(reasons.iter().any(|told| told.contains("not endorsed: gpu GPU-1: measurements 1 are not")), "{reasons:?}");
}

/// Answers of a verifier to both reports of a run, and of one to a report that is not here.
fn tokens(made: &Made, change: impl Fn(&mut serde_json::Value)) -> Tokens {
    let authority = Authority::new(5);
    let answer = |nonce: &str| Eat::parse(authority.answer(nonce, |_, detached| change(detached)).as_bytes()).unwrap();
    let [pre, post] = [0, 1].map(|phase| answer(&made.evidence[phase].nonce_sha256));
    let files = [("pre.jwt", pre), ("post.jwt", post), ("other.jwt", answer("00"))];
    Tokens::new(files.map(|(name, eat)| (name.to_owned(), eat)), authority.keys())
}

fn with_tokens(change: impl Fn(&mut serde_json::Value)) -> Found {
    let out = tempfile::tempdir().unwrap();
    let results = Results::begin(out.path());
    let mut given = Tokens::default();
    results.run("cc-on", 1, 100, |made| {
        attested(made, &[]);
        given = tokens(made, &change);
    });
    results.seal();
    verify(std::slice::from_ref(&results.root), &Trust { verifier: verifier(), tokens: given }).unwrap()
}

#[test]
fn a_remote_verifiers_tokens_endorse_beside_the_files_and_do_not_change_what_was_claimed() {
    let found = with_tokens(|_| {});
    assert!(found.holds, "{found}");
    let run = &found.campaigns[0].runs[0];
    assert_eq!((run.claimed, run.with_tokens), (Some(EvidenceLevel::DeviceSigned), Some(EvidenceLevel::Endorsed)));
    assert_eq!(found.unused_tokens, ["other.jwt"]);
    assert!(found.to_string().contains("Endorsed with the tokens given"), "{found}");
}

#[rstest]
#[case::measurements("measres", "its measres is fail")]
#[case::driver("x-nvidia-gpu-driver-version", "speaks of other gpus, drivers or vbios versions")]
fn a_token_that_does_not_vouch_for_the_evidence_is_a_fault(#[case] claim: &str, #[case] told: &str) {
    let found = with_tokens(|detached| detached[claim] = "fail".into());
    assert!(!found.holds && found.to_string().contains(told), "{found}");
}
