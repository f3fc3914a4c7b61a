//! `teebench run` with local processes, as its user runs it: to an answer, through interruptions and faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod existing_servers;
mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use support::{
    brief, count, free_range, processes_naming, run, run_of, runs, said, send, small, start, teebench, wait_until,
};

#[test]
fn a_campaign_runs_to_an_answer_that_its_files_support() {
    let out = tempfile::tempdir().unwrap();

    let output = run(&small(), out.path(), &[]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let campaign = out.path().join("small");
    let runs = runs(&campaign);
    assert_eq!((runs.len(), count(&runs, "Valid")), (8, 8), "{}", brief(&runs));
    for (path, run) in &runs {
        assert_eq!(run["simulated"], true, "{path}");
        assert_eq!(run["evidence_level"], "SelfReported", "{path}");
        let sums =
            Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(campaign.join(path)).output();
        let sums = sums.unwrap();
        assert!(sums.status.success(), "{path}: {}", said(&sums));
    }
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(campaign.join("summary.json")).unwrap()).unwrap();
    assert!(summary.to_string().contains("\"simulated\":true"));
    let page = fs::read_to_string(campaign.join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.to_lowercase().contains("simulated"));
    assert!(!page.contains("src=\"http"), "the page loads something from a network");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.contains('%'), "no effect in the answer:\n{answer}");
    assert!(processes_naming(out.path()).is_empty(), "{:?}", processes_naming(out.path()));
}

#[test]
fn runs_of_a_block_get_the_same_requests_and_another_block_gets_others() {
    let out = tempfile::tempdir().unwrap();

    let output = run(&small(), out.path(), &[]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let runs = runs(&out.path().join("small"));
    let seeds = |repetition: u64| -> Vec<u64> {
        let of = runs.iter().filter(|(_, run)| run["repetition"] == repetition);
        let mut seeds: Vec<u64> = of.map(|(_, run)| run["seed"].as_u64().unwrap()).collect();
        seeds.dedup();
        seeds
    };
    assert_eq!((seeds(1).len(), seeds(2).len()), (1, 1));
    assert_ne!(seeds(1), seeds(2));
}

#[test]
fn an_interrupted_campaign_keeps_its_runs_and_continues_without_running_one_twice() {
    let out = tempfile::tempdir().unwrap();
    let campaign = out.path().join("small");
    let child = start(&small(), out.path(), &[]);
    wait_until("two runs are committed", || runs(&campaign).len() >= 2);
    send(&child, Signal::SIGINT);
    let interrupted = child.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(130), "{}", said(&interrupted));
    wait_until("all children have ended", || processes_naming(out.path()).is_empty());
    let before: Vec<_> = runs(&campaign).into_iter().filter(|(_, run)| run["validity"] == "Valid").collect();
    assert!(!before.is_empty());

    let output = run(&small(), out.path(), &[]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let after = runs(&campaign);
    for kept in &before {
        assert!(after.contains(kept), "{} changed", kept.0);
    }
    // A boot that was interrupted serves no later run of its block, so that block's finished runs are repeated, and no
    // others.
    let valid = count(&after, "Valid");
    assert!((8..12).contains(&valid), "{}", brief(&after));
    let distinct: BTreeSet<&str> =
        after.iter().filter(|(_, run)| run["validity"] == "Valid").map(|(path, _)| run_of(path)).collect();
    assert_eq!(distinct.len(), 8, "{}", brief(&after));
    assert_eq!(count(&after, "Failed"), 0, "{}", brief(&after));
}

#[test]
fn killing_teebench_leaves_no_process_behind_and_loses_no_finished_run() {
    let out = tempfile::tempdir().unwrap();
    let campaign = out.path().join("small");
    let child = start(&small(), out.path(), &[]);
    wait_until("a run is committed", || !runs(&campaign).is_empty());
    let before = runs(&campaign);
    send(&child, Signal::SIGKILL);
    child.wait_with_output().unwrap();
    wait_until("no process is left", || processes_naming(out.path()).is_empty());

    let output = run(&small(), out.path(), &[]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let after = runs(&campaign);
    assert!(before.iter().all(|kept| after.contains(kept)));
}

#[test]
fn arms_that_ran_apart_are_reported_together_and_said_to_be_so() {
    let here = tempfile::tempdir().unwrap();
    let there = tempfile::tempdir().unwrap();
    for (arm, out) in [("cc-off", &here), ("cc-on", &there)] {
        let output = run(&small(), out.path(), &["--arm", arm]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(runs(&out.path().join("small")).len(), 4);
    }

    let report = teebench(&["report"]).arg(here.path()).arg(there.path()).output().unwrap();

    assert_eq!(report.status.code(), Some(0), "{}", said(&report));
    let text = String::from_utf8_lossy(&report.stdout);
    assert!(text.contains("cc-off") && text.contains("cc-on"), "{text}");
    assert!(text.to_lowercase().contains("not interleaved"), "{text}");
}

#[test]
fn a_bad_file_starts_nothing() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("bad.yaml");
    let text = fs::read_to_string(small()).unwrap().replace("maxNumSeqs", "maxNumSeq");
    fs::write(&file, text).unwrap();

    let output = run(&file, &out.path().join("results"), &[]);

    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("did you mean \"maxNumSeqs\""), "{}", said(&output));
    assert!(!out.path().join("results").exists());
}

#[test]
fn results_of_another_plan_are_refused_and_left_alone() {
    let out = tempfile::tempdir().unwrap();
    fs::create_dir_all(out.path().join("small")).unwrap();
    let other = out.path().join("other.yaml");
    fs::write(&other, fs::read_to_string(small()).unwrap().replace("seed: 5", "seed: 6")).unwrap();
    let plan = teebench(&["plan", "-o", "json"]).arg(&other).output().unwrap();
    fs::write(out.path().join("small/plan.json"), &plan.stdout).unwrap();

    let output = run(&small(), out.path(), &[]);

    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("another plan"), "{}", said(&output));
    assert_eq!(fs::read(out.path().join("small/plan.json")).unwrap(), plan.stdout);
}

