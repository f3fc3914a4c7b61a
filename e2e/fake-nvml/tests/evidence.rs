//! Evidence with reports that the driver's library signs: taken, held against the answers, and verified again from what
//! was written down.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../../probe/tests/support/device.rs"]
mod device;
mod support;

use std::sync::{Arc, LazyLock};

use device::{Device, FIRMWARE_ID};
use rstest::rstest;
use serde_json::{Value, json};
use support::{Driver, UUID};
use teebench_api::files::evidence::{Evidence, EvidenceLevel, NonceDocument, Phase, TeeState};
use teebench_probe::attestation::{Root, Verifier};
use teebench_probe::endorsement::References;
use teebench_probe::environment::Machine;
use teebench_probe::evidence::{NodeHints, recorded, take};

static DEVICE: LazyLock<Device> = LazyLock::new(Device::new);

fn signing(file: &mut Value, device: &Device) {
    file["signing"] = json!({
        "keyPkcs8Hex": hex::encode(device.key_pkcs8()), "chainPem": device.pem.concat(),
        "firmwareIdHex": hex::encode(FIRMWARE_ID)
    });
}

fn document() -> NonceDocument {
    NonceDocument {
        v: NonceDocument::VERSION.to_owned(),
        phase: Phase::Pre,
        campaign: "c".to_owned(),
        run: "e/c/on/direct/r1a1".to_owned(),
        server: 0,
        plan_sha256: "a".repeat(64),
        salt: "b".repeat(64),
        bench_sha256: None,
        samples_sha256: None,
    }
}

/// Evidence of a machine whose CPU says that it is an SEV-SNP guest.
fn evidence(driver: &Driver, root: Root) -> Evidence {
    let machine = Machine { cpu_isolation: || Ok(2), ..Machine::new(Arc::new(driver.open()), root) };
    let evidence = take(&machine, Err("none".to_owned()), &NodeHints::default(), &document()).unwrap();
    serde_json::from_slice(&serde_json::to_vec(&evidence).unwrap()).unwrap()
}

fn test_root() -> Root {
    Root::Test(DEVICE.root_sha256)
}

#[test]
fn a_report_over_this_nonce_makes_the_evidence_device_signed() {
    let driver = Driver::new(|file| signing(file, &DEVICE));
    let evidence = evidence(&driver, test_root());
    assert_eq!((evidence.level, evidence.state), (EvidenceLevel::DeviceSigned, TeeState::Enabled));
    let report = &evidence.reports[0];
    assert_eq!((report.uuid.as_str(), report.test_root_sha256.clone()), (UUID, Some(hex::encode(DEVICE.root_sha256))));
    let fields = report.fields.as_ref().unwrap();
    assert_eq!((fields.driver_version.as_str(), fields.vbios_version.as_str()), ("580.159.04", "96.00.9F.00.01"));
    assert!(evidence.reasons.iter().any(|reason| reason.contains("root for tests")), "{:?}", evidence.reasons);
    assert_eq!(
        recorded::contradictions(&evidence, &References::default(), &Verifier::new(test_root())),
        Vec::<String>::new()
    );
}

#[test]
fn under_the_vendors_root_a_report_of_the_tests_contradicts() {
    let driver = Driver::new(|file| signing(file, &DEVICE));
    let found = evidence(&driver, Root::Vendor);
    assert_eq!((found.level, found.state), (EvidenceLevel::Declared, TeeState::Contradictory));
    assert!(found.reasons[0].contains("another root"), "{:?}", found.reasons);
    // Nor does what was taken under a root for tests pass where the vendor's is demanded.
    let contradictions =
        recorded::contradictions(&evidence(&driver, test_root()), &References::default(), &Verifier::new(Root::Vendor));
    assert!(contradictions.iter().any(|told| told.contains("another root")), "{contradictions:?}");
}

#[rstest]
#[case::another_nonce("nonceHex", json!("00".repeat(32)), "its nonce is not the one")]
#[case::another_driver("driverVersion", json!("570.1"), "driver version is \"570.1\", and nvml says")]
#[case::other_firmware("firmwareIdHex", json!("00".repeat(48)), "firmware id")]
fn a_report_that_says_otherwise_contradicts_the_driver(#[case] field: &str, #[case] value: Value, #[case] told: &str) {
    let driver = Driver::new(|file| {
        signing(file, &DEVICE);
        file["signing"][field] = value;
    });
    let evidence = evidence(&driver, test_root());
    assert_eq!(evidence.state, TeeState::Contradictory);
    assert!(evidence.reasons.iter().any(|reason| reason.contains(told)), "{:?}", evidence.reasons);
    assert_eq!(evidence.reports[0].fields, None);
}

