//! The subcommand as a process of its own: the line it prints, signals, exit codes.
//!
//! The process is this test program again, told to run nothing but [`entry`].

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use reqwest::StatusCode;
use rstest::rstest;
use teebench_mock_vllm::{Args, run};

use crate::harness::{DEADLINE, completion, eventually};

const ARGUMENTS: &str = "TEEBENCH_MOCK_TEST_ARGUMENTS";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

#[test]
#[ignore = "the child process of the other tests"]
fn entry() {
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let line = CommandLine::parse_from(std::iter::once("mock-vllm").chain(arguments.split(' ')));
    let code = match run(line.args) {
        Ok(code) if code == ExitCode::SUCCESS => 0,
        Ok(code) if code == ExitCode::from(2) => 2,
        Ok(code) => panic!("unexpected {code:?}"),
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    };
    std::process::exit(code);
}

struct Process {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(arguments: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "process::entry", "--nocapture"])
            .env(ARGUMENTS, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn addresses(&mut self) -> Vec<SocketAddr> {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            if let Some(addresses) = line.trim().strip_prefix("listening ") {
                return addresses.split(',').map(|address| address.parse().unwrap()).collect();
            }
            line.clear();
        }
        panic!("no address was printed");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Exit code and standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status.code(), stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ready(client: &reqwest::Client, address: SocketAddr) {
    eventually("the process serves", || async {
        let health = client.get(format!("http://{address}/health")).send().await;
        health.is_ok_and(|response| response.status() == StatusCode::OK)
    })
    .await;
}

#[rstest]
#[case::terminate("TERM")]
#[case::interrupt("INT")]
#[tokio::test]
async fn a_signal_ends_the_process_cleanly(#[case] signal: &str) {
    let mut process = Process::start("--port 0 --servers 2");
    let addresses = process.addresses();
    assert_eq!(addresses.len(), 2);
    let client = reqwest::Client::new();
    ready(&client, addresses[1]).await;
    process.signal(signal);
    assert_eq!(process.end().0, Some(0));
}

#[tokio::test]
async fn ports_count_up_from_the_given_one() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut process = Process::start(&format!("--port {port} --servers 1"));
    assert_eq!(process.addresses(), [SocketAddr::from(([127, 0, 0, 1], port))]);
}

#[test]
fn a_taken_port_is_bad_input_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, stderr) = Process::start(&format!("--port {}", address.port())).end();
    assert_eq!(code, Some(2));
    assert!(stderr.contains(&format!("cannot listen on {address}: choose another --host or --port")), "{stderr}");
}

#[rstest]
#[case("--servers 0 --port 0", "--servers is 0")]
#[case("--servers 3 --port 65534", "--port 65534 with --servers 3 passes port 65535")]
#[case("--port 0 --max-num-seqs 4096", "--max-num-batched-tokens 2048 is less than --max-num-seqs 4096")]
#[case("--port 0 --gpu-file /nonexistent/gpu.json", "cannot replace the GPU file /nonexistent/gpu.json")]
#[case("--port 0 --num-gpu-blocks 8", "--max-model-len 8192 needs 512 KV blocks but --num-gpu-blocks is 8")]
fn settings_that_contradict_each_other_are_bad_input(#[case] arguments: &str, #[case] message: &str) {
    let (code, stderr) = Process::start(arguments).end();
    assert_eq!(code, Some(2));
    assert!(stderr.contains(message), "{stderr}");
}

#[tokio::test]
async fn a_crash_cuts_the_connection_and_ends_the_process() {
    let mut process = Process::start("--port 0 --model tiny-model --fault crash-at-request=2");
    let address = process.addresses()[0];
    let client = reqwest::Client::new();
    ready(&client, address).await;
    let send = || client.post(format!("http://{address}/v1/completions")).json(&completion("abc", 8, 1)).send();
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
    assert!(send().await.is_err(), "the connection is cut without an answer");
    let (code, stderr) = process.end();
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("simulated crash of the server on {address}")), "{stderr}");
}

#[test]
fn help_opens_with_an_example_and_names_every_fault() {
    let help = <CommandLine as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.starts_with("Example: teebench mock-vllm "), "{help}");
    assert!(help.contains("crash-at-request=N") && help.contains("[default: 2048]"));
}

#[rstest]
#[case(&["--profile", "h200"], true)]
#[case(&["--profile", "H100Nvl"], true)]
#[case(&["--profile", "A100"], false)]
#[case(&["--fault", "error-rate=0.1", "--fault", "never-ready"], true)]
#[case(&["--fault", "error-rate=2"], false)]
fn the_command_line_takes_what_it_names(#[case] arguments: &[&str], #[case] accepted: bool) {
    let line = std::iter::once(&"mock-vllm").chain(arguments);
    assert_eq!(CommandLine::try_parse_from(line).is_ok(), accepted);
}
