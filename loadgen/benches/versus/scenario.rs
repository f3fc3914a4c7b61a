//! What is compared: a pace, a load, and the figures that tell.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use super::clients::{Client, Figures, Load, pinned};

/// Cores of the server and of the client.
pub const SERVER_CORE: usize = 0;
pub const CLIENT_CORE: usize = 1;

/// One comparison.
pub struct Scenario {
    title: &'static str,
    ttft_ms: u64,
    itl_ms: u64,
    load: Load,
    /// The clients that take part.
    takes_part: fn(&Client) -> bool,
    rows: &'static [Row],
}

/// A figure of the table.
struct Row {
    name: &'static str,
    goal: &'static str,
    figure: fn(&Figures, &Scenario) -> Option<f64>,
}

const LATENCIES: &[Row] = &[
    Row { name: "TTFT p50 (ms), true 50", goal: "51", figure: |figures, _| figures.ttft_p50_ms },
    Row { name: "TTFT p99 (ms)", goal: "55", figure: |figures, _| figures.ttft_p99_ms },
    Row {
        name: "ITL p99 above the true 10 (ms)",
        goal: "5",
        figure: |figures, scenario| Some(figures.itl_p99_ms? - scenario.itl_ms as f64),
    },
    Row {
        name: "share of the ideal throughput",
        goal: "0.9",
        figure: |figures, scenario| Some(figures.chunks_per_s? / scenario.ideal_chunks_per_s()),
    },
];

const UNPACED: &[Row] = &[
    Row { name: "chunks/s", goal: "500000", figure: |figures, _| figures.chunks_per_s },
    // What a core of its own would give, on a machine whose cores are shared.
    Row {
        name: "chunks per second of CPU time",
        goal: "500000",
        figure: |figures, scenario| Some((scenario.load.requests * scenario.load.chunks) as f64 / figures.cpu_s),
    },
];

impl Scenario {
    /// All comparisons, with numbers of requests scaled.
    pub fn all(scale: f64) -> Vec<Scenario> {
        let requests = |count: f64| (count * scale).ceil() as usize;
        vec![
            Scenario {
                title: "256 in flight, TTFT 50 ms, ITL 10 ms, 128 chunks (25k chunks/s)",
                ttft_ms: 50,
                itl_ms: 10,
                load: Load { requests: requests(1_280.0), in_flight: Some(256), rate: None, chunks: 128 },
                takes_part: |_| true,
                rows: LATENCIES,
            },
            Scenario {
                title: "1,024 in flight, TTFT 50 ms, ITL 10 ms, 128 chunks (99k chunks/s)",
                ttft_ms: 50,
                itl_ms: 10,
                load: Load { requests: requests(5_120.0), in_flight: Some(1_024), rate: None, chunks: 128 },
                takes_part: |client| !matches!(client, Client::Guidellm { .. } | Client::Aiperf { .. }),
                rows: LATENCIES,
            },
            Scenario {
                title: "unpaced, 64 in flight, 128 chunks",
                ttft_ms: 0,
                itl_ms: 0,
                load: Load { requests: requests(20_000.0), in_flight: Some(64), rate: None, chunks: 128 },
                takes_part: |client| matches!(client, Client::Ours | Client::Bare { .. }),
                rows: UNPACED,
            },
            Scenario {
                title: "unpaced, 64 in flight, 128 chunks, clients in Python",
                ttft_ms: 0,
                itl_ms: 0,
                load: Load { requests: requests(1_000.0), in_flight: Some(64), rate: None, chunks: 128 },
                takes_part: |client| !matches!(client, Client::Bare { .. }),
                rows: UNPACED,
            },
            Scenario {
                title: "1,000 requests/s of 8 chunks, Poisson",
                ttft_ms: 50,
                itl_ms: 10,
                load: Load { requests: requests(10_000.0), in_flight: None, rate: Some(1_000.0), chunks: 8 },
                takes_part: |client| matches!(client, Client::Ours),
                rows: &[
                    Row { name: "send lateness p99 (ms)", goal: "1", figure: |figures, _| figures.lateness_p99_ms },
                    Row { name: "TTFT p99 (ms), true 50", goal: "55", figure: |figures, _| figures.ttft_p99_ms },
                ],
            },
            Scenario {
                title: "100,000 detailed requests of 128 chunks, unpaced",
                ttft_ms: 0,
                itl_ms: 0,
                load: Load { requests: requests(100_000.0), in_flight: Some(64), rate: None, chunks: 128 },
                takes_part: |client| matches!(client, Client::Ours),
                rows: &[Row { name: "peak memory (MiB)", goal: "400", figure: |figures, _| figures.peak_mib }],
            },
        ]
    }

    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Runs the clients in turn, so many times, and prints the medians and their ratios to the first client's.
    pub fn run(&self, clients: &[Client], repetitions: usize, directory: &Path) -> anyhow::Result<()> {
        let clients: Vec<&Client> = clients.iter().filter(|client| (self.takes_part)(client)).collect();
        // Of each client one entry for each repetition, `None` where it failed.
        let mut figures: Vec<Vec<Option<Figures>>> = clients.iter().map(|_| Vec::new()).collect();
        let mut late_us = Vec::new();
        for _ in 0..repetitions {
            for (client, figures) in clients.iter().zip(&mut figures) {
                // Its own server each time: what one client leaves behind burdens no other.
                let server = Server::start(self)?;
                let measured = client.measure(&server.base_url, &self.load, directory);
                late_us.push(server.late_p99_us()?);
                figures.push(measured.inspect_err(|error| eprintln!("{}: {error:#}", client.name())).ok());
            }
        }
        println!("\n{}", self.title);
        print!("{:<34}{:>10}", "", "goal");
        clients.iter().for_each(|client| print!("{:>36}", client.name()));
        println!();
        for row in self.rows {
            print!("{:<34}{:>10}", row.name, row.goal);
            let values: Vec<Vec<Option<f64>>> = figures
                .iter()
                .map(|of_client| of_client.iter().map(|figures| (row.figure)(figures.as_ref()?, self)).collect())
                .collect();
            for (number, of_client) in values.iter().enumerate() {
                let first = values.first().filter(|_| number > 0);
                print!("{:>36}", cell(of_client, first.map(Vec::as_slice)));
            }
            println!();
        }
        late_us.sort_unstable();
        println!(
            "{:<44}{:>36}",
            "the server's own lateness p99, worst (ms)",
            late_us.last().map_or(0.0, |&us| us as f64 / 1e3)
        );
        std::io::stdout().flush()?;
        Ok(())
    }

