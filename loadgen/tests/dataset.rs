//! Data sets through the client: what is sent, and when it is planned.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use common::server::{Reply, Server, completion};
use teebench_loadgen::client::{HttpOptions, LoadError, LoadSpec, Progress, measure};
use teebench_loadgen::dataset::{DatasetError, FileFormat, RequestFile, Selection, ServerTokenizer, TokenCounter};
use teebench_loadgen::{Args, run};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

async fn run_command(flags: &str, base_url: &str) -> ExitCode {
    let line = format!("loadgen --model m --disable-tqdm --base-url {base_url} {flags}");
    let args = Command::parse_from(line.split_whitespace()).args;
    tokio::task::spawn_blocking(move || run(args).unwrap()).await.unwrap()
}

/// A server that counts a token for each word.
async fn counting_server() -> Server {
    Server::start(|_, seen| match seen.path.as_str() {
        "/tokenize" => {
            let count = seen.body["prompt"].as_str().unwrap().split_whitespace().count();
            Reply::Stream(vec![format!("{{\"count\":{count},\"max_model_len\":4096}}").into_bytes()])
        }
        _ => Reply::Stream(completion(1)),
    })
    .await
}

#[tokio::test]
async fn a_trace_is_sent_with_its_lengths_and_shared_blocks() {
    let server = counting_server().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.jsonl");
    let lines = (0..4).fold(String::new(), |mut lines, index| {
        let output = index + 2;
        writeln!(
            lines,
            r#"{{"timestamp":{index},"input_length":24,"output_length":{output},"hash_ids":[0,{output}]}}"#
        )
        .unwrap();
        lines
    });
    std::fs::write(&file, lines).unwrap();
    let flags =
        format!("--dataset-name trace --dataset-path {} --trace-block-tokens 16 --num-prompts 4", file.display());
    assert_eq!(run_command(&flags, &server.base_url).await, ExitCode::SUCCESS);
    let mut bodies: Vec<_> = server.seen().into_iter().map(|seen| seen.body).collect();
    bodies.sort_by_key(|body| body["max_tokens"].as_u64());
    assert_eq!(bodies.iter().map(|body| body["max_tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5]);
    let prompts: Vec<_> = bodies.iter().map(|body| body["prompt"].as_array().unwrap().clone()).collect();
    assert!(prompts.iter().all(|ids| ids.len() == 24 && ids[..16] == prompts[0][..16]));
    assert_ne!(prompts[0][16..], prompts[1][16..]);
    assert!(bodies.iter().all(|body| body["ignore_eos"] == true));
}

#[tokio::test]
async fn conversations_are_counted_by_the_server_when_it_is_asked_to() {
    let server = counting_server().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sharegpt.json");
    let turn = |words: usize| format!(r#"{{"from":"x","value":"{}"}}"#, vec!["w"; words].join(" "));
    let conversation = |answer| format!(r#"{{"conversations":[{},{}]}}"#, turn(5), turn(answer));
    std::fs::write(&file, format!("[{},{},{}]", conversation(9), conversation(3), conversation(11))).unwrap();
    let flags =
        format!("--dataset-name sharegpt --dataset-path {} --tokenize-by-server --num-prompts 2", file.display());
    assert_eq!(run_command(&flags, &server.base_url).await, ExitCode::SUCCESS);
    let sent = server.seen();
    let mut caps: Vec<_> =
        sent.iter().filter(|seen| seen.path != "/tokenize").map(|seen| seen.body["max_tokens"].as_u64()).collect();
    caps.sort_unstable();
    // The answer of three words is too short to be used, as in vLLM's client.
    assert_eq!(caps, [Some(9), Some(11)]);
    // By bytes, four to a token, all answers would be too short.
    let refused = flags.replace("--tokenize-by-server", "");
    assert_eq!(run_command(&refused, &server.base_url).await, ExitCode::from(2));
}

/// Without these flags vLLM's own client takes the file for another conversation, or other requests of it.
#[tokio::test]
async fn a_file_is_sent_as_it_stands_by_the_flags_that_vllms_client_needs_for_it() {
    let server = counting_server().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompts.jsonl");
    std::fs::write(&file, "{\"prompt\":\"one two\"}\n{\"prompt\":\"three\"}\n").unwrap();
    let flags = format!(
        "--dataset-name custom --dataset-path {} --num-prompts 2 --skip-chat-template --no-oversample --disable-shuffle \
         --custom-output-len 3 --max-concurrency 1",
        file.display()
    );
    assert_eq!(run_command(&flags, &server.base_url).await, ExitCode::SUCCESS);
    let seen = server.seen();
    let prompts: Vec<_> = seen.iter().filter_map(|seen| seen.body["prompt"].as_str()).collect();
    assert_eq!(prompts, ["one two", "three"]);
}

#[tokio::test]
async fn a_bad_line_sends_nothing() {
    let server = counting_server().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompts.jsonl");
    std::fs::write(&file, "{\"prompt\":\"a\"}\n{\"prompt\":3}\n").unwrap();
    let flags = format!("--dataset-name custom --dataset-path {} --num-prompts 1", file.display());
    assert_eq!(run_command(&flags, &server.base_url).await, ExitCode::from(2));
    std::fs::write(&file, "{\"prompt\":\"a\"}\n").unwrap();
    assert_eq!(
        run_command(&flags.replace("--num-prompts 1", "--num-prompts 2"), &server.base_url).await,
        ExitCode::from(2)
    );
    assert!(server.seen().is_empty());
    assert_eq!(run_command(&format!("{flags} --custom-output-len 7"), &server.base_url).await, ExitCode::SUCCESS);
    assert_eq!(server.seen()[0].body["max_tokens"], 7);
}

#[tokio::test]
async fn a_server_that_does_not_tokenise_is_told_of() {
    let server = Server::start(|_, _| Reply::Status(404, "not found")).await;
    let base_url = server.base_url.clone();
    let counted = tokio::task::spawn_blocking(move || {
        TokenCounter::Server(Arc::new(ServerTokenizer::start(&base_url, "m", HttpOptions::default()).unwrap()))
            .count("a")
    });
    let error = counted.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("does not tokenise") && error.contains("404"), "{error}");
}

#[tokio::test]
async fn generators_that_share_a_file_send_each_request_once_and_are_merged_without_the_file() {
    let server = counting_server().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompts.jsonl");
    let mut lines = String::new();
    for number in 0..5 {
        writeln!(lines, "{{\"prompt\":\"prompt {number}\"}}").unwrap();
    }
    std::fs::write(&file, lines).unwrap();
    let common = format!("--dataset-name custom --dataset-path {} --num-prompts 5", file.display());
    let part = |number: u32| directory.path().join(format!("part{number}.json")).display().to_string();
    for number in 0..2 {
        let flags = format!("{common} --share {number}/2 --part-file {}", part(number));
        assert_eq!(run_command(&flags, &server.base_url).await, ExitCode::SUCCESS);
    }
    let sent: Vec<String> = server.seen().iter().map(|seen| seen.body["prompt"].to_string()).collect();
    assert_eq!((sent.len(), sent.iter().collect::<BTreeSet<_>>().len()), (5, 5));
    std::fs::remove_file(&file).unwrap();
    let merge = format!("{common} --merge {} {}", part(0), part(1));
    assert_eq!(run_command(&merge, &server.base_url).await, ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_request_that_cannot_be_read_ends_the_run_of_all_workers() {
    // The other worker's request is never answered: only the failure can end it.
    let server = Server::start(|_, _| Reply::Hang(Vec::new())).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prompts.jsonl");
    std::fs::write(&path, "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n").unwrap();
    let file = RequestFile::open(&path, FileFormat::Custom, &TokenCounter::Estimate, &|_| ()).unwrap();
    let requests = file.select(Selection { count: 2, seed: None, part: 0, oversample: false }, None).unwrap();
    std::fs::write(&path, "{\"prompt\":\"a\"}\n{\"prompt\":\"c\"}\n").unwrap();
    let spec =
        LoadSpec { workers: NonZeroU32::new(2), ..LoadSpec::new(Arc::new(requests), vec![server.target()], "m") };
    let error = measure(&spec, watch::Sender::new(Progress::default()), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&error, LoadError::Dataset(DatasetError::Changed { .. })), "{error}");
}
