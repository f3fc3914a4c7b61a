//! Runs the real binary and looks at what it left.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// How long anything here may take before a test says what it last saw.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The small campaign.
pub fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/campaigns/small.yaml")
}

/// A call of the binary.
pub fn teebench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teebench"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// `teebench run FILE --out DIR` with further arguments, to its end.
pub fn run(file: &Path, out: &Path, more: &[&str]) -> Output {
    run_command(file, out, more).output().unwrap()
}

/// `teebench run FILE --out DIR` in the background, in a process group of its own.
pub fn start(file: &Path, out: &Path, more: &[&str]) -> Child {
    run_command(file, out, more).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run_command(file: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = teebench(&["run"]);
    command.arg(file).arg("--out").arg(out).args(more);
    command
}

/// What a finished process wrote, for messages.
pub fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every committed `run.json` below a directory, by its path relative to it.
pub fn runs(campaign: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect(&campaign.join("runs"), campaign, &mut found);
    found.sort_by_key(|(path, _)| path.clone());
    found
}

fn collect(dir: &Path, root: &Path, found: &mut Vec<(String, Value)>) {
    if dir.join("SHA256SUMS").exists() {
        let run = serde_json::from_slice(&fs::read(dir.join("run.json")).unwrap()).unwrap();
        found.push((dir.strip_prefix(root).unwrap().display().to_string(), run));
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, found);
        }
    }
}

/// Each run with its verdict and reasons, for messages.
pub fn brief(runs: &[(String, Value)]) -> String {
    runs.iter().map(|(path, run)| format!("{path}: {} {}\n", run["validity"], run["reasons"])).collect()
}

/// The run that an attempt's path belongs to.
pub fn run_of(path: &str) -> &str {
    path.rsplit_once('a').map_or(path, |(run, _)| run)
}

/// How many committed runs have this verdict.
pub fn count(runs: &[(String, Value)], verdict: &str) -> usize {
    runs.iter().filter(|(_, run)| run["validity"] == verdict).count()
}

/// Waits until a condition holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::yield_now();
    }
}

/// Sends a signal to a process that the test started.
pub fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Living processes whose command line names this directory.
pub fn processes_naming(dir: &Path) -> Vec<String> {
    let name = dir.display().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.file_name()?.to_str()?.parse::<u32>().ok()?;
            let command = fs::read(path.join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            command.contains(&name).then_some(command)
        })
        .collect()
}

/// The first of so many consecutive free ports.
pub fn free_range(count: u16) -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if (first..first.saturating_add(count)).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}
