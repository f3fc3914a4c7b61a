//! What the probe does with a driver that answers, that fails, that lacks a symbol, and that hangs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use support::{Driver, UUID, machine};
use teebench_probe::gpu::{ConfidentialMode, GpuSource, Nvml, Unanswered};
use teebench_probe::sampler::{Pace, Sampler};

#[test]
fn a_confidential_machine_with_vtom_answers_every_question() {
    let driver = Driver::new(|_| {});
    let nvml = driver.open();
    let answers = nvml.confidential_compute();
    assert_eq!((answers.cpu_capability.clone(), answers.mode.clone()), (Ok(4), Ok(ConfidentialMode::On)));
    assert!(answers.unanswered().is_empty(), "{:?}", answers.unanswered());
    assert_eq!(answers.protected_memory_mib, Ok(95_000));
    let inventory = nvml.inventory();
    assert_eq!(inventory.driver_version.as_deref(), Some("580.159.04"));
    assert_eq!(inventory.cuda_version.as_deref(), Some("13.0"));
    assert_eq!(inventory.gpus[0].vbios_version.as_deref(), Some("96.00.9F.00.01"));
    assert_eq!(inventory.gpus[0].power_limit_mw, Some(400_000));
    let fast = nvml.fast(UUID, true);
    assert_eq!((fast.power_instant_mw, fast.energy_mj), (Ok(300_250), Some(Ok(5_000_000_000))));
    let slow = nvml.slow(UUID);
    assert_eq!((slow.temperature_celsius, slow.clock_memory_mhz, slow.throttle_reasons), (Ok(41), Ok(2619), Ok(4)));
}

#[test]
fn a_state_that_flips_is_seen_at_the_next_question() {
    let driver = Driver::new(|_| {});
    let nvml = driver.open();
    assert_eq!(nvml.confidential_compute().mode, Ok(ConfidentialMode::On));
    let mut file = machine();
    file["confidentialCompute"]["featureEnabled"] = json!(false);
    driver.say(&file);
    assert_eq!(nvml.confidential_compute().mode, Ok(ConfidentialMode::Off));
}

#[rstest]
#[case::not_supported(3, None)]
#[case::lost(15, Some("nvml"))]
#[case::unknown(999, Some("nvml"))]
fn a_failed_question_keeps_its_reason_and_never_reads_as_off(#[case] code: u32, #[case] told: Option<&str>) {
    let driver = Driver::new(|file| file["faults"] = json!({"nvmlSystemGetConfComputeState": code}));
    let mode = driver.open().confidential_compute().mode.unwrap_err();
    match told {
        None => assert_eq!(mode, Unanswered::NotSupported),
        Some(told) => assert!(matches!(&mode, Unanswered::Failed(reason) if reason.contains(told)), "{mode:?}"),
    }
}

#[test]
fn a_symbol_that_the_driver_lacks_is_a_question_that_it_cannot_answer() {
    let driver = Driver::new(|_| {}).without("nvmlSystemGetConfComputeState");
    let answers = driver.open().confidential_compute();
    assert_eq!(answers.mode, Err(Unanswered::NotSupported));
    assert_eq!(answers.cpu_capability, Ok(4));
}

#[test]
fn sensors_without_a_reading_are_absent_and_never_zero() {
    let driver = Driver::new(|file| {
        file["gpus"][0]["energyMj"] = Value::Null;
        file["gpus"][0]["temperatureCelsius"] = Value::Null;
    });
    let nvml = driver.open();
    let fast = nvml.fast(UUID, true);
    assert_eq!((fast.power_instant_mw, fast.energy_mj), (Ok(300_250), Some(Err(Unanswered::NotSupported))));
    assert_eq!(nvml.slow(UUID).temperature_celsius, Err(Unanswered::NotSupported));
}

#[rstest]
#[case::no_driver(|file: &mut Value| file["faults"] = json!({"nvmlInit_v2": 9}), "cannot be loaded")]
#[case::no_gpu(|file: &mut Value| file["gpus"] = json!([]), "no GPU is visible")]
fn a_driver_that_cannot_be_used_says_why(#[case] change: fn(&mut Value), #[case] told: &str) {
    let driver = Driver::new(change);
    let error = Nvml::open(Some(&driver.library()), None).err().unwrap().to_string();
    assert!(error.contains(told), "{error}");
}

