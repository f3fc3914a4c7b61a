//! The server over real connections, asked by the crate's own client.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Json;
use rstest::rstest;
use teebench_api::files::energy::{EnergyFile, EnergyVerdict};
use teebench_api::files::evidence::{EvidenceLevel, NonceDocument, Phase, TeeState};
use teebench_api::files::gpu::GpuFile;

use super::wire::Health;
use super::*;
use crate::attestation::Root;
use crate::client::{ClientError, ProbeClient};
use crate::evidence::{Bound, TeeClaim, nonce_sha256, supports};
use crate::exec::Ending;
use crate::gpu::{Absent, GpuSource, Simulated, fixture};
use crate::power_csv;
use crate::rapl::tests::zone;
use crate::rapl::{self, PackageSampler};
use crate::sampler::Pace;

struct Server {
    client: ProbeClient,
    address: SocketAddr,
    engine: watch::Sender<EngineState>,
    readiness: watch::Sender<Readiness>,
    probe: Arc<Probe>,
}

async fn spawn(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router));
    address
}

async fn start(source: Arc<dyn GpuSource>, engine_url: Option<&str>) -> Server {
    start_with(source, engine_url, PackageSampler::absent("not asked for"), LogFolder::default()).await
}

async fn start_with_logs(source: Arc<dyn GpuSource>, engine_url: Option<&str>, logs: LogFolder) -> Server {
    start_with(source, engine_url, PackageSampler::absent("not asked for"), logs).await
}

async fn start_with(
    source: Arc<dyn GpuSource>,
    engine_url: Option<&str>,
    packages: PackageSampler,
    logs: LogFolder,
) -> Server {
    let (engine, states) = watch::channel(EngineState::Running { pid: 4711 });
    let (readiness, seen) = watch::channel(Readiness::Waiting { reason: "it loads".to_owned() });
    let pace = Pace::keeping(Duration::from_millis(10), Duration::from_millis(500), Duration::from_secs(1_000));
    let probe = Arc::new(Probe {
        machine: Machine::new(Arc::clone(&source), Root::Vendor),
        driver: DriverTurn::default(),
        sampler: Sampler::start(source, pace).unwrap(),
        packages,
        engine: states,
        readiness: seen,
        started_unix_ns: 1_700_000_000_000_000_000,
        service: Service::new("vllm", engine_url, Some("llama")).unwrap(),
        logs,
        node: NodeHints::default(),
    });
    let address = spawn(router(Arc::clone(&probe))).await;
    Server { client: ProbeClient::new(&format!("http://{address}")).unwrap(), address, engine, readiness, probe }
}

/// A server with one simulated GPU of which some samples were taken.
async fn simulated(folder: &Path, change: impl FnOnce(&mut GpuFile)) -> Server {
    let mut file = fixture::gpu_file();
    change(&mut file);
    let server = start(Arc::new(Simulated::new(fixture::write(folder, &file))), None).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.probe.sampler.ring(fixture::UUID).is_none_or(|ring| ring.totals().samples < 5) {
        assert!(Instant::now() < deadline, "five samples: not within 20 s");
        tokio::task::yield_now().await;
    }
    server
}

impl Server {
    async fn text(&self, path: &str) -> (u16, String, reqwest::header::HeaderMap) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, response.text().await.unwrap(), headers)
    }
}

