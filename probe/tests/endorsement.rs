//! What reference manifests and a remote verifier's tokens promise: those that match endorse, and anything else is told
//! why it does not.

#[path = "support/device.rs"]
mod device;
#[path = "support/manifests.rs"]
mod manifests;

use std::sync::LazyLock;

use device::{Device, NOW, fields, unsigned};
use manifests::{Authority, manifest, manifests, measured};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use teebench_probe::attestation::Report;
use teebench_probe::endorsement::{Eat, Keys, References, Rim, compare};

const NONCE: [u8; 32] = [7; 32];
static DEVICE: LazyLock<Device> = LazyLock::new(Device::new);

fn compared(driver: &str, vbios: &str) -> Result<usize, String> {
    let report = DEVICE.report(NONCE);
    let rims = [driver, vbios].map(|text| Rim::parse(text.as_bytes()).expect("the manifest is well-formed"));
    let report = Report::parse(&report).expect("the report is well-formed");
    compare(&report, "580.159.04", "96.00.9F.00.01", &rims).map_err(|error| error.to_string())
}

#[test]
fn measurements_are_held_against_the_manifests_by_index_and_any_alternative_will_do() {
    let [driver, vbios] = manifests();
    assert_eq!(compared(&driver, &vbios), Ok(3));
}

#[rstest]
#[case::another_value(manifest("96.00.9F.00.01", &[(1, true, &[measured(2)]), (9, true, &[measured(8)])]), "measurements 1, 9")]
#[case::not_measured(manifest("96.00.9F.00.01", &[(64, true, &[measured(64)])]), "measurements 64")]
#[case::another_version(manifest("96.00.9F.00.02", &[(1, true, &[measured(1)])]), "no reference manifest is for vbios")]
#[case::both_expect_one(manifest("96.00.9F.00.01", &[(20, true, &[measured(20)])]), "both expect measurement 20")]
fn a_report_that_is_not_as_expected_is_told_why(#[case] vbios: String, #[case] told: &str) {
    let [driver, _] = manifests();
    let error = compared(&driver, &vbios).unwrap_err();
    assert!(error.contains(told), "{error}");
}

#[rstest]
#[case::off(0x55, true)]
#[case::on(0xaa, false)]
fn the_video_decoders_measurement_counts_only_where_it_is_on(#[case] status: u8, #[case] passes: bool) {
    let mut fields = fields();
    fields.push((11, vec![status]));
    let report = DEVICE.sign(unsigned(NONCE, &fields));
    let [_, vbios] = manifests();
    let driver = manifest("580.159.04", &[(35, true, &[[0; 48]])]);
    let rims = [driver, vbios].map(|text| Rim::parse(text.as_bytes()).expect("the manifest is well-formed"));
    let found = compare(&Report::parse(&report).unwrap(), "580.159.04", "96.00.9F.00.01", &rims);
    assert_eq!(found.is_ok(), passes, "{found:?}");
}

