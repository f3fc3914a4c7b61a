//! `probe exec` with real processes: signals, exit codes, and no process left behind on any path.
//!
//! The probe runs as a process of its own: this test program, started again with only [`the_probe_itself`] selected and
//! the probe's arguments in the environment. Engines are shell scripts.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use teebench_probe::client::ProbeClient;
use teebench_probe::http::wire::Health;

const ARGUMENTS: &str = "TEEBENCH_PROBE_TEST_ARGUMENTS";
const DEADLINE: Duration = Duration::from_secs(30);

/// Writes its own id and that of a child in its group, then waits for the child.
const ENGINE_WITH_CHILD: &str = "sleep 1000 & echo $! > child; echo $$ > engine; wait";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: teebench_probe::Args,
}

/// No test by itself: the entry of the probe's process.
#[test]
fn the_probe_itself() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let words: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let cli = Cli::parse_from(std::iter::once("probe".to_owned()).chain(words));
    let code = teebench_probe::run(cli.args).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    });
    // An exit code can be compared, not read.
    let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap();
    std::process::exit(i32::from(code));
}

/// A probe's process and the folder that its engine works in.
struct Probe {
    process: Child,
    folder: tempfile::TempDir,
}

fn command(folder: &Path, options: &[&str], engine: &[&str]) -> Command {
    let fixed = ["exec", "--port", "0", "--gpu", "absent"];
    let words: Vec<&str> = fixed.iter().chain(options).chain(&["--"]).chain(engine).copied().collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_probe_itself", "--nocapture"]);
    command.env(ARGUMENTS, serde_json::to_string(&words).unwrap()).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Probe {
    fn start(options: &[&str], script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = command(folder.path(), options, &["sh", "-c", script]).spawn().unwrap();
        Self { process, folder }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The number that the engine wrote to a file.
    fn number(&self, name: &str) -> i32 {
        let path = self.folder.path().join(name);
        await_some(name, || std::fs::read_to_string(&path).ok()?.strip_suffix('\n')?.parse().ok())
    }

    /// The address in the line `listening ADDRESS`.
    fn address(&mut self) -> String {
        let mut lines = BufReader::new(self.process.stdout.as_mut().unwrap()).lines();
        lines.find_map(|line| Some(line.unwrap().split_once("listening ")?.1.to_owned())).expect("the line comes")
    }

    fn exit_code(&mut self) -> Option<i32> {
        await_some("the probe's end", || self.process.try_wait().unwrap()).code()
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.process.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A test that failed must not leave a probe behind; one that passed has none.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

/// Whether a process runs; one that ended and was not reaped by its new parent does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn await_gone(what: &str, pid: i32) {
    await_some(&format!("{what} {pid} gone"), || (!runs(pid)).then_some(()));
}

#[rstest]
#[case::success("exit 0", 0)]
#[case::failure("exit 3", 3)]
#[case::terminated("kill -TERM $$", 143)]
#[case::killed("kill -KILL $$", 137)]
fn the_probe_exits_with_its_engines_code(#[case] script: &str, #[case] code: i32) {
    assert_eq!(Probe::start(&[], script).exit_code(), Some(code));
}

#[rstest]
#[case::terminate(Signal::SIGTERM, "TERM", 7)]
#[case::interrupt(Signal::SIGINT, "INT", 8)]
fn signals_reach_the_engine_which_may_end_in_its_own_way(
    #[case] signal: Signal,
    #[case] name: &str,
    #[case] code: i32,
) {
    let script = format!("trap 'exit {code}' {name}; echo $$ > engine; while :; do sleep 0.01; done");
    let mut probe = Probe::start(&[], &script);
    let engine = probe.number("engine");
    probe.signal(signal);
    assert_eq!(probe.exit_code(), Some(code));
    assert!(!runs(engine));
}

#[test]
fn an_engine_that_does_not_end_is_killed_after_the_grace() {
    let script = "trap '' TERM; echo $$ > engine; while :; do sleep 0.01; done";
    let mut probe = Probe::start(&["--grace-seconds", "0"], script);
    let engine = probe.number("engine");
    probe.signal(Signal::SIGTERM);
    assert_eq!(probe.exit_code(), Some(137));
    assert!(!runs(engine));
}

#[rstest]
#[case::in_its_group("sleep 1000 & echo $! > child; exit 4")]
#[case::in_a_session_of_its_own(
    "setsid sh -c 'echo $$ > child; exec sleep 1000' & while [ ! -s child ]; do :; done; exit 4"
)]
fn what_an_engine_leaves_behind_is_killed(#[case] script: &str) {
    let mut probe = Probe::start(&[], script);
    let child = probe.number("child");
    assert_eq!(probe.exit_code(), Some(4));
    assert!(!runs(child));
}

#[test]
fn a_probe_that_is_killed_leaves_neither_engine_nor_its_children() {
    let mut probe = Probe::start(&[], ENGINE_WITH_CHILD);
    let (engine, child) = (probe.number("engine"), probe.number("child"));
    // Only a probe that answers has told its guardian what to guard.
    probe.address();
    probe.signal(Signal::SIGKILL);
    assert_eq!(probe.exit_code(), None);
    await_gone("engine", engine);
    await_gone("child", child);
}

#[test]
fn with_its_parent_the_probe_ends_and_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let probe_command = command(folder.path(), &["--exit-with-parent"], &["sh", "-c", ENGINE_WITH_CHILD]);
    let mut parent = Command::new("sh");
    parent.args(["-c", "\"$0\" \"$@\" & echo $! > probe; wait"]);
    parent.arg(probe_command.get_program()).args(probe_command.get_args());
    parent.envs(probe_command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    parent.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    // Dropped like a probe, but only its parent.
    let mut tree = Probe { process: parent.spawn().unwrap(), folder };
    let pids = ["probe", "engine", "child"].map(|name| tree.number(name));
    assert!(pids.iter().all(|pid| runs(*pid)));
    tree.signal(Signal::SIGKILL);
    assert_eq!(tree.exit_code(), None);
    for (what, pid) in ["probe", "engine", "child"].into_iter().zip(pids) {
        await_gone(what, pid);
    }
}

#[test]
fn a_parent_that_is_gone_already_is_noticed_and_no_engine_starts() {
    let mut gone = Command::new("true").spawn().unwrap();
    let option = format!("--exit-with-parent={}", gone.id());
    gone.wait().unwrap();
    let mut probe = Probe::start(&[&option], "echo started > engine");
    assert_eq!(probe.exit_code(), Some(1));
    assert!(probe.errors().contains("is gone"));
    assert!(!probe.folder.path().join("engine").exists());
}

#[test]
fn a_taken_port_is_bad_input_and_no_engine_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let script = ["sh", "-c", "echo started > engine"];
    let mut fixed = command(folder.path(), &[], &script);
    let words = [&["exec", "--port", &port, "--gpu", "absent", "--"], script.as_slice()].concat();
    fixed.env(ARGUMENTS, serde_json::to_string(&words).unwrap());
    let mut probe = Probe { process: fixed.spawn().unwrap(), folder };
    assert_eq!(probe.exit_code(), Some(2));
    let errors = probe.errors();
    assert!(errors.contains(&port) && errors.contains("--port"), "{errors}");
    assert!(!probe.folder.path().join("engine").exists());
}

