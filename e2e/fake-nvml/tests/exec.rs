//! `probe exec` beside a driver that hangs: neither its HTTP side nor its engine notices.
//!
//! The probe runs as a process of its own: this test program, started again with only [`the_probe_itself`] selected.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::{Driver, UUID, machine};
use teebench_probe::client::ProbeClient;
use teebench_probe::http::wire::Health;

const ARGUMENTS: &str = "TEEBENCH_PROBE_TEST_ARGUMENTS";
const DEADLINE: Duration = Duration::from_secs(30);
/// Ends in its own way when it is asked to.
const ENGINE: &str = "trap 'exit 9' TERM; while :; do sleep 0.01; done";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: teebench_probe::Args,
}

/// No test by itself: the entry of the probe's process.
#[test]
fn the_probe_itself() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let words: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let cli = Cli::parse_from(std::iter::once("probe".to_owned()).chain(words));
    let code = teebench_probe::run(cli.args).unwrap();
    // An exit code can be compared, not read.
    let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap();
    std::process::exit(i32::from(code));
}

struct Probe {
    process: Child,
    client: ProbeClient,
}

impl Probe {
    fn start(library: &Path) -> Self {
        let library = library.to_str().unwrap();
        let words = ["exec", "--port", "0", "--gpu", "nvml", "--nvml-library", library, "--", "sh", "-c", ENGINE];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_probe_itself", "--nocapture"]).stdout(Stdio::piped());
        let mut process = command.env(ARGUMENTS, serde_json::to_string(&words).unwrap()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().split_once("listening ")?.1.to_owned())).unwrap();
        Self { process, client: ProbeClient::new(&format!("http://{address}")).unwrap() }
    }

    async fn samples(&self) -> usize {
        self.client.samples(UUID, 0, u64::MAX).await.map_or(0, |samples| samples.len())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A test that failed must not leave a probe behind; one that passed has none.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_driver_that_hangs_stalls_neither_the_http_side_nor_the_engine() {
    let driver = Driver::new(|_| {});
    let mut probe = Probe::start(&driver.library());
    let began = Instant::now();
    while probe.samples().await == 0 {
        assert!(began.elapsed() < DEADLINE, "no sample within {DEADLINE:?}");
    }
    let mut file = machine();
    file["faults"] = json!({"nvmlDeviceGetFieldValues": "hang", "nvmlSystemGetConfComputeCapabilities": "hang"});
    driver.say(&file);
    // Once no sample has come for five intervals, the sampling thread is inside the call.
    let mut last = (probe.samples().await, Instant::now());
    while last.1.elapsed() < Duration::from_millis(500) {
        assert!(began.elapsed() < DEADLINE, "still sampling after {DEADLINE:?}");
        let now = probe.samples().await;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }

    let refused = probe.client.environment().await.unwrap_err();
    assert!(format!("{refused:?}").contains("the driver did not answer"), "{refused:?}");
    assert!(matches!(probe.client.health().await.unwrap(), Health::Running { pid: _ }));
    probe.client.clock_offset().await.unwrap();
    assert!(last.0 > 0 && probe.samples().await == last.0);

    kill(Pid::from_raw(i32::try_from(probe.process.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = loop {
        if let Some(status) = probe.process.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < DEADLINE, "the probe did not end within {DEADLINE:?}");
    };
    assert_eq!(ended.code(), Some(9));
}