#[test]
fn a_server_that_never_readies_fails_its_runs_with_the_reason() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("campaign.yaml");
    let text = fs::read_to_string(small()).unwrap().replace("readyTimeoutSeconds: 20", "readyTimeoutSeconds: 2");
    fs::write(&file, text).unwrap();

    let output = run(&file, out.path(), &["--fault", "cc-on/1=never-ready"]);

    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let runs = runs(&out.path().join("small"));
    assert!(count(&runs, "Failed") > 0 && count(&runs, "Valid") == 0, "{}", brief(&runs));
    let reason = runs[0].1["reasons"][0]["message"].as_str().unwrap();
    assert!(reason.contains("cc-on/1") && reason.contains("readyTimeoutSeconds"), "{reason}");
    assert!(runs[0].1["log_tail"].as_array().is_some_and(|tail| !tail.is_empty()), "{}", runs[0].1);
    assert!(processes_naming(out.path()).is_empty());
}

#[test]
fn a_server_that_dies_fails_its_run_with_the_tail_of_its_log_and_its_block_is_repeated() {
    let out = tempfile::tempdir().unwrap();

    let output = run(&small(), out.path(), &["--fault", "cc-on/0=crash-at-request=20"]);

    let runs = runs(&out.path().join("small"));
    let died = runs.iter().find(|(_, run)| run["reasons"][0]["code"] == "ServerDied");
    let (_, died) = died.unwrap_or_else(|| panic!("no run names the death: {}\n{}", said(&output), brief(&runs)));
    assert_eq!(died["validity"], "Failed");
    assert!(died["log_tail"].as_array().is_some_and(|tail| !tail.is_empty()), "{died:#}");
    let decisions = fs::read_to_string(out.path().join("small/decisions.jsonl")).unwrap();
    assert!(decisions.contains("\"bootFailed\""), "{decisions}");
}

