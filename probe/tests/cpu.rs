//! What the verifier of a CPU's evidence promises: what a machine's TPM quoted and its CPU vouches for passes, and a
//! change anywhere in what is signed does not. `cargo test -p teebench-probe --test cpu -- --ignored` has a TPM in
//! software sign anew.

#[path = "support/cpu.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rstest::rstest;
use sha2::{Digest, Sha256};
use support::{BOOT_ID, CLAIMS, SNP, SNP_SIGNATURE, changed, evidence, root, root_of, with_hcl};
use teebench_api::files::evidence::{CpuEvidence, CpuNonceDocument};
use teebench_probe::attestation::Root;
use teebench_probe::cpu::{CpuAttested, HclReport, Quote, SnpReport, quote_nonce, take, verify};

fn check(evidence: &CpuEvidence) -> Result<CpuAttested, String> {
    verify(evidence, BOOT_ID, root()).map_err(|error| error.to_string())
}

#[test]
fn what_a_tpm_quoted_and_the_cpu_vouches_for_passes_and_is_marked_as_a_test() {
    let launch_measurement = hex::encode((0..48).collect::<Vec<u8>>());
    assert_eq!(check(&evidence()), Ok(CpuAttested { test: true, launch_measurement, registers: 24 }));
}

#[test]
fn a_test_root_is_never_amds() {
    let error = verify(&evidence(), BOOT_ID, Root::Vendor).unwrap_err().to_string();
    assert!(error.contains("another root"), "{error}");
}

#[test]
fn evidence_of_another_boot_or_machine_shows_nothing() {
    let error = verify(&evidence(), "another", root()).unwrap_err().to_string();
    assert!(error.contains("another boot"), "{error}");
}

type Change = fn(&mut CpuEvidence);

#[rstest]
#[case::salt(|it: &mut CpuEvidence| it.document.salt = "00".repeat(32), "its nonce is not the one")]
#[case::no_salt(|it: &mut CpuEvidence| it.document.salt.clear(), "salt")]
#[case::version(|it: &mut CpuEvidence| it.schema_version = 2, "schema_version")]
#[case::document_version(|it: &mut CpuEvidence| it.document.v = "teebench/1".to_owned(), "nonce document")]
#[case::time(|it: &mut CpuEvidence| it.taken_unix_ns = 1, "was not valid when")]
#[case::register(
    |it: &mut CpuEvidence| { it.pcrs_sha256.insert(16, "11".repeat(32)); },
    "registers that were recorded"
)]
#[case::register_left_out(|it: &mut CpuEvidence| { it.pcrs_sha256.remove(&0); }, "registers that were recorded")]
#[case::register_added(
    |it: &mut CpuEvidence| { it.pcrs_sha256.insert(24, "00".repeat(32)); },
    "registers that were recorded"
)]
#[case::no_certificates(|it: &mut CpuEvidence| it.certificates_pem.clear(), "not two or more certificates")]
#[case::certificates_in_another_order(
    |it: &mut CpuEvidence| {
        let mut parts: Vec<&str> = it.certificates_pem.split_inclusive("-----END CERTIFICATE-----\n").collect();
        parts.swap(0, 1);
        it.certificates_pem = parts.concat();
    },
    "certificate"
)]
#[case::not_base64(|it: &mut CpuEvidence| it.quote_base64.push('!'), "its quote is not base64")]
#[case::quote_cut(
    |it: &mut CpuEvidence| it.quote_base64 = changed(&it.quote_base64, |bytes| bytes.truncate(40)),
    "its signature is not"
)]
#[case::signature_cut(
    |it: &mut CpuEvidence| it.signature_base64 = changed(&it.signature_base64, |bytes| bytes.truncate(100)),
    "ends inside its signature"
)]
#[case::signature_and_more(
    |it: &mut CpuEvidence| it.signature_base64 = changed(&it.signature_base64, |bytes| bytes.push(0)),
    "1 bytes follow"
)]
fn evidence_that_was_changed_is_told_why(#[case] change: Change, #[case] told: &str) {
    let mut evidence = evidence();
    change(&mut evidence);
    let error = check(&evidence).unwrap_err();
    assert!(error.contains(told), "{error}");
}

type Bytes = fn(&mut Vec<u8>);

#[rstest]
#[case::no_signature(|hcl: &mut Vec<u8>| hcl[0] = b'X', "signature")]
#[case::of_tdx(|hcl: &mut Vec<u8>| hcl[1224] = 4, "kind of cpu report")]
#[case::another_hash(|hcl: &mut Vec<u8>| hcl[1228] = 2, "hash of the runtime claims")]
#[case::cut(|hcl: &mut Vec<u8>| hcl.truncate(700), "ends inside its cpu report")]
#[case::claims_cut(|hcl: &mut Vec<u8>| hcl.truncate(CLAIMS + 20), "ends inside its runtime claims")]
#[case::oversized(|hcl: &mut Vec<u8>| hcl.resize(20_000, 0), "more than 16384")]
#[case::claims(|hcl: &mut Vec<u8>| hcl[CLAIMS + 10] ^= 1, "report data is not the SHA-256")]
#[case::cpu_report(|hcl: &mut Vec<u8>| hcl[SNP + 0x90] ^= 1, "the signature is not its certificate's")]
#[case::cpu_signature(|hcl: &mut Vec<u8>| hcl[SNP_SIGNATURE + 5] ^= 1, "the signature is not its certificate's")]
#[case::cpu_signature_too_long(|hcl: &mut Vec<u8>| hcl[SNP_SIGNATURE + 50] = 1, "the signature is not its")]
fn a_report_that_was_changed_is_told_why(#[case] change: Bytes, #[case] told: &str) {
    let error = check(&with_hcl(change, false)).unwrap_err();
    assert!(error.contains(told), "{error}");
}

