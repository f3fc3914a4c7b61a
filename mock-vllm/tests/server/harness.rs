//! Starts simulated servers in the test's runtime and talks to them.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::EngineConfig;
use teebench_mock_vllm::faults::Fault;
use teebench_mock_vllm::profile::ModelSize;
use teebench_mock_vllm::server::{Fleet, FleetConfig, ServeError};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Long enough for a loaded machine; reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub const MODEL: &str = "tiny-model";

/// A quick server of four sequences.
pub fn config() -> FleetConfig {
    FleetConfig {
        host: "127.0.0.1".to_owned(),
        port: 0,
        servers: 1,
        model: MODEL.to_owned(),
        engine: EngineConfig {
            max_num_seqs: 4,
            max_num_batched_tokens: 2048,
            max_model_len: 4096,
            num_gpu_blocks: 1024,
            enable_prefix_caching: true,
            enforce_eager: false,
        },
        profile: Profile::Tiny,
        model_size: ModelSize::B8,
        step_cost: None,
        confidential: false,
        seed: 7,
        arm: String::new(),
        ordinal: 0,
        gpu_file: None,
        faults: Vec::new(),
        admin: false,
        version: "0.25.1+simulated".to_owned(),
        start_delay: Duration::ZERO,
    }
}

/// The same with faults.
pub fn faulty(faults: &[&str]) -> FleetConfig {
    FleetConfig { faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(), ..config() }
}

pub struct Simulator {
    pub client: Client,
    pub addresses: Vec<SocketAddr>,
    pub serving: JoinHandle<Result<(), ServeError>>,
    pub shutdown: CancellationToken,
    _end: DropGuard,
}

impl Simulator {
    /// Starts servers and waits until all are ready.
    pub async fn ready(config: FleetConfig) -> Self {
        let simulator = Self::start(config).await;
        for server in 0..simulator.addresses.len() {
            eventually("the server is ready", || simulator.accepts(server)).await;
        }
        simulator
    }

    /// Starts servers that still load.
    pub async fn start(config: FleetConfig) -> Self {
        let fleet = Fleet::bind(config).await.unwrap();
        let addresses = fleet.addresses();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(fleet.serve(shutdown.clone()));
        Self { client: Client::new(), addresses, serving, _end: shutdown.clone().drop_guard(), shutdown }
    }

    /// Whether a server takes connections and says that it is well.
    pub async fn accepts(&self, server: usize) -> bool {
        let health = self.client.get(self.url(server, "/health")).send().await;
        health.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// Whether a server refuses a new connection.
    pub async fn refuses(&self, server: usize) -> bool {
        let connected = tokio::net::TcpStream::connect(self.addresses[server]).await;
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    pub fn url(&self, server: usize, path: &str) -> String {
        format!("http://{}{path}", self.addresses[server])
    }

    pub async fn get_from(&self, server: usize, path: &str) -> Response {
        self.client.get(self.url(server, path)).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.get_from(0, path).await
    }

    pub async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(0, path)).json(body).send().await.unwrap()
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Value {
        self.post(path, body).await.json().await.unwrap()
    }

    /// One metric's value, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        sum_of(&text, name).unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    /// Waits until a metric has a value that will do.
    pub async fn metric_becomes(&self, name: &str, will_do: impl Fn(f64) -> bool) {
        eventually(name, || async { will_do(self.metric(name).await) }).await;
    }
}

/// Sum of a metric over its labels in an exposition.
pub fn sum_of(exposition: &str, name: &str) -> Option<f64> {
    let values: Vec<f64> = exposition
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Waits for a condition.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "in {DEADLINE:?} it did not happen that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A completion request of a text of about `tokens` tokens.
pub fn completion(owner: &str, tokens: usize, max_tokens: u32) -> Value {
    let mut prompt = owner.repeat(4 * tokens / owner.len() + 1);
    prompt.truncate(4 * tokens);
    json!({"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": true})
}

/// `request` with more fields.
pub fn with(mut request: Value, fields: &Value) -> Value {
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

/// The JSON of each event of a stream, and whether it ended with the end marker.
pub fn events(body: &str) -> (Vec<Value>, bool) {
    assert!(body.is_empty() || body.ends_with("\n\n"), "an event is cut: {body:?}");
    let mut data: Vec<&str> =
        body.split("\n\n").filter(|event| !event.is_empty()).map(|e| e.strip_prefix("data: ").unwrap()).collect();
    let done = data.last() == Some(&"[DONE]");
    if done {
        data.pop();
    }
    (data.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect(), done)
}

/// Text of a stream's completion chunks.
pub fn streamed_text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
}