#[rstest]
#[case::the_gpu_is_lost(json!({"nvmlDeviceGetFieldValues": 15, "nvmlSystemGetConfComputeState": 15}))]
#[case::the_driver_is_gone(json!({"nvmlDeviceGetFieldValues": 9, "nvmlSystemGetConfComputeState": 9}))]
#[case::an_error_that_nvml_does_not_have(
    json!({"nvmlDeviceGetFieldValues": 12_345, "nvmlSystemGetConfComputeState": 12_345})
)]
fn a_driver_that_disappears_leaves_gaps_and_the_state_unknown(#[case] faults: Value) {
    let driver = Driver::new(|_| {});
    let pace = Pace::keeping(Duration::from_millis(5), Duration::from_millis(500), Duration::from_secs(10));
    let nvml = Arc::new(driver.open());
    let sampler = Sampler::start(Arc::clone(&nvml) as Arc<dyn GpuSource>, pace).unwrap();
    await_that("a first sample", || sampler.ring(UUID).is_some_and(|ring| ring.totals().samples > 0));
    let mut file = machine();
    file["faults"] = faults;
    driver.say(&file);
    let totals = || sampler.ring(UUID).unwrap().totals();
    await_that("a gap", || totals().latest.gap.is_some());
    let latest = totals().latest;
    assert_eq!((latest.power_instant_mw, latest.energy_mj), (None, None), "{latest:?}");
    assert!(latest.gap.as_deref().unwrap().contains("nvml"), "{latest:?}");
    assert!(matches!(nvml.confidential_compute().mode, Err(Unanswered::Failed(_))));
    // It comes back: sampling goes on.
    driver.say(&machine());
    await_that("a reading", || totals().latest.power_instant_mw == Some(300_250));
}

#[test]
fn readings_that_make_no_sense_are_passed_on_or_refused_and_break_nothing() {
    let driver = Driver::new(|file| {
        for field in ["temperatureCelsius", "utilizationGpuPercent", "clockGraphicsMhz", "powerInstantMw"] {
            file["gpus"][0][field] = json!(u32::MAX);
        }
        file["gpus"][0]["energyMj"] = json!(u64::MAX);
        file["gpus"][0]["throttleReasons"] = json!(u64::MAX);
        file["confidentialCompute"]["cpuCapability"] = json!(250);
        file["confidentialCompute"]["gpusCapability"] = json!(250);
    });
    let nvml = driver.open();
    assert_eq!(nvml.confidential_compute().cpu_capability, Ok(250));
    let (fast, slow) = (nvml.fast(UUID, true), nvml.slow(UUID));
    assert_eq!((fast.power_instant_mw, fast.energy_mj), (Ok(u64::from(u32::MAX)), Some(Ok(u64::MAX))));
    assert_eq!(slow.temperature_celsius, Ok(u32::MAX));
    // Bits that no driver has are not among those that are known.
    assert_eq!(slow.throttle_reasons.unwrap() & 0x8, 0x8);
}

#[test]
fn a_driver_that_hangs_in_a_sample_holds_up_neither_readers_nor_the_end() {
    let driver = Driver::new(|_| {});
    let pace = Pace::keeping(Duration::from_millis(5), Duration::from_millis(500), Duration::from_secs(10));
    let sampler = Sampler::start(Arc::new(driver.open()), pace).unwrap();
    await_that("a first sample", || sampler.ring(UUID).is_some_and(|ring| ring.totals().samples > 0));
    let mut file = machine();
    file["faults"] = json!({"nvmlDeviceGetFieldValues": "hang"});
    driver.say(&file);
    let ring = sampler.ring(UUID).unwrap();
    // Once two looks at the file have passed without a sample, the thread is inside the call.
    let mut last = (ring.totals().samples, Instant::now());
    await_that("the sampler stands", || {
        let now = ring.totals().samples;
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(500)
    });
    assert!(ring.range(0, u64::MAX).iter().next().is_some());
    drop(sampler);
}

fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::yield_now();
    }
}

#[test]
fn a_library_that_is_none_is_refused_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libnvidia-ml.so.1");
    fs::write(&path, "no library").unwrap();
    let error = Nvml::open(Some(Path::new(&path)), None).err().unwrap().to_string();
    assert!(error.contains("libnvidia-ml.so.1"), "{error}");
}