#[test]
fn evidence_against_the_arm_makes_its_runs_inconclusive() {
    let out = tempfile::tempdir().unwrap();

    let output = run(&small(), out.path(), &["--arm", "cc-on", "--fault", "cc-on/0=cc-flip=1"]);

    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let runs = runs(&out.path().join("small"));
    assert!(count(&runs, "Inconclusive") > 0, "{}", brief(&runs));
    assert!(runs.iter().any(|(_, run)| run["reasons"][0]["code"] == "Evidence"), "{}", brief(&runs));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let out = tempfile::tempdir().unwrap();
    let blocked = out.path().join("file");
    fs::write(&blocked, "").unwrap();

    let output = run(&small(), &blocked, &[]);

    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("file/small"), "{}", said(&output));
}

/// The small campaign with a real engine in place of the simulator.
fn with_vllm(dir: &Path) -> std::path::PathBuf {
    let simulator = "simulator: {profile: Tiny, replicas: 2, maxNumSeqs: 4, maxModelLen: 4096}";
    let image = format!("example/vllm@sha256:{}", "0".repeat(64));
    let vllm = format!("vllm: {{image: \"{image}\", replicas: 1, maxNumSeqs: 4, maxModelLen: 4096}}");
    let text = fs::read_to_string(small()).unwrap();
    assert!(text.contains(simulator));
    let file = dir.join("vllm.yaml");
    fs::write(&file, text.replace(simulator, &vllm)).unwrap();
    file
}

#[test]
fn any_campaign_can_be_rehearsed_on_the_simulator() {
    let out = tempfile::tempdir().unwrap();

    let output = run(&with_vllm(out.path()), out.path(), &["--simulate"]);

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let runs = runs(&out.path().join("small"));
    assert_eq!(count(&runs, "Valid"), 8, "{}", brief(&runs));
    assert!(runs.iter().all(|(_, run)| run["simulated"] == true));
}

#[test]
fn a_campaign_with_vllm_is_refused_where_none_is_installed() {
    let out = tempfile::tempdir().unwrap();

    let output = teebench(&["run"])
        .arg(with_vllm(out.path()))
        .args(["--out", "results"])
        .current_dir(out.path())
        .env("PATH", out.path())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--simulate"), "{}", said(&output));
    assert!(!out.path().join("results").exists());
}

#[test]
fn gpus_that_do_not_suffice_fail_the_runs_with_the_mend() {
    let out = tempfile::tempdir().unwrap();
    let vllm = out.path().join("vllm");
    fs::write(&vllm, "#!/bin/sh\nexit 9\n").unwrap();

    let output = teebench(&["run"])
        .arg(with_vllm(out.path()))
        .args(["--out", "results"])
        .current_dir(out.path())
        .env("PATH", out.path())
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let runs = runs(&out.path().join("results/small"));
    assert_eq!(count(&runs, "Failed"), runs.len(), "{}", brief(&runs));
    assert!(brief(&runs).contains("no GPU is visible"), "{}", brief(&runs));
}

#[test]
fn a_port_that_is_taken_fails_the_runs_with_the_reason() {
    let out = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();

    let output = run(&small(), out.path(), &["--arm", "cc-off", "--first-port", &port]);

    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let runs = runs(&out.path().join("small"));
    assert_eq!((count(&runs, "Failed"), count(&runs, "Valid")), (runs.len(), 0), "{}", brief(&runs));
    let tail = runs[0].1["log_tail"].to_string();
    assert!(tail.contains(&port), "{tail}");
}