#[test]
fn a_program_that_is_not_there_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let process = command(folder.path(), &[], &["/nonexistent/vllm", "serve"]).spawn().unwrap();
    let mut probe = Probe { process, folder };
    assert_eq!(probe.exit_code(), Some(2));
    assert!(probe.errors().contains("/nonexistent/vllm"));
}

#[test]
fn the_engines_output_goes_to_the_log_folder() {
    let mut probe = Probe::start(&["--log-dir", "logs/0"], "echo out; echo err >&2");
    assert_eq!(probe.exit_code(), Some(0));
    let log = |name: &str| std::fs::read_to_string(probe.folder.path().join("logs/0").join(name)).unwrap();
    assert_eq!((log("engine.stdout.log").as_str(), log("engine.stderr.log").as_str()), ("out\n", "err\n"));
}

#[test]
fn an_echoed_engine_is_heard_in_the_log_folder_and_beside_the_probe_to_its_last_word() {
    let mut probe = Probe::start(&["--log-dir", "logs", "--log-echo"], "seq 20000; echo last words >&2; exit 7");
    let mut out = String::new();
    probe.process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(probe.exit_code(), Some(7));
    let log = |name: &str| std::fs::read_to_string(probe.folder.path().join("logs").join(name)).unwrap();
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(log("engine.stdout.log") == numbers, "the log has {} bytes", log("engine.stdout.log").len());
    // Beside the engine's there are the lines of the probe and of the test program that it runs in.
    assert!(out.len() >= numbers.len() && out.contains("\n20000\n"), "{} bytes beside the probe", out.len());
    assert_eq!(log("engine.stderr.log"), "last words\n");
    let errors = probe.errors();
    assert!(errors.contains("last words\n"), "{errors}");
}

#[tokio::test]
async fn while_it_lingers_the_probe_tells_how_its_engine_ended() {
    let mut probe = Probe::start(&["--linger-seconds", "3600"], "exit 5");
    let client = ProbeClient::new(&format!("http://{}", probe.address())).unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        match client.health().await.unwrap() {
            Health::Running { pid: _ } => assert!(Instant::now() < deadline, "still running after {DEADLINE:?}"),
            ended => break assert_eq!(ended, Health::Exited { code: 5 }),
        }
    }
    probe.signal(Signal::SIGTERM);
    assert_eq!(probe.exit_code(), Some(5));
}