#[rstest]
#[case::cannot_sign(|_: &mut Value| {}, "no signed report: nvml")]
#[case::report_fails(
    |file: &mut Value| {
        signing(file, &DEVICE);
        file["faults"] = json!({"nvmlDeviceGetConfComputeGpuAttestationReport": 999});
    },
    "internal driver error"
)]
#[case::no_certificate(
    |file: &mut Value| {
        signing(file, &DEVICE);
        file["faults"] = json!({"nvmlDeviceGetConfComputeGpuCertificate": 3});
    },
    "no signed report: not supported"
)]
fn a_gpu_that_signs_nothing_stays_self_reported(#[case] change: fn(&mut Value), #[case] told: &str) {
    let evidence = evidence(&Driver::new(change), test_root());
    assert_eq!((evidence.level, evidence.state), (EvidenceLevel::SelfReported, TeeState::Enabled));
    assert!(evidence.reasons.iter().any(|reason| reason.contains(told)), "{:?}", evidence.reasons);
}

#[test]
fn one_gpu_of_two_that_signs_nothing_holds_the_level_down() {
    let mut whole = evidence(
        &Driver::new(|file| {
            signing(file, &DEVICE);
            let mut second = file["gpus"][0].clone();
            second["uuid"] = json!("GPU-00000000-0000-0000-0000-000000000002");
            file["gpus"].as_array_mut().unwrap().push(second);
        }),
        test_root(),
    );
    assert_eq!((whole.level, whole.reports.len()), (EvidenceLevel::DeviceSigned, 2));
    whole.reports.pop();
    let told = recorded::contradictions(&whole, &References::default(), &Verifier::new(test_root()));
    assert!(told[0].contains("reaches SelfReported at most"), "{told:?}");
}

type Change = fn(&mut Evidence);

#[rstest]
#[case::nonce(|evidence: &mut Evidence| evidence.nonce_sha256 = "0".repeat(64), "its nonce is not the one")]
#[case::driver(|evidence: &mut Evidence| evidence.environment.driver_version = Some("570.1".to_owned()), "nvml says")]
#[case::vbios(|evidence: &mut Evidence| evidence.environment.gpus[0].vbios_version = None, "no vbios version")]
#[case::time(|evidence: &mut Evidence| evidence.taken_unix_ns = 1, "was not valid when")]
#[case::report(|evidence: &mut Evidence| evidence.reports[0].report_base64.insert(8, 'A'), "base64")]
#[case::chain(|evidence: &mut Evidence| evidence.reports[0].chain_base64.truncate(400), "certificate chain")]
#[case::another_gpu(|evidence: &mut Evidence| evidence.reports[0].uuid.push('x'), "no such gpu")]
#[case::fields(
    |evidence: &mut Evidence| evidence.reports[0].fields.as_mut().unwrap().measurements = 3,
    "says something else than is recorded"
)]
fn device_signed_evidence_that_was_changed_contradicts_itself(#[case] change: Change, #[case] told: &str) {
    let mut evidence = evidence(&Driver::new(|file| signing(file, &DEVICE)), test_root());
    change(&mut evidence);
    let found = recorded::contradictions(&evidence, &References::default(), &Verifier::new(test_root()));
    assert!(found.iter().any(|found| found.contains(told)), "{found:?}");
}

#[test]
fn a_machine_whose_mode_is_off_is_asked_for_no_report() {
    let driver = Driver::new(|file| {
        file["confidentialCompute"]["featureEnabled"] = json!(false);
        file["confidentialCompute"]["protectedMemoryMib"] = json!(0);
        file["faults"] = json!({"nvmlDeviceGetConfComputeGpuAttestationReport": "hang"});
    });
    let machine = Machine::new(Arc::new(driver.open()), Root::Vendor);
    let machine = Machine { cpu_isolation: || Ok(0), ..machine };
    let evidence = take(&machine, Err("none".to_owned()), &NodeHints::default(), &document()).unwrap();
    assert_eq!((evidence.state, evidence.reports.len()), (TeeState::Disabled, 0));
}

#[test]
fn limits_and_the_encrypted_link_are_told_where_the_driver_tells_them() {
    let told = Driver::new(|file| {
        file["limits"] = json!({
            "powerLimitDefaultMw": 310_000, "clockGraphicsMaxMhz": 1980, "clockMemoryMaxMhz": 2619,
            "protectedMemoryUsedMib": 512, "keyRotationAttackerAdvantage": 60
        });
    });
    let environment = evidence(&told, Root::Vendor).environment;
    let gpu = &environment.gpus[0];
    assert_eq!((gpu.power_limit_default_mw, gpu.clock_graphics_max_mhz), (Some(310_000), Some(1980)));
    assert_eq!(gpu.clock_memory_max_mhz, Some(2619));
    let link = (environment.protected_memory_used_mib, environment.key_rotation_attacker_advantage);
    assert_eq!(link, (Some(512), Some(60)));
    let silent = evidence(&Driver::new(|_| {}), Root::Vendor).environment;
    assert_eq!((silent.gpus[0].power_limit_default_mw, silent.protected_memory_used_mib), (None, None));
    assert!(silent.unreadable.keys().any(|name| name.ends_with("power_limit_default")), "{:?}", silent.unreadable);
}