#[rstest]
#[case::as_it_was(|_: &mut Vec<u8>| {}, None)]
#[case::version_1(|hcl: &mut Vec<u8>| hcl[SNP] = 1, Some("version"))]
#[case::debug(|hcl: &mut Vec<u8>| hcl[SNP + 0x0a] |= 1 << 3, Some("allows the host to debug"))]
#[case::from_inside_the_guest(|hcl: &mut Vec<u8>| hcl[SNP + 0x30] = 2, Some("privilege level 2"))]
#[case::another_algorithm(|hcl: &mut Vec<u8>| hcl[SNP + 0x34] = 2, Some("algorithm"))]
#[case::another_key(|hcl: &mut Vec<u8>| hcl[SNP + 0x48] = 1 << 2, Some("signing key"))]
#[case::another_chip(|hcl: &mut Vec<u8>| hcl[SNP + 0x1a0] ^= 1, Some("chip"))]
#[case::chip_masked(|hcl: &mut Vec<u8>| hcl[SNP + 0x1a0..SNP + 0x1e0].fill(0), Some("chip"))]
#[case::older_firmware(|hcl: &mut Vec<u8>| hcl[SNP + 0x186] = 7, Some("firmware versions"))]
#[case::other_report_data(|hcl: &mut Vec<u8>| hcl[SNP + 0x50] ^= 1, Some("report data"))]
#[case::more_report_data(|hcl: &mut Vec<u8>| hcl[SNP + 0x8f] = 1, Some("report data"))]
#[case::newer_cpu_without_its_versions(
    |hcl: &mut Vec<u8>| (hcl[SNP], hcl[SNP + 0x188]) = (3, 0x1a), Some("firmware versions")
)]
fn what_the_cpu_signed_must_say_the_right_things(#[case] change: Bytes, #[case] told: Option<&str>) {
    match (check(&with_hcl(change, true)), told) {
        (Ok(_), None) => {}
        (Err(error), Some(told)) if error.contains(told) => {}
        (found, told) => panic!("{told:?} was to be told, and was {found:?}"),
    }
}

#[test]
fn no_key_of_the_runtime_claims_but_the_attestation_key_signs_quotes() {
    let renamed = with_hcl(
        |hcl| {
            let at = hcl.windows(8).position(|part| part == b"HCLAkPub").unwrap();
            hcl[at + 3] = b'E';
            let claims = sha256(&hcl[CLAIMS..]);
            hcl[SNP + 0x50..SNP + 0x70].copy_from_slice(&claims);
        },
        true,
    );
    let error = check(&renamed).unwrap_err();
    assert!(error.contains("not exactly one key HCLAkPub"), "{error}");
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn every_flipped_byte_of_the_quote_and_of_its_signature_is_noticed() {
    let good = evidence();
    let quote = STANDARD.decode(&good.quote_base64).unwrap();
    for at in 0..quote.len() {
        let quote_base64 = changed(&good.quote_base64, |bytes| bytes[at] ^= 0x10);
        assert!(check(&CpuEvidence { quote_base64, ..good.clone() }).is_err(), "byte {at} of the quote");
    }
    for at in 0..STANDARD.decode(&good.signature_base64).unwrap().len() {
        let signature_base64 = changed(&good.signature_base64, |bytes| bytes[at] ^= 0x10);
        assert!(check(&CpuEvidence { signature_base64, ..good.clone() }).is_err(), "byte {at} of the signature");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Quote::parse(&bytes);
        if let Ok(hcl) = HclReport::parse(&bytes) {
            let _ = (hcl.attestation_key(), SnpReport::new(hcl.snp()).map(|report| report.measurement()));
        }
    }
}

#[test]
#[ignore = "needs swtpm, tpm2-tools, openssl and python3 of Debian"]
fn a_tpm_in_software_is_asked_and_what_it_signs_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cpu/machine");
    let made = Command::new(&script).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let tpm = Serving(std::fs::read_to_string(folder.path().join("pid")).unwrap().trim().parse().unwrap());
    let document = CpuNonceDocument {
        v: CpuNonceDocument::VERSION.to_owned(),
        boot_id: BOOT_ID.to_owned(),
        salt: "ab".repeat(32),
    };
    let certificates = std::fs::read_to_string(folder.path().join("certificates.pem")).unwrap();
    let root = root_of(&certificates);
    let taken = take(&folder.path().join("tpm"), document.clone(), certificates, root).unwrap();
    drop(tpm);
    assert!(verify(&taken, BOOT_ID, root).is_ok());
    let quote = STANDARD.decode(&taken.quote_base64).unwrap();
    assert_eq!(Quote::parse(&quote).unwrap().nonce(), quote_nonce(&document).unwrap());
    assert_eq!(taken.pcrs_sha256.len(), 24);
}

/// The TPM's process, ended with the test.
struct Serving(i32);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0), nix::sys::signal::Signal::SIGTERM);
    }
}