#[test]
fn a_foreign_router_gets_the_requests_of_its_runs() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("campaign.yaml");
    let ours = "- {name: hr-tree, policyRef: {name: hr-tree}}";
    let foreign = "- {name: foreign, serviceRef: {name: somebodys-router, port: 80}}";
    fs::write(&file, fs::read_to_string(small()).unwrap().replace(ours, foreign)).unwrap();
    let first: u16 = free_range(2);
    let workers = [format!("http://127.0.0.1:{first}"), format!("http://127.0.0.1:{}", first + 1)];
    let mut router = teebench(&["router", "--port", "0", "--control-port", "0", "--policy", "least_loaded"])
        .arg("--worker-urls")
        .args(&workers)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(router.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("data=")).unwrap();

    let url = format!("foreign=http://{address}");
    let output = run(&file, out.path(), &["--arm", "cc-off", "--first-port", &first.to_string(), "--router", &url]);
    router.kill().unwrap();
    router.wait().unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let runs = runs(&out.path().join("small"));
    let foreign: Vec<_> = runs.iter().filter(|(_, run)| run["router"] == "foreign").collect();
    assert_eq!((foreign.len(), count(&runs, "Valid")), (2, 4), "{}", brief(&runs));
    for (path, run) in foreign {
        assert_eq!(run["target"]["foreign"]["url"], format!("http://{address}"), "{path}");
        let queried: u64 =
            run["servers"].as_array().unwrap().iter().map(|s| s["prefix_cache_queries"].as_u64().unwrap()).sum();
        assert!(queried > 0, "{path}: no request reached the servers");
    }
}

#[test]
fn data_sets_from_files_are_recorded_shared_by_a_block_and_never_swapped() {
    let campaigns = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/campaigns");
    let directory = tempfile::tempdir().unwrap();
    for file in ["files.yaml", "data/prompts.jsonl"] {
        fs::create_dir_all(directory.path().join("data")).unwrap();
        fs::copy(campaigns.join(file), directory.path().join(file)).unwrap();
    }
    let (campaign_file, out) = (directory.path().join("files.yaml"), directory.path().join("out"));
    let trace = format!("replay={}", campaigns.join("data/trace.jsonl").display());

    let missing = run(&campaign_file, &out, &[]);
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    assert!(said(&missing).contains("give it by --dataset replay=FILE"), "{}", said(&missing));
    let output = run(&campaign_file, &out, &["--dataset", &trace]);
    assert_eq!(count(&runs(&out.join("files")), "Failed"), 0, "{}", said(&output));

    let runs = runs(&out.join("files"));
    let digests: BTreeSet<String> = runs.iter().map(|(_, run)| run["dataset_sha256"].to_string()).collect();
    assert_eq!((runs.len(), digests.len()), (6, 2), "{}", brief(&runs));
    let outputs = |path: &str| -> Vec<u64> {
        let bench = fs::read(out.join("files").join(path).join("bench.json")).unwrap();
        let bench: serde_json::Value = serde_json::from_slice(&bench).unwrap();
        bench["output_lens"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).collect()
    };
    let sent = |repetition: u64| -> BTreeSet<Vec<u64>> {
        let of = runs.iter().filter(|(_, run)| run["experiment"] == "own" && run["repetition"] == repetition);
        of.map(|(path, _)| outputs(path)).collect()
    };
    // Both arms the same two prompts in the same order; the other block the other two of the file.
    assert_eq!((sent(1).len(), sent(2).len()), (1, 1), "{:?} {:?}", sent(1), sent(2));
    let all: BTreeSet<u64> = sent(1).into_iter().chain(sent(2)).flatten().collect();
    assert_eq!(all, BTreeSet::from([3, 4, 5, 6]));
    let replayed = runs.iter().find(|(_, run)| run["experiment"] == "replay").unwrap();
    assert_eq!(outputs(&replayed.0), [3, 4, 2]);

    let prompts = directory.path().join("data/prompts.jsonl");
    let content = fs::read_to_string(&prompts).unwrap();
    fs::write(&prompts, content.replace("prime", "square")).unwrap();
    let swapped = run(&campaign_file, &out, &["--dataset", &trace]);
    assert_eq!(swapped.status.code(), Some(2), "{}", said(&swapped));
    fs::write(&prompts, content + "{\"prompt\": \n").unwrap();
    let broken = run(&campaign_file, &directory.path().join("new"), &["--dataset", &trace]);
    assert_eq!(broken.status.code(), Some(2), "{}", said(&broken));
    assert!(said(&broken).contains("prompts.jsonl, line 5: EOF"), "{}", said(&broken));
    assert!(!directory.path().join("new").exists(), "something was started on a broken file");
}
