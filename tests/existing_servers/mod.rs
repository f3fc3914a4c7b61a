//! Servers and routers that `teebench run` does not start, and several load generators for one run.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;
use serde_json::Value;

use crate::support::{brief, count, run, runs, said, start, teebench, wait_until};

/// A server or router that ends with the test.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(words: &[&str]) -> Self {
        let mut child = teebench(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().nth(1).unwrap();
        let url = format!("http://{}", address.strip_prefix("data=").unwrap_or(address));
        Self { child, url }
    }

    fn engine(more: &[&str]) -> Self {
        let words = ["mock-vllm", "--port", "0", "--model", "tiny", "--max-num-seqs", "4", "--profile", "Tiny"];
        Self::start(&[&words, more].concat())
    }

    fn router(worker: &Self) -> Self {
        let words = ["router", "--port", "0", "--control-port", "0", "--policy", "round_robin", "--worker-urls"];
        Self::start(&[words.as_slice(), &[&worker.url]].concat())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended already is what the test looks at itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn existing() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/campaigns/existing.yaml")
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn existing_servers_and_a_foreign_router_are_measured_and_left_alone() {
    let out = tempfile::tempdir().unwrap();
    let mut engine = Serving::engine(&[]);
    let mut router = Serving::router(&engine);
    let (service, foreign) = (format!("existing={}", engine.url), format!("foreign={}", router.url));

    let output = run(&existing(), out.path(), &["--service", &service, "--router", &foreign]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let campaign = out.path().join("existing");
    let runs = runs(&campaign);
    assert_eq!((runs.len(), count(&runs, "Valid")), (2, 2), "{}", brief(&runs));
    for (path, run) in &runs {
        let of_run = |file: &str| campaign.join(path).join(file);
        assert_eq!((&run["evidence_level"], &run["simulated"]), (&"Declared".into(), &false.into()), "{path}");
        let server = &run["servers"][0];
        assert_eq!((&server["uid"], &server["engine_url"]), (&"service/vllm".into(), &engine.url.clone().into()));
        assert!(server["prefix_cache_queries"].as_u64().unwrap() > 0, "{path}: no request reached the server");
        assert!(server["flags_sha256"].is_null() && server["ready_seconds"].is_null(), "{server}");
        let energy = read(&of_run("energy.json"));
        assert!(energy["counter_joules"].is_null() && energy["gpus"] == Value::Array(Vec::new()), "{energy}");
        let bench = read(&of_run("bench.json"));
        assert_eq!((&bench["completed"], &bench["max_concurrency"]), (&24.into(), &6.into()), "{path}");
        for log in ["loadgen.log", "loadgen-1.log", "loadgen-2.log"] {
            assert!(of_run(log).exists(), "{path}: no {log}");
        }
    }
    assert!(engine.child.try_wait().unwrap().is_none() && router.child.try_wait().unwrap().is_none());
}

#[test]
fn a_load_generator_that_is_lost_fails_its_run_by_its_number() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("campaign.yaml");
    let text = fs::read_to_string(existing()).unwrap();
    let foreign = "  - {name: foreign, serviceRef: {name: somebodys-router, port: 8080}}\n";
    fs::write(&file, text.replace(foreign, "").replace("prompts: 24", "prompts: 20000")).unwrap();
    let engine = Serving::engine(&[]);

    let child = start(&file, out.path(), &["--service", &format!("existing={}", engine.url)]);
    let mut last = None;
    wait_until("the last load generator runs", || {
        last = process_naming(&[&out.path().display().to_string(), "--generator\x002"]);
        last.is_some()
    });
    kill(last.unwrap(), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let runs = runs(&out.path().join("existing"));
    assert_eq!((runs.len(), count(&runs, "Failed")), (1, 1), "{}", brief(&runs));
    let reason = &runs[0].1["reasons"][0];
    assert_eq!(reason["code"], "LoadFailed", "{reason}");
    assert!(reason["message"].as_str().unwrap().contains("load generator 2 ended by signal 9"), "{reason}");
}

/// The process whose command line has all these parts; words end with a zero byte there.
fn process_naming(parts: &[&str]) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let path = entry.ok()?.path();
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let command = String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).into_owned();
        parts.iter().all(|part| command.contains(part)).then(|| Pid::from_raw(pid))
    })
}

#[rstest]
#[case::no_address("", "", "", &[], "give its address by --service existing=URL")]
#[case::no_such_arm("", "", "", &["--service", "vllm=http://127.0.0.1:1"], "it has: existing")]
#[case::no_url("", "", "", &["--service", "existing=localhost:8000"], "such as http://HOST:PORT")]
#[case::simulated_servers_have_no_address(
    "", "", "", &["--simulate", "--router", "foreign=http://127.0.0.1:1", "--service", "existing=http://127.0.0.1:1"],
    "the campaign has none"
)]
#[case::a_policy_has_no_place(
    "{name: direct, direct: {}}", "{name: direct, policyRef: {name: p}}",
    "---\napiVersion: teebench.dev/v1alpha1\nkind: RouterPolicy\nmetadata: {name: p}\nspec: {mode: RoundRobin}\n",
    &["--service", "existing=http://127.0.0.1:1"], "in place of policy \"p\""
)]
fn what_existing_servers_need_is_told_before_anything_starts(
    #[case] of: &str,
    #[case] with: &str,
    #[case] more: &str,
    #[case] options: &[&str],
    #[case] told: &str,
) {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("campaign.yaml");
    let text = fs::read_to_string(existing()).unwrap();
    let text = if of.is_empty() { text } else { text.replace(of, with) };
    fs::write(&file, format!("{text}{more}")).unwrap();

    let output = run(&file, out.path(), options);

    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(told), "{}", said(&output));
    assert!(!out.path().join("existing").exists(), "something was started");
}

#[test]
fn a_campaign_of_existing_servers_is_rehearsed_on_simulated_ones() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("campaign.yaml");
    let foreign = "  - {name: foreign, serviceRef: {name: somebodys-router, port: 8080}}\n";
    fs::write(&file, fs::read_to_string(existing()).unwrap().replace(foreign, "")).unwrap();

    let output = run(&file, out.path(), &["--simulate"]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let runs = runs(&out.path().join("existing"));
    assert_eq!((runs.len(), count(&runs, "Valid")), (1, 1), "{}", brief(&runs));
    assert_eq!(runs[0].1["simulated"], true);
}
