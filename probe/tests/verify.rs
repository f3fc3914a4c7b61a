//! What the verifier of a results directory promises: nothing that changed passes, and what never was claimed is said.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/device.rs"]
mod device;
#[path = "support/results.rs"]
mod results;
#[path = "support/signed.rs"]
mod signed;

use std::fs;
use std::path::{Path, PathBuf};

use device::Device;
use results::{Made, Results};
use rstest::rstest;
use teebench_api::files::evidence::{EvidenceLevel, NonceDocument, TeeState};
use teebench_api::files::run::{Reason, ReasonCode, Validity, Verdict};
use teebench_probe::attestation::{Root, Verifier};
use teebench_probe::evidence::nonce_sha256;
use teebench_probe::verify::{Found, Outcome, Trust, VerifyError, verify};

fn trust(root: Root) -> Trust {
    Trust::new(Verifier::new(root))
}

/// Two repetitions of both arms, sealed.
fn whole(out: &Path) -> Results {
    let results = Results::begin(out);
    for repetition in 1..=2 {
        for arm in ["cc-off", "cc-on"] {
            results.run(arm, repetition, 1000, |_| {});
        }
    }
    results.seal();
    results
}

fn verified(root: &Path) -> Found {
    verify(&[root.to_owned()], &trust(Root::Vendor)).unwrap()
}

/// All faults as `file: message`, those of runs with the run's path.
fn faults(found: &Found) -> Vec<String> {
    let campaign = &found.campaigns[0];
    let own = campaign.faults.iter().map(|fault| format!("{}: {}", fault.file, fault.message));
    let of_runs = campaign.runs.iter().flat_map(|run| {
        run.faults.iter().map(move |fault| format!("runs/{}/{}: {}", run.run, fault.file, fault.message))
    });
    own.chain(of_runs).collect()
}

fn all_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_campaign_as_it_was_written_holds() {
    let out = tempfile::tempdir().unwrap();
    whole(out.path());
    let found = verified(out.path());
    assert!(found.holds, "{found}");
    let campaign = &found.campaigns[0];
    assert_eq!((campaign.runs.len(), campaign.sealed, campaign.campaign.as_deref()), (4, true, Some("small")));
    assert!(campaign.runs.iter().all(|run| run.outcome == Outcome::Holds), "{found}");
    assert!(found.to_string().contains("TEE Enabled, evidence SelfReported (simulated): 2"), "{found}");
}

#[test]
fn a_changed_byte_in_any_file_is_found_and_that_file_is_named() {
    let out = tempfile::tempdir().unwrap();
    let results = whole(out.path());
    let mut files = Vec::new();
    all_files(&results.root, &mut files);
    assert!(files.len() > 30, "{files:?}");
    for file in files {
        let whole = fs::read(&file).unwrap();
        let mut changed = whole.clone();
        let Some(byte) = changed.last_mut() else { continue };
        *byte ^= 1;
        fs::write(&file, &changed).unwrap();
        let found = verified(&results.root);
        let name = file.strip_prefix(&results.root).unwrap().display().to_string();
        assert!(!found.holds && faults(&found).iter().any(|told| told.starts_with(&name)), "{name}: {found}");
        fs::write(&file, whole).unwrap();
    }
    assert!(verified(&results.root).holds);
}

#[test]
fn a_missing_file_and_one_that_was_added_are_named() {
    let out = tempfile::tempdir().unwrap();
    let results = whole(out.path());
    let run = first_run(&results.root);
    fs::remove_file(run.join("bench.json")).unwrap();
    fs::write(run.join("servers/0/power-GPU-2.jsonl"), "").unwrap();
    let told = faults(&verified(&results.root));
    assert!(told.iter().any(|fault| fault.contains("bench.json: named in SHA256SUMS and cannot be read")), "{told:?}");
    assert!(told.iter().any(|fault| fault.contains("power-GPU-2.jsonl: not named in SHA256SUMS")), "{told:?}");
}

fn first_run(root: &Path) -> PathBuf {
    let mut files = Vec::new();
    all_files(&root.join("runs"), &mut files);
    files.into_iter().find(|file| file.ends_with("run.json")).unwrap().parent().unwrap().to_owned()
}

#[test]
fn a_run_that_is_removed_or_added_after_the_seal_is_named() {
    let out = tempfile::tempdir().unwrap();
    let results = whole(out.path());
    let run = first_run(&results.root);
    fs::remove_dir_all(&run).unwrap();
    results.run("cc-on", 3, 10, |_| {});
    let told = faults(&verified(&results.root));
    assert!(told.iter().any(|fault| fault.contains("r3a1/SHA256SUMS: not named in the campaign's")), "{told:?}");
    assert!(told.iter().any(|fault| fault.contains("SHA256SUMS: named in SHA256SUMS and cannot be read")), "{told:?}");
}

