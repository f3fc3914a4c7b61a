//! How many chunks one core can send, and how late they leave: `cargo bench -p teebench-mock-vllm [-- paced]`.
//!
//! The servers run on a thread of their own, as `teebench mock-vllm` runs them; its processor time is read from the
//! kernel, so the figure of merit (processor time a chunk) hardly depends on what else the machine does. The client
//! counts nothing and parses nothing: it reads until the end marker of each reply.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::{ApiServerCost, EngineConfig, StepCost};
use teebench_mock_vllm::profile::ModelSize;
use teebench_mock_vllm::server::{Fleet, FleetConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// End of a chunked body.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// A load, and the pace of its steps.
struct Scenario {
    name: &'static str,
    servers: u32,
    sequences: u32,
    step: Duration,
    output_tokens: u32,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "paced: 8 servers x 256 sequences, a step each 82 ms",
        servers: 8,
        sequences: 256,
        step: Duration::from_micros(81_920),
        output_tokens: 150,
    },
    Scenario {
        name: "paced: 1 server x 256 sequences, a step each 10 ms",
        servers: 1,
        sequences: 256,
        step: Duration::from_millis(10),
        output_tokens: 1000,
    },
    Scenario {
        name: "unpaced: 1 server x 256 sequences",
        servers: 1,
        sequences: 256,
        step: Duration::from_nanos(1),
        output_tokens: 2000,
    },
    Scenario {
        name: "unpaced: 8 servers x 256 sequences",
        servers: 8,
        sequences: 256,
        step: Duration::from_nanos(1),
        output_tokens: 500,
    },
];

struct Measured {
    chunks: f64,
    wall: Duration,
    processor: ProcessorTime,
    lateness: String,
}

/// Time of the servers' thread.
struct ProcessorTime {
    user: Duration,
    system: Duration,
}

fn main() {
    println!(
        "{:<58} {:>9} {:>9} {:>8} {:>8} {:>13}  lateness",
        "scenario", "chunks/s", "us/chunk", "user", "system", "chunks/core s"
    );
    // Cargo adds flags of its own; the other argument is part of a scenario's name.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&wanted)) {
        let Measured { chunks, wall, processor: ProcessorTime { user, system }, lateness } = measure(scenario);
        let per_chunk_us = |time: Duration| time.as_secs_f64() * 1e6 / chunks;
        println!(
            "{:<58} {:>9.0} {:>9.2} {:>8.2} {:>8.2} {:>13.0}  {lateness}",
            scenario.name,
            chunks / wall.as_secs_f64(),
            per_chunk_us(user + system),
            per_chunk_us(user),
            per_chunk_us(system),
            chunks / (user + system).as_secs_f64(),
        );
    }
}

fn measure(scenario: &Scenario) -> Measured {
    let config = config(scenario);
    let shutdown = CancellationToken::new();
    let (bound, addresses) = mpsc::channel();
    let (sampled, samples) = mpsc::channel();
    let halt = shutdown.clone();
    let server = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        runtime.block_on(async {
            let fleet = Fleet::bind(config).await.expect("loopback has free ports");
            bound.send(fleet.addresses()).expect("the bench waits for the addresses");
            fleet.serve(halt).await.expect("no fault is planned");
        });
        sampled.send(thread_processor_time()).expect("the bench waits for the time");
    });
    let addresses = addresses.recv().expect("the servers are bound");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let (wall, lateness) = runtime.block_on(load(&addresses, scenario));
    shutdown.cancel();
    server.join().expect("the servers end by themselves");
    let processor = samples.recv().expect("the server's thread told its time");
    let chunks = f64::from(scenario.servers * scenario.sequences) * f64::from(scenario.output_tokens);
    Measured { chunks, wall, processor, lateness }
}

