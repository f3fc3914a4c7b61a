//! `teebench loadgen` as a whole: flags in, files and exit code out.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rstest::rstest;
use serde_json::{Map, Value};

use common::Golden;
use common::server::{Reply, Server, completion, refused_url};
use teebench_loadgen::result_file::{ResultFileError, summary_table};
use teebench_loadgen::{Args, run};

#[derive(Parser)]
#[command(name = "loadgen")]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Runs the command on a thread of its own: it has its own runtime.
async fn run_command(flags: Vec<String>) -> anyhow::Result<ExitCode> {
    let args = Command::parse_from(std::iter::once("loadgen".to_owned()).chain(flags)).args;
    tokio::task::spawn_blocking(move || run(args)).await.unwrap()
}

fn flags(base_url: &str, directory: &Path, more: &str) -> Vec<String> {
    let flags =
        format!("--base-url {base_url} --result-dir {} --save-result --disable-tqdm {more}", directory.display());
    flags.split_whitespace().map(str::to_owned).collect()
}

fn read_json(path: &Path) -> Map<String, Value> {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_run_writes_its_files() {
    let server = Server::start(|_, seen| match seen.path.as_str() {
        "/v1/models" => Reply::Stream(vec![br#"{"data":[{"id":"org/served"}]}"#.to_vec()]),
        _ => Reply::Stream(completion(3)),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let client_file = directory.path().join("client.json");
    let more = format!(
        "--dataset-name toolbench --num-prompts 6 --max-concurrency 2 --output-len 3 --num-warmups 1 --save-detailed \
         --result-filename sub/bench.json --metadata arm=cc-on --percentile-metrics ttft,tpot,itl,e2el \
         --metric-percentiles 25,50,75,95,99 --goodput ttft:60000ms --client-file {}",
        client_file.display()
    );
    assert_eq!(run_command(flags(&server.base_url, directory.path(), &more)).await.unwrap(), ExitCode::SUCCESS);
    let file = read_json(&directory.path().join("sub/bench.json"));
    assert_eq!(
        (&file["completed"], &file["model_id"], &file["arm"]),
        (&6.into(), &"org/served".into(), &"cc-on".into())
    );
    assert_eq!(file["request_goodput"], file["request_throughput"]);
    assert_eq!(file["generated_texts"][0], " t0 t1 t2");
    assert_eq!(read_json(&client_file)["verdict"].as_str().map(str::is_empty), Some(false));
    // The models, the warm-up and the run.
    assert_eq!(server.seen().len(), 1 + 1 + 6);
}

#[tokio::test]
async fn a_run_without_one_success_fails_but_writes_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let more = "--model org/m --num-prompts 4 --random-input-len 32 --label l";
    assert_eq!(run_command(flags(&refused_url(), directory.path(), more)).await.unwrap(), ExitCode::FAILURE);
    let entries: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = &entries[..] else { panic!("{entries:?}") };
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("l-infqps-m-20") && name.ends_with(".json"), "{name}");
    let file = read_json(path);
    assert_eq!((&file["completed"], &file["failed"], &file["mean_ttft_ms"]), (&0.into(), &4.into(), &0.0.into()));
}

#[tokio::test]
async fn bad_flags_are_bad_input() {
    let directory = tempfile::tempdir().unwrap();
    let flags = flags("http://127.0.0.1:1", directory.path(), "--model m --goodput speed:1");
    assert_eq!(run_command(flags).await.unwrap(), ExitCode::from(2));
}

#[rstest]
#[case::zero("--request-rate 0")]
#[case::negative("--request-rate -3")]
#[case::not_a_number("--request-rate nan")]
#[case::one_of_a_sweep("--request-rate 5,0")]
#[case::one_name_for_many("--request-rate 5,6 --result-filename one.json")]
#[case::seconds_or_milliseconds("--goodput ttft:200")]
#[tokio::test]
async fn bad_traffic_is_bad_input_and_nothing_is_sent(#[case] more: &str) {
    let server = Server::start(|_, _| Reply::Stream(completion(1))).await;
    let directory = tempfile::tempdir().unwrap();
    let code = run_command(flags(&server.base_url, directory.path(), more)).await.unwrap();
    assert_eq!((code, server.seen().len()), (ExitCode::from(2), 0));
}

#[tokio::test]
async fn a_sweep_writes_a_file_for_each_run() {
    let server = Server::start(|_, _| Reply::Stream(completion(2))).await;
    let directory = tempfile::tempdir().unwrap();
    let more = "--model m --num-prompts 3 --random-input-len 8 --max-concurrency 1,2 --request-rate inf,1000";
    assert_eq!(run_command(flags(&server.base_url, directory.path(), more)).await.unwrap(), ExitCode::SUCCESS);
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let expected = [
        "run001-openai-infqps-concurrency1-m-",
        "run002-openai-infqps-concurrency2-m-",
        "run003-openai-1000.0qps-concurrency1-m-",
        "run004-openai-1000.0qps-concurrency2-m-",
    ];
    assert_eq!(names.len(), 4, "{names:?}");
    for (name, expected) in names.iter().zip(expected) {
        assert!(name.starts_with(expected), "{name}");
    }
    let prompts: HashSet<String> = server.seen().into_iter().map(|seen| seen.body["prompt"].to_string()).collect();
    assert_eq!(prompts.len(), 12, "prompts repeat, and a cache could answer them");
}

#[tokio::test]
async fn a_search_ends_and_keeps_every_run() {
    let server = Server::start(|number, _| match number {
        0..30 => Reply::Stream(completion(1)),
        _ => Reply::Status(503, "full"),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let more = "--model m --num-prompts 10 --random-input-len 8 --saturation --goodput e2el:60s --request-rate 500 \
                --saturation-resolution 0.5";
    assert_eq!(run_command(flags(&server.base_url, directory.path(), more)).await.unwrap(), ExitCode::SUCCESS);
    // Two runs at 500 hold, the first at 1,000 holds and the second fails: in doubt, and so on to a bracket.
    let files = std::fs::read_dir(directory.path()).unwrap().count();
    assert!(files > 4 && files * 10 == server.seen().len(), "{files} files of {} requests", server.seen().len());
}

#[tokio::test]
async fn generators_that_share_a_plan_report_as_one() {
    let server = Server::start(|_, _| Reply::Stream(completion(2))).await;
    let directory = tempfile::tempdir().unwrap();
    let part = |number: usize| directory.path().join(format!("part{number}.json")).display().to_string();
    let common = "--model m --num-prompts 11 --random-input-len 8 --request-rate 500 --max-concurrency 8 \
                  --save-detailed --result-filename bench.json";
    let running = [0, 1, 2].map(|number| {
        let more = format!("{common} --share {number}/3 --part-file {}", part(number));
        let own = directory.path().join(number.to_string());
        run_command(flags(&server.base_url, &own, &more))
    });
    for code in futures::future::join_all(running).await {
        assert_eq!(code.unwrap(), ExitCode::SUCCESS);
    }
    let more = format!("{common} --merge {} {} {}", part(2), part(0), part(1));
    assert_eq!(run_command(flags(&server.base_url, directory.path(), &more)).await.unwrap(), ExitCode::SUCCESS);
    let merged = read_json(&directory.path().join("bench.json"));
    assert_eq!((&merged["completed"], &merged["total_output_tokens"]), (&11.into(), &22.into()));
    // Each sent its own requests of the one plan, and the merged arrays have them in the order of the plan.
    for number in 0..3 {
        let own = read_json(&directory.path().join(number.to_string()).join("bench.json"));
        let strided = merged["ttfts"].as_array().unwrap().iter().skip(number).step_by(3);
        assert!(own["ttfts"].as_array().unwrap().iter().eq(strided), "generator {number}");
    }
    let prompts: HashSet<String> = server.seen().into_iter().map(|seen| seen.body["prompt"].to_string()).collect();
    assert_eq!((prompts.len(), server.seen().len()), (11, 11));
}

#[tokio::test]
async fn a_result_without_room_is_kept_elsewhere_and_the_run_fails() {
    let server = Server::start(|_, _| Reply::Stream(completion(1))).await;
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("bench.json")).unwrap();
    let label = format!("kept-{}", std::process::id());
    let more = format!("--model m --num-prompts 2 --random-input-len 8 --label {label} --result-filename bench.json");
    let error = run_command(flags(&server.base_url, directory.path(), &more)).await.unwrap_err();
    let Some(ResultFileError::KeptElsewhere { kept_at, .. }) = error.downcast_ref() else { panic!("{error:#}") };
    let kept = read_json(kept_at);
    std::fs::remove_file(kept_at).unwrap();
    assert_eq!((&kept["label"], &kept["completed"]), (&label.into(), &2.into()));
}

#[test]
fn help_opens_with_an_example() {
    let help = Command::command().render_long_help().to_string();
    assert!(help.starts_with("Example:\n  teebench loadgen --base-url"), "{help}");
}

#[test]
fn the_table_is_laid_out_as_vllm_prints_it() {
    let golden = Golden::read("v0.32.0_skiptok_custom");
    let mut options = golden.options();
    options.max_concurrency = Some(4);
    let summary = options.summarise(&golden.measured(|_| unreachable!("the file has starts")));
    let expected = "\
============ Serving Benchmark Result ============
Successful requests:                     2         
Failed requests:                         0         
Maximum request concurrency:             4         
Benchmark duration (s):                  0.16      
Total input tokens:                      64        
Request throughput (req/s):              12.89     
Peak concurrent requests:                2.00      
----------------End-to-end Latency----------------
Mean E2EL (ms):                          154.25    
Median E2EL (ms):                        154.25    
P99 E2EL (ms):                           154.61    
==================================================
";
    assert_eq!(summary_table(&summary, &options).to_string(), expected);
}

#[test]
fn the_table_has_all_that_was_asked_for() {
    let golden = Golden::read("v0.32.0_openai_rate10_gamma_probe");
    let options = golden.options();
    let summary = options.summarise(&golden.measured(|_| unreachable!("the file has starts")));
    let table = summary_table(&summary, &options).to_string();
    for line in [
        "Request rate configured (RPS):           10.00     \n",
        "Request goodput (req/s):                 7.49      \n",
        "Peak output token throughput (tok/s):    303.00    \n",
        "------------------Probe Requests------------------\n",
        "---------------Time to First Token----------------\n",
        "-----Time per Output Token (excl. 1st token)------\n",
        "P75 ITL (ms):                            8.03      \n",
    ] {
        assert!(table.contains(line), "{line:?} is not in\n{table}");
    }
}