#[rstest]
#[case::no_xml("measurement", "not xml")]
#[case::cut(&manifests()[0][..300], "not xml")]
#[case::no_meta("<a><Payload/></a>", "no Meta")]
#[case::no_version("<a><Meta/><Payload/></a>", "no version")]
#[case::no_payload("<a><Meta colloquialVersion='1'/></a>", "no Payload")]
#[case::two_payloads("<a><Meta colloquialVersion='1'/><Payload/><Payload/></a>", "no Payload")]
#[case::nothing_counts(&manifest("1", &[(1, false, &[[0; 48]])]), "expects no measurement")]
#[case::twice(&manifest("1", &[(1, true, &[[0; 48]]), (1, false, &[[0; 48]])]), "measurement 1 stands in it twice")]
#[case::index(&manifests()[0].replace("index=\"20\"", "index=\"256\""), "its index is not")]
#[case::active(&manifests()[0].replace("\"True\"", "\"perhaps\""), "its active is not")]
#[case::alternatives(&manifests()[0].replace("alternatives=\"2\"", "alternatives=\"3\""), "its hashes is not")]
#[case::size(&manifests()[0].replace("size=\"48\"", "size=\"32\""), "its hashes is not")]
#[case::entities("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "not xml")]
#[case::oversized(&" ".repeat(2 << 20), "more than")]
fn what_is_no_manifest_is_told_why(#[case] text: &str, #[case] told: &str) {
    let error = Rim::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn only_pinned_files_count_and_every_pin_must_be_there() {
    let [driver, vbios] = manifests().map(String::into_bytes);
    let pin = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let files = [driver.clone(), vbios, b"a file that nobody pinned".to_vec()];
    let references = References::pinned(files.clone(), &[pin(&driver)]).unwrap();
    assert_eq!(references.iter().map(|(sha256, _)| sha256.to_owned()).collect::<Vec<_>>(), [pin(&driver)]);
    let missing = References::pinned(files.clone(), &["0".repeat(64)]).unwrap_err().to_string();
    assert!(missing.contains("no reference manifest has the pinned SHA-256 0000"), "{missing}");
    let broken = References::pinned(files, &[pin(b"a file that nobody pinned")]).unwrap_err().to_string();
    assert!(broken.contains("is not xml"), "{broken}");
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new(3));

fn vouched(answer: &str, keys: &Keys) -> Result<usize, String> {
    let eat = Eat::parse(answer.as_bytes()).map_err(|error| error.to_string())?;
    let vouched = eat.vouched(keys, &hex::encode(NONCE), NOW).map_err(|error| error.to_string())?;
    assert_eq!(vouched.issuer, "https://verifier.example");
    Ok(vouched.gpus.len())
}

#[test]
fn a_verifiers_answer_for_this_nonce_vouches_under_its_key_and_under_no_other() {
    let answer = AUTHORITY.answer(&hex::encode(NONCE), |_, _| {});
    assert_eq!(vouched(&answer, &AUTHORITY.keys()), Ok(1));
    let error = vouched(&answer, &Authority::new(4).keys()).unwrap_err();
    assert!(error.contains("none of the given keys signed it"), "{error}");
    assert!(vouched(&answer, &Keys::default()).is_err());
}

type Change = fn(&mut Value, &mut Value);

#[rstest]
#[case::nonce(|all: &mut Value, _: &mut Value| all["eat_nonce"] = json!("00"), "overall: its nonce")]
#[case::nonce_of_the_gpu(|_: &mut Value, gpu: &mut Value| gpu["eat_nonce"] = json!("00"), "GPU-0: its nonce")]
#[case::expired(|all: &mut Value, _: &mut Value| all["exp"] = json!(NOW), "overall: it was not valid")]
#[case::expired_for_the_gpu(|_: &mut Value, gpu: &mut Value| gpu["exp"] = json!(NOW - 1), "GPU-0: it was not valid")]
#[case::never_valid(|all: &mut Value, _: &mut Value| all["nbf"] = json!(1_790_000_000), "overall: it was not valid")]
#[case::no_expiry(|all: &mut Value, _: &mut Value| all["exp"] = Value::Null, "claims cannot be read")]
#[case::result(|all: &mut Value, _: &mut Value| all["x-nvidia-overall-att-result"] = json!(false), "att-result is false")]
#[case::result_as_text(
    |all: &mut Value, _: &mut Value| all["x-nvidia-overall-att-result"] = json!("false"), "att-result is false"
)]
#[case::measurements(|_: &mut Value, gpu: &mut Value| gpu["measres"] = json!("fail"), "GPU-0: its measres is fail")]
#[case::no_measurements(|_: &mut Value, gpu: &mut Value| gpu["measres"] = Value::Null, "claims cannot be read")]
#[case::debug(|_: &mut Value, gpu: &mut Value| gpu["dbgstat"] = json!("enabled"), "GPU-0: its dbgstat is enabled")]
#[case::another_token(
    |all: &mut Value, _: &mut Value| all["submods"] = json!({"GPU-0": ["DIGEST", ["SHA-256", "00"]]}),
    "GPU-0: the overall token vouches for another"
)]
#[case::another_gpu(
    |all: &mut Value, _: &mut Value| all["submods"] = json!({"GPU-1": ["DIGEST", ["SHA-256", "00"]]}),
    "GPU-0: the overall token vouches for another"
)]
#[case::a_gpu_left_out(
    |all: &mut Value, _: &mut Value| all["submods"] = json!({"A": ["DIGEST", ["SHA-256", ""]], "B": ["DIGEST", ["SHA-256", ""]]}),
    "overall: the overall token vouches"
)]
fn an_answer_that_vouches_for_nothing_is_told_why(#[case] change: Change, #[case] told: &str) {
    let error = vouched(&AUTHORITY.answer(&hex::encode(NONCE), change), &AUTHORITY.keys()).unwrap_err();
    assert!(error.contains(told), "{error}");
}