fn config(scenario: &Scenario) -> FleetConfig {
    FleetConfig {
        host: "127.0.0.1".to_owned(),
        port: 0,
        servers: scenario.servers,
        model: "simulated".to_owned(),
        engine: EngineConfig {
            max_num_seqs: scenario.sequences,
            max_num_batched_tokens: 8192,
            max_model_len: 4096,
            num_gpu_blocks: 256 * scenario.sequences,
            enable_prefix_caching: true,
            enforce_eager: false,
        },
        profile: Profile::Tiny,
        model_size: ModelSize::B8,
        step_cost: Some(StepCost {
            per_request_us: 0.0,
            api_server: ApiServerCost::NONE,
            base_us: scenario.step.as_secs_f64() * 1e6,
            per_decode_sequence_us: 0.0,
            per_prefill_token_us: 0.0,
            per_kv_token_us: 0.0,
            prefill_tile_tokens: 1.0,
            launch_us: 0.0,
            schedule_us: 0.0,
            schedule_per_sequence_us: 0.0,
            schedule_per_new_request_us: 0.0,
            confidential: None,
        }),
        confidential: false,
        seed: 0,
        arm: String::new(),
        ordinal: 0,
        gpu_file: None,
        faults: Vec::new(),
        admin: false,
        version: "0.25.1+simulated".to_owned(),
        start_delay: Duration::ZERO,
    }
}

fn thread_processor_time() -> ProcessorTime {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread can read its own usage");
    let duration = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    ProcessorTime { user: duration(usage.user_time()), system: duration(usage.system_time()) }
}

/// Sends one request on each connection, and waits for all replies; then asks each server how late it was since all
/// streams had begun, so that accepting connections, which happens once, is left out.
async fn load(addresses: &[SocketAddr], scenario: &Scenario) -> (Duration, String) {
    for address in addresses {
        while get(*address, "/health").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let started = Instant::now();
    let mut streams = tokio::task::JoinSet::new();
    let begun = Arc::new(Semaphore::new(0));
    for (server, address) in (0..scenario.servers).zip(addresses) {
        // Servers are independent, so their steps are not in phase; those of one server always are.
        tokio::time::sleep_until((started + scenario.step * server / scenario.servers).into()).await;
        for sequence in 0..scenario.sequences {
            let number = server * scenario.sequences + sequence;
            streams.spawn(stream(*address, number, scenario.output_tokens, begun.clone()));
        }
    }
    let all = begun.acquire_many(scenario.servers * scenario.sequences).await.expect("the semaphore is never closed");
    let before = lateness_counts(addresses).await;
    drop(all);
    streams.join_all().await;
    let wall = started.elapsed();
    let mut late = lateness_counts(addresses).await;
    for ((_, count), (_, earlier)) in late.iter_mut().zip(&before) {
        *count -= earlier;
    }
    (wall, lateness(&late))
}

/// Cumulative counts of all servers' histograms of lateness, by their bounds.
async fn lateness_counts(addresses: &[SocketAddr]) -> Vec<(f64, f64)> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for address in addresses {
        let metrics = get(*address, "/metrics").await.expect("a server that loaded answers");
        for line in metrics.lines().filter(|line| line.contains("emission_lateness_seconds_bucket")) {
            let Some(bound) = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()) else { continue };
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, total)) => *total += count,
                None => buckets.push((bound, count)),
            }
        }
    }
    buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
    buckets
}

/// The bounds under which 50 and 99 of 100 emissions lie; empty where most are beyond all bounds, as without a pace.
fn lateness(buckets: &[(f64, f64)]) -> String {
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    let below = |share: f64| {
        buckets.iter().find(|(_, count)| *count >= share * total).map_or(f64::NAN, |(bound, _)| bound * 1e3)
    };
    if !below(0.5).is_finite() {
        return String::new();
    }
    format!("p50 <= {:.1} ms, p99 <= {:.1} ms", below(0.5), below(0.99))
}

/// The reply of a server; connections are refused until it has loaded.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await?;
    Ok(reply)
}

async fn stream(address: SocketAddr, number: u32, output_tokens: u32, begun: Arc<Semaphore>) {
    let mut connection = TcpStream::connect(address).await.expect("the server listens");
    connection.set_nodelay(true).expect("the option is known");
    let body = format!(
        r#"{{"model":"simulated","prompt":[{number},1,2,3],"max_tokens":{output_tokens},"ignore_eos":true,"stream":true}}"#
    );
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all((head + &body).as_bytes()).await.expect("a request can be sent");
    let mut buffer = vec![0; 64 << 10];
    let mut tail: Vec<u8> = Vec::new();
    let mut begins = Some(begun);
    while !tail.ends_with(END) {
        let read = connection.read(&mut buffer).await.expect("the reply can be read");
        assert!(read > 0, "the reply broke off");
        if let Some(begun) = begins.take() {
            begun.add_permits(1);
        }
        let keep = tail.len().min(END.len());
        tail.drain(..tail.len() - keep);
        tail.extend_from_slice(&buffer[read.saturating_sub(END.len())..read]);
    }
}
