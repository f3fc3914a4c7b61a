//! The GPU file while servers run.

use std::path::Path;

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;
use teebench_api::files::gpu::GpuFile;
use teebench_mock_vllm::server::{Fleet, FleetConfig};

use crate::faults::replace;
use crate::harness::{DEADLINE, Simulator, completion, config, eventually, faulty, with};

fn read(path: &Path) -> Option<GpuFile> {
    Some(serde_json::from_slice(&std::fs::read(path).ok()?).expect("a reader never sees half of the file"))
}

async fn becomes(path: &Path, what: &str, condition: impl Fn(&GpuFile) -> bool) -> GpuFile {
    eventually(what, || async { read(path).is_some_and(|file| condition(&file)) }).await;
    read(path).unwrap()
}

#[rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn the_file_shows_each_servers_gpu_and_the_state_of_the_machine(#[case] confidential: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.json");
    let config = FleetConfig { servers: 2, confidential, gpu_file: Some(path.clone()), ..config() };
    let _simulator = Simulator::start(config).await;
    let file = becomes(&path, "the file is written", |_| true).await;
    assert_eq!(file.version, GpuFile::VERSION);
    assert_eq!(file.gpus.len(), 2);
    assert_ne!(file.gpus[0].uuid, file.gpus[1].uuid);
    assert!(file.gpus.iter().all(|gpu| gpu.name.starts_with("Simulated ")));
    assert_eq!(file.confidential_compute.feature_enabled, confidential);
    assert_eq!(file.confidential_compute.cpuid_isolation_type, if confidential { 2 } else { 0 });
}

#[tokio::test]
async fn work_shows_as_utilisation_power_and_energy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.json");
    let simulator = Simulator::ready(FleetConfig { gpu_file: Some(path.clone()), ..config() }).await;
    let idle = becomes(&path, "the GPU is idle", |file| file.gpus[0].utilization_gpu_percent == Some(0)).await;
    let request = with(completion("abc", 1000, 3000), &json!({"stream": true}));
    let running = simulator.post("/v1/completions", &request).await;
    let busy = becomes(&path, "the GPU is busy", |file| file.gpus[0].utilization_gpu_percent > Some(90)).await;
    assert!(busy.gpus[0].power_instant_mw > idle.gpus[0].power_instant_mw);
    assert!(busy.gpus[0].energy_mj > idle.gpus[0].energy_mj);
    assert!(busy.gpus[0].updated_unix_us > idle.gpus[0].updated_unix_us);
    drop(running);
    becomes(&path, "the GPU is idle again", |file| file.gpus[0].utilization_gpu_percent == Some(0)).await;
}

#[tokio::test]
async fn faults_of_the_gpu_show_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.json");
    let faults = faulty(&["gpu-throttle=0.3", "cc-flip=0.3"]);
    let config = FleetConfig { confidential: true, admin: true, gpu_file: Some(path.clone()), ..faults };
    let simulator = Simulator::ready(config).await;
    becomes(&path, "the state flips", |file| !file.confidential_compute.feature_enabled).await;
    becomes(&path, "the GPU throttles", |file| file.gpus[0].throttle_reasons == 0x48).await;
    let energy_mj = |file: &GpuFile| file.gpus[0].energy_mj.unwrap();
    let before = energy_mj(&becomes(&path, "energy was used", |file| energy_mj(file) > 60_000).await);
    assert_eq!(replace(&simulator, &["energy-counter-reset=0"]).await.status(), StatusCode::OK);
    becomes(&path, "the energy counter falls", |file| energy_mj(file) < before).await;
}

#[tokio::test]
async fn sensors_without_values_are_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.json");
    let config = FleetConfig { gpu_file: Some(path.clone()), ..faulty(&["sensors-unavailable"]) };
    let _simulator = Simulator::start(config).await;
    let file = becomes(&path, "the file is written", |_| true).await;
    assert_eq!((file.gpus[0].power_instant_mw, file.gpus[0].energy_mj), (None, None));
}

#[tokio::test]
async fn a_throttled_gpu_serves_slower() {
    let simulator = Simulator::ready(faulty(&["gpu-throttle=0"])).await;
    simulator.post("/v1/completions", &completion("abc", 8, 50)).await.bytes().await.unwrap();
    let seconds = simulator.metric("vllm:inter_token_latency_seconds_sum").await;
    let figures = teebench_mock_vllm::Profile::Tiny.figures();
    assert!(seconds > 49.0 * figures.cost.base_us / 1e6 / 0.7, "{seconds} s in virtual time");
}

#[tokio::test]
async fn the_file_is_there_as_soon_as_the_ports_are_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.json");
    Fleet::bind(FleetConfig { gpu_file: Some(path.clone()), ..config() }).await.unwrap();
    assert!(read(&path).is_some());
}

#[tokio::test]
async fn a_gpu_file_whose_directory_vanishes_ends_the_service() {
    let directory = tempfile::tempdir().unwrap();
    let config = FleetConfig { gpu_file: Some(directory.path().join("gpu.json")), ..config() };
    let simulator = Simulator::start(config).await;
    drop(directory);
    let outcome = tokio::time::timeout(DEADLINE, simulator.serving).await.unwrap().unwrap();
    assert!(outcome.unwrap_err().to_string().starts_with("cannot replace the GPU file"));
}