#[tokio::test]
async fn health_follows_the_engine() {
    let server = start(Arc::new(Absent::new("none")), None).await;
    assert_eq!(server.client.health().await.unwrap(), Health::Running { pid: 4711 });
    assert_eq!(server.text("/healthz").await.0, 200);
    server.engine.send_replace(EngineState::Ended(Ending::Killed(9)));
    assert_eq!(server.client.health().await.unwrap(), Health::Killed { signal: 9 });
    let (status, body, _) = server.text("/healthz").await;
    assert_eq!((status, body.as_str()), (503, r#"{"engine":"killed","signal":9}"#));
}

#[tokio::test]
async fn readiness_is_a_served_token_of_an_engine_that_runs() {
    let server = start(Arc::new(Absent::new("none")), None).await;
    let (status, body, _) = server.text("/readyz").await;
    assert!(status == 503 && body.contains("it loads"), "{status} {body}");
    server.readiness.send_replace(Readiness::Ready { ready_seconds: 41.5 });
    let (status, body, _) = server.text("/readyz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"ready_seconds":41.5}"#));
    server.engine.send_replace(EngineState::Ended(Ending::Exited(3)));
    let (status, body, _) = server.text("/readyz").await;
    assert!(status == 503 && body.contains("exited with code 3"), "{status} {body}");
}

#[tokio::test]
async fn the_engine_is_described_as_far_as_it_tells() {
    let version = || async { Json(serde_json::json!({"version": "0.25.1"})) };
    let metrics = || async { "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"7000\"} 1.0\n" };
    let engine = spawn(Router::new().route("/version", get(version)).route("/metrics", get(metrics))).await;
    let server = start(Arc::new(Absent::new("none")), Some(&format!("http://{engine}"))).await;
    server.readiness.send_replace(Readiness::Ready { ready_seconds: 41.5 });
    let told = server.client.engine().await.unwrap();
    assert_eq!((told.version.as_deref(), told.num_gpu_blocks), (Some("vllm 0.25.1"), Some(7000)));
    assert_eq!((told.served_model.as_deref(), told.ready_seconds, told.alive), (Some("llama"), Some(41.5), true));
    assert_eq!(told.started_unix_ns, 1_700_000_000_000_000_000);
    assert!(told.unreadable.is_empty(), "{:?}", told.unreadable);

    let server = start(Arc::new(Absent::new("none")), None).await;
    server.engine.send_replace(EngineState::Ended(Ending::Killed(9)));
    let told = server.client.engine().await.unwrap();
    assert_eq!((told.version, told.num_gpu_blocks, told.ready_seconds, told.alive), (None, None, None, false));
    let unknown: Vec<_> = told.unreadable.keys().map(String::as_str).collect();
    assert_eq!(unknown, ["num_gpu_blocks", "ready_seconds", "version"]);
}

#[tokio::test]
async fn samples_are_served_by_gpu_and_range() {
    let folder = tempfile::tempdir().unwrap();
    let server = simulated(folder.path(), |_| {}).await;
    let samples = server.client.samples(fixture::UUID, 0, u64::MAX).await.unwrap();
    assert!(samples.len() >= 5 && samples[0].power_instant_mw == Some(300_000));
    let (from, to) = (samples[1].unix_ns, samples[4].unix_ns);
    assert_eq!(server.client.samples(fixture::UUID, from, to).await.unwrap(), samples[1..4]);
    // With one GPU its name may be left out, and a line is exactly what is written to disk.
    let (_, lines, headers) = server.text(&format!("/samples?from={from}&to={to}")).await;
    assert_eq!(lines, samples[1..4].iter().map(crate::sampler::Sample::to_line).collect::<String>());
    assert_eq!(headers["content-type"], "application/x-ndjson");
}

#[tokio::test]
async fn cpu_packages_are_served_by_name_and_their_absence_with_its_reason() {
    let powercap = tempfile::tempdir().unwrap();
    zone(powercap.path(), "intel-rapl:0", "package-0", 1_000);
    let found = rapl::packages(powercap.path()).unwrap();
    let packages = PackageSampler::start(found, Duration::from_millis(5), Duration::from_secs(100)).unwrap();
    let server = start_with(Arc::new(Absent::new("none")), None, packages, LogFolder::default()).await;
    assert_eq!(server.client.cpu_packages().await.unwrap().packages, ["package-0"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let samples = loop {
        let samples = server.client.cpu_samples("package-0", 0, u64::MAX).await.unwrap();
        if !samples.is_empty() {
            break samples;
        }
        assert!(Instant::now() < deadline, "a sample: not within 20 s");
    };
    assert_eq!(samples[0].energy_mj, Some(0));
    let (status, text, _) = server.text("/cpu/samples?package=package-1").await;
    assert!(status == 404 && text.contains("there are package-0"), "{status}: {text}");

    let without = start(Arc::new(Absent::new("none")), None).await.client.cpu_packages().await.unwrap();
    assert_eq!((without.packages.len(), without.reason.as_deref()), (0, Some("not asked for")));
}

#[tokio::test]
async fn a_gpu_that_is_not_sampled_is_refused_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = simulated(folder.path(), |_| {}).await;
    let error = server.client.samples("GPU-other", 0, 1).await.unwrap_err();
    let ClientError::Refused { status: 404, error, .. } = error else { panic!("{error}") };
    assert!(error.contains("GPU-other") && error.contains(fixture::UUID), "{error}");
    let (status, body, _) = server.text("/samples?from=yesterday").await;
    assert!(status == 400 && body.contains("error"), "{status} {body}");
}

#[tokio::test]
async fn the_csv_is_the_one_of_nvidia_smi() {
    let folder = tempfile::tempdir().unwrap();
    let server = simulated(folder.path(), |_| {}).await;
    let (_, text, headers) = server.text("/power.csv").await;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(power_csv::HEADER));
    assert!(lines.next().unwrap().ends_with(", 299.50 W, 97 %, 61 %, 1785 MHz, 2619 MHz, 55"), "{text}");
    assert_eq!(headers["x-dropped-rows"], "0");
}

#[tokio::test]
async fn without_a_gpu_the_probe_runs_on_and_says_so() {
    let server = start(Arc::new(Absent::new("no libnvidia-ml.so.1")), None).await;
    let gpus = server.client.gpus().await.unwrap();
    assert_eq!((gpus.source.as_str(), gpus.reason.as_deref()), ("absent", Some("no libnvidia-ml.so.1")));
    let ClientError::Refused { error, .. } = server.client.samples("GPU-a", 0, 1).await.unwrap_err() else { panic!() };
    assert!(error.contains("no libnvidia-ml.so.1"), "{error}");
    let (_, body, _) = server.text("/energy?from=1&to=2").await;
    let energy: EnergyFile = serde_json::from_str(&body).unwrap();
    assert_eq!((energy.verdict, energy.counter_joules), (EnergyVerdict::Absent, None));
    assert!(server.client.environment().await.unwrap().unreadable.contains_key("gpu"));
}

#[tokio::test]
async fn a_simulated_gpu_is_named_as_such_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = simulated(folder.path(), |_| {}).await;
    assert!(server.client.gpus().await.unwrap().simulated);
    assert!(server.client.evidence(&nonce(Phase::Pre)).await.unwrap().simulated);
    let (_, body, _) = server.text("/energy?from=1&to=2").await;
    assert!(serde_json::from_str::<EnergyFile>(&body).unwrap().simulated);
}

#[tokio::test]
async fn metrics_carry_the_last_readings() {
    let folder = tempfile::tempdir().unwrap();
    let server = simulated(folder.path(), |file| file.gpus[0].power_instant_mw = Some(123_500)).await;
    let (_, text, _) = server.text("/metrics").await;
    let line = format!("teebench_probe_gpu_power_watts{{gpu=\"{}\"}} 123.5", fixture::UUID);
    assert!(text.contains(&line), "{text}");
}

#[tokio::test]
async fn logs_are_listed_with_their_lengths_and_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("engine.stderr.log"), "first\nsecond\n").unwrap();
    std::fs::write(folder.path().join("router.log"), vec![b'.'; (1 << 20) + 7]).unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let logs = LogFolder::new(Some(folder.path().to_owned()));
    let server = start_with_logs(Arc::new(Absent::new("none")), None, logs).await;
    let listed = server.client.logs().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|log| (log.name.as_str(), log.bytes)).collect();
    assert_eq!(listed, [("engine.stderr.log", 13), ("router.log", (1 << 20) + 7)]);
    assert_eq!(server.client.log_part("engine.stderr.log", 6).await.unwrap(), "second\n");
    assert_eq!(server.client.log_part("engine.stderr.log", 99).await.unwrap(), "");
    assert_eq!(server.client.log_part("router.log", 0).await.unwrap().len(), 1 << 20);
}