type Change = fn(&mut Made);

/// Makes the nonces and the evidence's digests of them anew, so that only the document's content is wrong.
fn rebind(made: &mut Made, change: impl Fn(&mut NonceDocument)) {
    for (nonce, evidence) in made.nonces.iter_mut().zip(&mut made.evidence) {
        change(nonce);
        evidence.nonce_sha256 = nonce_sha256(nonce).unwrap();
    }
}

#[rstest]
#[case::another_result(|made: &mut Made| made.bench.push(b'1'), "benchSha256 is not this run's")]
#[case::other_samples(|made: &mut Made| made.samples.push(b'\n'), "samplesSha256 is not this run's")]
#[case::evidence_of_another_run(
    |made: &mut Made| rebind(made, |nonce| nonce.run.push('0')),
    "its run is not this run's"
)]
#[case::evidence_of_another_campaign(
    |made: &mut Made| rebind(made, |nonce| nonce.campaign.push('0')),
    "its campaign is not this run's"
)]
#[case::evidence_of_another_server(
    |made: &mut Made| rebind(made, |nonce| nonce.server = 7),
    "its server is not this run's"
)]
#[case::evidence_of_another_plan(
    |made: &mut Made| rebind(made, |nonce| nonce.plan_sha256 = "0".repeat(64)),
    "its planSha256 is not this run's"
)]
#[case::another_nonce(
    |made: &mut Made| made.evidence[1].nonce_sha256 = "0".repeat(64),
    "post evidence carries another nonce"
)]
#[case::swapped(|made: &mut Made| made.evidence.reverse(), "of another phase")]
#[case::a_state_that_its_answers_contradict(
    |made: &mut Made| {
        for evidence in &mut made.evidence {
            evidence.environment.confidential_compute.as_mut().unwrap().dev_tools_enabled = true;
        }
        made.run.servers[0].environment = made.evidence[0].environment.clone();
    },
    "the answers that it recorded say Contradictory: development tools are on"
)]
#[case::a_bare_word(
    |made: &mut Made| {
        for evidence in &mut made.evidence {
            evidence.environment.confidential_compute = None;
        }
        made.run.servers[0].environment = made.evidence[0].environment.clone();
    },
    "the answers that this rests on are not recorded"
)]
#[case::a_level_that_nothing_shows(
    |made: &mut Made| {
        made.evidence.iter_mut().for_each(|evidence| evidence.level = EvidenceLevel::Endorsed);
        made.run.evidence_level = Some(EvidenceLevel::Endorsed);
    },
    "says level Endorsed, and what it recorded reaches SelfReported at most"
)]
#[case::a_claim_above_its_evidence(
    |made: &mut Made| made.run.evidence_level = Some(EvidenceLevel::DeviceSigned),
    "claims evidence DeviceSigned, and its files support SelfReported"
)]
#[case::off_where_on_is_claimed(
    |made: &mut Made| made.evidence[1].state = TeeState::Disabled,
    "post evidence says Disabled where the campaign claims Enabled"
)]
#[case::restarted(
    |made: &mut Made| made.evidence[1].environment.boot_id = Some("boot-2".to_owned()),
    "boot id changed"
)]
#[case::valid_without_evidence(
    |made: &mut Made| made.run.evidence_level = None,
    "says Valid without any evidence"
)]
#[case::real_where_the_plan_simulates(|made: &mut Made| made.run.simulated = false, "says simulated: false")]
#[case::another_machine(
    |made: &mut Made| made.run.servers[0].environment.kernel = Some("9".to_owned()),
    "its environment is not the one that run.json has"
)]
fn a_run_whose_sums_are_right_and_whose_claim_is_not_does_not_hold(#[case] change: Change, #[case] reason: &str) {
    let out = tempfile::tempdir().unwrap();
    let results = Results::begin(out.path());
    results.run("cc-on", 1, 100, change);
    results.seal();
    let found = verified(&results.root);
    assert!(!found.holds);
    assert!(faults(&found).iter().any(|told| told.contains(reason)), "{:#?}", faults(&found));
}

#[test]
fn what_a_gpu_signed_holds_under_its_root_and_under_no_other() {
    let (out, device) = (tempfile::tempdir().unwrap(), Device::new());
    let results = Results::begin(out.path());
    results.run("cc-on", 1, 100, |made| signed::sign(made, &device));
    results.seal();
    let under = |root| verify(std::slice::from_ref(&results.root), &trust(root)).unwrap();
    let found = under(Root::Test(device.root_sha256));
    assert!(found.holds, "{found}");
    assert_eq!(found.campaigns[0].runs[0].supported, Some(EvidenceLevel::DeviceSigned));
    for root in [Root::Vendor, Root::Test([7; 32])] {
        let found = under(root);
        assert!(!found.holds && faults(&found).iter().any(|told| told.contains("another root")), "{found}");
    }
}