#[rstest]
#[case::none(json!({"alg": "none"}), "its algorithm is \"none\"")]
#[case::symmetric(json!({"alg": "HS256"}), "its algorithm is \"HS256\"")]
#[case::critical(json!({"alg": "ES384", "crit": ["b64"]}), "critical parts")]
fn a_token_by_another_algorithm_is_refused_even_when_the_key_signed_it(#[case] header: Value, #[case] told: &str) {
    let error = AUTHORITY.keys().claims::<Value>(&AUTHORITY.token(&header, &json!({}))).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[rstest]
#[case::not_json("[[", "is not an overall token")]
#[case::no_gpu("[[\"JWT\", \"a.b.c\"], {}]", "is not an overall token")]
#[case::another_kind("[[\"CWT\", \"a.b.c\"], {\"GPU-0\": \"a.b.c\"}]", "is not an overall token")]
#[case::no_token("[[\"JWT\", \"abc\"], {\"GPU-0\": \"a.b.c\"}]", "overall: is not header, claims and signature")]
#[case::not_base64("[[\"JWT\", \"!.b.c\"], {\"GPU-0\": \"a.b.c\"}]", "overall: is not header, claims and signature")]
fn what_is_no_answer_is_told_why(#[case] text: &str, #[case] told: &str) {
    let error = vouched(text, &AUTHORITY.keys()).unwrap_err();
    assert!(error.contains(told), "{error}");
}

#[test]
fn every_flipped_character_of_an_answer_is_noticed() {
    let answer = AUTHORITY.answer(&hex::encode(NONCE), |_, _| {});
    // Every seventh, since each costs the check of a signature. Case flips stay within the characters of base64.
    for at in (0..answer.len()).step_by(7) {
        let mut changed = answer.clone().into_bytes();
        changed[at] = if changed[at].is_ascii_alphabetic() { changed[at] ^ 0x20 } else { b'A' };
        if changed != answer.as_bytes() {
            let changed = String::from_utf8(changed).unwrap();
            assert!(vouched(&changed, &AUTHORITY.keys()).is_err(), "character {at}: {changed}");
        }
    }
}

#[rstest]
#[case::nothing("")]
#[case::no_keys("{\"keys\": []}")]
#[case::another_curve("{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": \"AA\", \"y\": \"AA\"}]}")]
#[case::no_point("{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-384\", \"x\": \"AA\", \"y\": \"AA\"}]}")]
#[case::no_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")]
fn keys_that_cannot_be_read_are_refused(#[case] text: &str) {
    assert!(Keys::parse(text.as_bytes()).is_err());
}

#[test]
fn keys_may_be_a_certificate() {
    assert!(Keys::parse(DEVICE.pem[0].as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,400}") {
        let _ = (Rim::parse(text.as_bytes()), Keys::parse(text.as_bytes()));
        if let Ok(eat) = Eat::parse(text.as_bytes()) {
            let _ = eat.vouched(&AUTHORITY.keys(), "00", NOW);
        }
    }
}