#[rstest]
#[case::absent("absent.log")]
#[case::outside("../outside.log")]
#[case::absolute("/etc/hostname")]
#[case::a_folder("folder")]
#[case::the_folder_itself("")]
#[tokio::test]
async fn nothing_but_the_logs_of_the_folder_is_given(#[case] name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir_all(logs.join("folder")).unwrap();
    std::fs::write(folder.path().join("outside.log"), "secret").unwrap();
    let server = start_with_logs(Arc::new(Absent::new("none")), None, LogFolder::new(Some(logs))).await;
    let error = server.client.log_part(name, 0).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_probe_without_a_log_folder_has_no_logs() {
    let server = start(Arc::new(Absent::new("none")), None).await;
    assert!(server.client.logs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_clock_on_the_same_machine_has_next_to_no_offset() {
    let server = start(Arc::new(Absent::new("none")), None).await;
    let offset = server.client.clock_offset().await.unwrap();
    let bound = i64::try_from(offset.half_round_trip_ns).unwrap();
    assert!(offset.offset_ns.abs() <= bound, "{offset:?}");
}

fn nonce(phase: Phase) -> NonceDocument {
    let result = (phase == Phase::Post).then(|| "c".repeat(64));
    NonceDocument {
        v: NonceDocument::VERSION.to_owned(),
        phase,
        campaign: "demo".to_owned(),
        run: "e/c/on/direct/r1a1".to_owned(),
        server: 0,
        plan_sha256: "a".repeat(64),
        salt: "b".repeat(64),
        bench_sha256: result.clone(),
        samples_sha256: result,
    }
}

#[tokio::test]
async fn evidence_before_and_after_supports_the_claim_it_was_taken_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = simulated(folder.path(), |_| {}).await;
    let (pre_nonce, post_nonce) = (nonce(Phase::Pre), nonce(Phase::Post));
    let pre = server.client.evidence(&pre_nonce).await.unwrap();
    let post = server.client.evidence(&post_nonce).await.unwrap();
    assert_eq!((pre.state, pre.level), (TeeState::Enabled, EvidenceLevel::SelfReported));
    assert_eq!(pre.nonce_sha256, nonce_sha256(&pre_nonce).unwrap());
    let judge = |claim, engine_simulated| {
        let bound = |evidence, nonce| Bound { evidence, nonce };
        let (pre, post) = (bound(&pre, &pre_nonce), bound(&post, &post_nonce));
        supports(claim, EvidenceLevel::SelfReported, pre, post, engine_simulated)
    };
    assert_eq!(judge(TeeClaim::Enabled, true), Ok(EvidenceLevel::SelfReported));
    assert!(judge(TeeClaim::Enabled, false).unwrap_err()[0].contains("the engine is real"));
    assert!(judge(TeeClaim::Disabled, true).is_err());
}

#[rstest]
#[case::version(
    r#"{"v": "teebench/9", "phase": "pre", "campaign": "", "run": "", "server": 0, "planSha256": "", "salt": ""}"#,
    "teebench/9"
)]
#[case::no_document("{}", "missing field")]
#[tokio::test]
async fn a_nonce_document_that_is_not_whole_is_refused(#[case] body: &'static str, #[case] told: &str) {
    let server = start(Arc::new(Absent::new("none")), None).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{}/evidence", server.address));
    let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let text = response.text().await.unwrap();
    assert!(text.contains(told), "{text}");
}

#[tokio::test]
async fn the_engines_version_is_asked_for_and_its_silence_is_told() {
    let version = || async { Json(serde_json::json!({"version": "0.25.1"})) };
    let engine = spawn(Router::new().route("/version", get(version))).await;
    let server = start(Arc::new(Absent::new("none")), Some(&format!("http://{engine}/"))).await;
    assert_eq!(server.client.environment().await.unwrap().engine.as_deref(), Some("vllm 0.25.1"));

    let deaf = spawn(Router::new()).await;
    let server = start(Arc::new(Absent::new("none")), Some(&format!("http://{deaf}"))).await;
    let environment = server.client.environment().await.unwrap();
    assert_eq!(environment.engine, None);
    assert!(environment.unreadable["engine"].contains("404"), "{:?}", environment.unreadable);
}

#[tokio::test]
async fn a_probe_that_is_not_there_is_named_in_the_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = ProbeClient::new(&format!("http://{address}")).unwrap().gpus().await.unwrap_err();
    assert_eq!(error.to_string(), format!("probe http://{address}/gpus: no answer"));
    assert!(matches!(ProbeClient::new("127.0.0.1:9400"), Err(ClientError::Address { .. })));
}