#[rstest]
#[case::report_of_the_other_phase(
    |made: &mut Made| made.evidence[1].reports = made.evidence[0].reports.clone(),
    "its nonce is not the one that the gpu was asked with"
)]
#[case::a_report_left_out(|made: &mut Made| made.evidence[0].reports.clear(), "reaches SelfReported at most")]
#[case::bytes_of_the_report(
    |made: &mut Made| made.evidence[0].reports[0].report_base64.replace_range(1200..1204, "AAAA"),
    "attestation report"
)]
#[case::bytes_of_the_chain(
    |made: &mut Made| made.evidence[1].reports[0].chain_base64.replace_range(800..804, "AAAA"),
    "certificate"
)]
#[case::no_driver_to_hold_it_against(
    |made: &mut Made| made.evidence.iter_mut().for_each(|evidence| evidence.environment.driver_version = None),
    "no driver version"
)]
fn a_signed_run_that_was_changed_does_not_hold_though_its_sums_are_right(#[case] change: Change, #[case] told: &str) {
    let (out, device) = (tempfile::tempdir().unwrap(), Device::new());
    let results = Results::begin(out.path());
    results.run("cc-on", 1, 100, |made| {
        signed::sign(made, &device);
        change(made);
    });
    results.seal();
    let found = verify(std::slice::from_ref(&results.root), &trust(Root::Test(device.root_sha256))).unwrap();
    assert!(!found.holds && faults(&found).iter().any(|fault| fault.contains(told)), "{:#?}", faults(&found));
}

#[test]
fn a_run_that_claims_nothing_is_told_apart_from_one_that_does_not_hold() {
    let out = tempfile::tempdir().unwrap();
    let results = Results::begin(out.path());
    results.run("cc-on", 1, 100, |made| {
        made.evidence[1].state = TeeState::Unknown;
        made.evidence[1].level = EvidenceLevel::Declared;
        made.evidence[1].environment.confidential_compute = None;
        made.run.evidence_level = None;
        let reason = Reason { code: ReasonCode::Evidence, message: "gpu feature: cannot say".to_owned() };
        made.run.validity = Validity { validity: Verdict::Inconclusive, reasons: vec![reason] };
    });
    results.seal();
    let found = verified(&results.root);
    assert!(found.holds, "{found}");
    let run = &found.campaigns[0].runs[0];
    assert_eq!((run.outcome, run.supported), (Outcome::NotClaimed, None));
    assert!(run.notes.iter().any(|note| note.contains("says Unknown")), "{:?}", run.notes);
}

#[test]
fn a_campaign_without_its_seal_says_so_and_its_runs_are_judged() {
    let out = tempfile::tempdir().unwrap();
    let results = Results::begin(out.path());
    results.run("cc-off", 1, 100, |_| {});
    let found = verified(&results.root);
    assert!(found.holds && !found.campaigns[0].sealed, "{found}");
    assert!(found.to_string().contains("never claimed: the campaign has no SHA256SUMS"), "{found}");
}

#[rstest]
#[case::above("../../etc/passwd")]
#[case::absolute("/etc/passwd")]
fn sums_that_name_a_file_elsewhere_are_refused(#[case] path: &str) {
    let out = tempfile::tempdir().unwrap();
    let results = whole(out.path());
    let run = first_run(&results.root);
    fs::write(run.join("SHA256SUMS"), format!("{}  {path}\n", "0".repeat(64))).unwrap();
    let told = faults(&verified(&results.root));
    assert!(told.iter().any(|fault| fault.contains("does not stay below its directory")), "{told:?}");
}

#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let results = whole(out.path());
    let bench = first_run(&results.root).join("bench.json");
    let elsewhere = out.path().join("elsewhere");
    fs::rename(&bench, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &bench).unwrap();
    let told = faults(&verified(&results.root));
    assert!(told.iter().any(|fault| fault.contains("bench.json") && fault.contains("not a plain file")), "{told:?}");
}

#[test]
fn a_directory_without_a_campaign_is_bad_input() {
    let out = tempfile::tempdir().unwrap();
    let error = verify(&[out.path().to_owned()], &trust(Root::Vendor)).unwrap_err();
    assert!(matches!(error, VerifyError::NoCampaign { path: _ }), "{error}");
}