    /// Chunks per second if every chunk came and every next request left at once.
    fn ideal_chunks_per_s(&self) -> f64 {
        let Load { in_flight, chunks, .. } = self.load;
        let request_s = (self.ttft_ms as f64 + (chunks - 1) as f64 * self.itl_ms as f64) / 1e3;
        in_flight.unwrap_or(1) as f64 * chunks as f64 / request_s
    }
}

/// The median with the least and the greatest value, and the median of the ratios to another client's values, each to
/// that of the same repetition: what the machine did meanwhile struck both.
fn cell(values: &[Option<f64>], others: Option<&[Option<f64>]>) -> String {
    let known = sorted(values.iter().flatten().copied());
    let Some(median) = median_of_sorted(&known) else { return "-".to_owned() };
    let range = format!("{} ({}-{})", brief(median), brief(known[0]), brief(known[known.len() - 1]));
    let ratios = values.iter().zip(others.unwrap_or_default()).filter_map(|(value, other)| Some((*value)? / (*other)?));
    match median_of_sorted(&sorted(ratios)) {
        Some(ratio) => format!("{range} x{}", brief(ratio)),
        None => range,
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

/// A number with as many digits as tell something.
fn brief(value: f64) -> String {
    match value.abs() {
        10_000.0.. => format!("{:.0}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The server as a process on its own core; ended when dropped.
struct Server {
    process: Child,
    base_url: String,
}

impl Server {
    fn start(scenario: &Scenario) -> anyhow::Result<Server> {
        let Scenario { ttft_ms, itl_ms, load, .. } = scenario;
        let mut command: Command = pinned(SERVER_CORE, std::env::current_exe()?);
        command.arg("serve").args([ttft_ms.to_string(), itl_ms.to_string(), load.chunks.to_string()]);
        let mut process = command.stdout(Stdio::piped()).spawn().context("taskset: cannot be started")?;
        let mut base_url = String::new();
        BufReader::new(process.stdout.take().context("the server has no standard output")?).read_line(&mut base_url)?;
        Ok(Server { process, base_url: base_url.trim().to_owned() })
    }

    /// How late the server itself was, so that it can be told from the clients.
    fn late_p99_us(&self) -> anyhow::Result<u64> {
        let mut socket = TcpStream::connect(self.base_url.trim_start_matches("http://"))?;
        socket.write_all(b"GET /stats HTTP/1.1\r\n\r\n")?;
        let mut answer = [0; 512];
        let count = socket.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        let (_, body) = answer.split_once("\r\n\r\n").context("the server's figures have no body")?;
        let stats: serde_json::Value = serde_json::from_str(body)?;
        stats["late_p99_us"].as_u64().context("the server's figures have no lateness")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
