//! A process of the real binary that prints where it listens, and calls to its ports.

use std::{path::Path, process::ExitStatus, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{eventually, within};

/// A process that ends with the test.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What it printed first.
    pub line: String,
}

impl Process {
    pub async fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teebench"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        within("its first line", stdout.read_line(&mut line)).await.unwrap();
        Self { child, line }
    }

    pub fn send(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()), signal).unwrap();
    }

    pub async fn ended(mut self) -> ExitStatus {
        within("the process to end", self.child.wait()).await.unwrap()
    }

    pub async fn kill(self) {
        self.send(Signal::SIGKILL);
        self.ended().await;
    }
}

/// A simulated vLLM server, which listens on `port`.
pub async fn engine(port: u16) -> Process {
    let port = port.to_string();
    let words = ["mock-vllm", "--port", &port, "--model", "tiny", "--max-num-seqs", "8", "--profile", "Tiny"];
    // A port that was free a moment ago may serve a connection of somebody else's until that ends.
    let start = async || Process::start(&words).await;
    let process = eventually("a server on its port", start, |process| !process.line.is_empty()).await;
    let (client, health) = (Client::new(), format!("{}/health", url(&process)));
    let status = async || client.get(&health).send().await.map(|answer| answer.status()).ok();
    eventually("the server's health", status, |status| *status == Some(StatusCode::OK)).await;
    process
}

/// Where a simulated server listens.
pub fn url(engine: &Process) -> String {
    format!("http://{}", engine.line.split_whitespace().nth(1).unwrap())
}

/// A router.
pub struct Router {
    pub process: Process,
    /// URLs of its ports.
    pub data: String,
    pub control: String,
    client: Client,
}

impl Router {
    pub async fn start(more: &[&str]) -> Self {
        let words = ["router", "--port", "0", "--control-port", "0", "--drain-seconds", "60"];
        let process = Process::start(&[&words, more].concat()).await;
        let port = |name: &str| {
            let address = process.line.split_whitespace().find_map(|word| word.strip_prefix(name));
            format!("http://{}", address.unwrap_or_else(|| panic!("{:?}", process.line)))
        };
        Self { data: port("data="), control: port("control="), process, client: Client::new() }
    }

    /// A router whose log is written to a file as JSON.
    pub async fn logging(file: &Path, workers: &[&str]) -> Self {
        let file = file.to_str().unwrap();
        let words = ["--access-log", "--log-json", "--log-file", file, "--policy", "round_robin", "--worker-urls"];
        Self::start(&[&words, workers].concat()).await
    }

    pub async fn begin(&self, epoch: &Value) -> StatusCode {
        let request = self.client.put(format!("{}/epoch", self.control)).body(epoch.to_string());
        within("the epoch", request.send()).await.unwrap().status()
    }

    /// One of the control port's objects.
    pub async fn get(&self, path: &str) -> Value {
        let answer = within("the control port", self.client.get(format!("{}{path}", self.control)).send()).await;
        serde_json::from_slice(&within("its body", answer.unwrap().bytes()).await.unwrap()).unwrap()
    }

    pub async fn nodes(&self) -> u64 {
        self.get("/epoch").await["treeNodes"].as_u64().unwrap()
    }

    /// Its requests in flight.
    pub async fn in_flight(&self) -> u64 {
        let metrics = self.get("/metrics.json").await;
        metrics["workers"].as_array().unwrap().iter().map(|worker| worker["inFlight"].as_u64().unwrap()).sum()
    }
}

/// Asks a data port to complete a prompt.
pub async fn complete(client: &Client, url: &str, prompt: &str, is_streamed: bool) -> reqwest::Result<Response> {
    let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 8, "stream": is_streamed});
    let request = client.post(format!("{url}/v1/completions")).header("content-type", "application/json");
    request.body(body.to_string()).send().await
}
