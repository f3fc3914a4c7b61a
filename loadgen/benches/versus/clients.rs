//! The clients, each as its users start it, and where each says what it measured.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::Value;

use super::scenario::CLIENT_CORE;

/// What is sent.
pub struct Load {
    pub requests: usize,
    pub in_flight: Option<usize>,
    /// Requests per second, when they come by themselves.
    pub rate: Option<f64>,
    pub chunks: usize,
}

/// What a client says that it measured.
#[derive(Debug, Default)]
pub struct Figures {
    pub ttft_p50_ms: Option<f64>,
    pub ttft_p99_ms: Option<f64>,
    pub itl_p99_ms: Option<f64>,
    pub chunks_per_s: Option<f64>,
    pub lateness_p99_ms: Option<f64>,
    pub peak_mib: Option<f64>,
    /// CPU time of the whole process, its start and its report included, in seconds.
    pub cpu_s: f64,
}

pub enum Client {
    /// `teebench loadgen`, built into this program.
    Ours,
    /// `bare.c`, compiled on the spot.
    Bare {
        program: PathBuf,
    },
    /// `vllm bench serve`.
    Vllm {
        command: Vec<String>,
        tokenizer: PathBuf,
    },
    Aiperf {
        command: Vec<String>,
        tokenizer: PathBuf,
    },
    Guidellm {
        command: Vec<String>,
        tokenizer: PathBuf,
    },
}

/// A program on one core.
pub fn pinned(core: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

impl Client {
    /// Those that can be run here: ours, the bare one where there is a C compiler, others that a variable names.
    pub fn available(directory: &Path) -> anyhow::Result<Vec<Client>> {
        let mut clients = vec![Client::Ours];
        let program = directory.join("bare");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/versus/bare.c");
        match Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(source).status() {
            Ok(status) if status.success() => clients.push(Client::Bare { program }),
            _ => eprintln!("no C compiler: the bare client is left out"),
        }
        let command = |name: &str| env::var(name).ok().map(|line| line.split_whitespace().map(str::to_owned).collect());
        let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("crosscheck/tokenizer");
        if let Some(command) = command("VERSUS_VLLM") {
            clients.push(Client::Vllm { command, tokenizer: tokenizer.clone() });
        }
        if let Some(command) = command("VERSUS_AIPERF") {
            clients.push(Client::Aiperf { command, tokenizer: tokenizer.clone() });
        }
        if let Some(command) = command("VERSUS_GUIDELLM") {
            clients.push(Client::Guidellm { command, tokenizer: tokenizer.clone() });
        }
        Ok(clients)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Client::Ours => "ours",
            Client::Bare { .. } => "bare C",
            Client::Vllm { .. } => "vLLM",
            Client::Aiperf { .. } => "aiperf",
            Client::Guidellm { .. } => "guidellm",
        }
    }

    /// Runs it once.
    pub fn measure(&self, base_url: &str, load: &Load, directory: &Path) -> anyhow::Result<Figures> {
        let out = directory.join("out");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::create_dir(&out)?;
        let command = self.command(base_url, load, &out)?;
        let cpu_before_s = cpu_of_children_s()?;
        let Output { status, stdout, stderr } = { command }.output().context("it cannot be started")?;
        let cpu_s = cpu_of_children_s()? - cpu_before_s;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let tail = |text: &str| text.lines().rev().take(6).collect::<Vec<_>>().join(" | ");
        ensure!(status.success(), "{status}: {} {}", tail(&stderr), tail(&stdout));
        let figures = match self {
            Client::Ours => ours(&out, &stderr),
            Client::Bare { .. } => bare(&stdout),
            Client::Vllm { .. } => vllm(&out),
            Client::Aiperf { .. } => aiperf(&out),
            Client::Guidellm { .. } => guidellm(&out, load.chunks),
        };
        Ok(Figures { cpu_s, ..figures? })
    }

    fn command(&self, base_url: &str, load: &Load, out: &Path) -> anyhow::Result<Command> {
        let Load { requests, in_flight, rate, chunks } = load;
        let in_flight = in_flight.unwrap_or(*requests);
        let command = match self {
            Client::Ours => {
                let mut command = pinned(CLIENT_CORE, env::current_exe()?);
                command.args(["ours", "--base-url", base_url]).args(vllm_flags(load));
                command.arg("--client-file").arg(out.join("client.json")).args(["--disable-tqdm", "--save-detailed"]);
                match rate {
                    Some(rate) => command.arg("--request-rate").arg(rate.to_string()),
                    None => command.arg("--max-concurrency").arg(in_flight.to_string()),
                };
                command.arg("--save-result").arg("--result-dir").arg(out).args(["--result-filename", "bench.json"]);
                command
            }
            Client::Bare { program } => {
                let mut command = pinned(CLIENT_CORE, program);
                let (host, port) = base_url.trim_start_matches("http://").split_once(':').context("no port")?;
                command.args([host, port, &in_flight.to_string(), &requests.to_string(), &chunks.to_string()]);
                command
            }
            Client::Vllm { command: start, tokenizer } => {
                let mut command = started(start);
                command.args(["--base-url", base_url]).args(vllm_flags(load)).arg("--disable-tqdm");
                command.args(["--endpoint", "/v1/completions", "--ready-check-timeout-sec", "0"]);
                command.arg("--max-concurrency").arg(in_flight.to_string()).arg("--tokenizer").arg(tokenizer);
                command.arg("--save-result").arg("--result-dir").arg(out).args(["--result-filename", "bench.json"]);
                command
            }
            Client::Aiperf { command: start, tokenizer } => {
                let mut command = started(start);
                command.args(["profile", "--model", "m", "--url", base_url, "--endpoint-type", "completions"]);
                command.args(["--streaming", "--ui", "none", "--use-server-token-count", "--no-server-metrics"]);
                command.args(["--no-gpu-telemetry", "--isl", "8", "--osl", &chunks.to_string()]);
                command.args(["--concurrency", &in_flight.to_string(), "--request-count", &requests.to_string()]);
                command.arg("--tokenizer").arg(tokenizer).arg("--artifact-dir").arg(out);
                command
            }
            Client::Guidellm { command: start, tokenizer } => {
                let mut command = started(start);
                command.arg("run").arg("--backend");
                command.arg(format!("kind=openai_http,target={base_url},model=m,request_format=/v1/completions"));
                command.arg("--profile").arg(format!("kind=concurrent,streams={in_flight}"));
                command.arg("--constraint").arg(format!("kind=max_requests,count={requests}"));
                command.arg("--tokenizer").arg(format!("kind=huggingface_auto,model={}", tokenizer.display()));
                command.arg("--data").arg(format!("kind=synthetic_text,prompt_tokens=8,output_tokens={chunks}"));
                command.arg("--output").arg(format!("kind=json,path={}", out.join("benchmarks.json").display()));
                command.arg("--disable-console");
                command
            }
        };
        Ok(command)
    }
}

/// The flags that ours has from vLLM's.
fn vllm_flags(load: &Load) -> Vec<String> {
    let Load { requests, chunks, .. } = load;
    let flags = format!(
        "--model m --backend openai --dataset-name random --random-input-len 8 --random-output-len {chunks} \
         --num-prompts {requests} --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,99"
    );
    flags.split_whitespace().map(str::to_owned).collect()
}

fn started(command: &[String]) -> Command {
    let mut started = pinned(CLIENT_CORE, &command[0]);
    started.args(&command[1..]);
    started
}

/// CPU time of all child processes that have ended and been waited for, in seconds.
fn cpu_of_children_s() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: no JSON", path.display()))
}

fn vllm(out: &Path) -> anyhow::Result<Figures> {
    // Read as text: a detailed file of 100,000 requests is far larger as a tree than the client that wrote it.
    let text = fs::read_to_string(out.join("bench.json"))?;
    let number = |key: &str| -> Option<f64> {
        let (_, rest) = text.rsplit_once(&format!("\"{key}\": "))?;
        rest.split([',', '}']).next()?.trim().parse().ok()
    };
    Ok(Figures {
        ttft_p50_ms: number("p50_ttft_ms"),
        ttft_p99_ms: number("p99_ttft_ms"),
        itl_p99_ms: number("p99_itl_ms"),
        chunks_per_s: number("output_throughput"),
        ..Figures::default()
    })
}

fn ours(out: &Path, stderr: &str) -> anyhow::Result<Figures> {
    let client = read(&out.join("client.json"))?;
    let kib = stderr.lines().find_map(|line| line.strip_prefix("peak-rss-kib ")?.parse::<f64>().ok());
    let lateness_p99_ms = client["send_lateness_ms"]["p99"].as_f64();
    Ok(Figures { lateness_p99_ms, peak_mib: kib.map(|kib| kib / 1024.0), ..vllm(out)? })
}

fn bare(stdout: &str) -> anyhow::Result<Figures> {
    let said: Value = serde_json::from_str(stdout.trim())?;
    let number = |key: &str| said[key].as_f64();
    Ok(Figures {
        ttft_p50_ms: number("ttft_p50_ms"),
        ttft_p99_ms: number("ttft_p99_ms"),
        itl_p99_ms: number("itl_p99_ms"),
        chunks_per_s: number("chunks_per_s"),
        ..Figures::default()
    })
}

fn aiperf(out: &Path) -> anyhow::Result<Figures> {
    let said = read(&out.join("profile_export_aiperf.json"))?;
    let number = |metric: &str, figure: &str| said[metric][figure].as_f64();
    Ok(Figures {
        ttft_p50_ms: number("time_to_first_token", "p50"),
        ttft_p99_ms: number("time_to_first_token", "p99"),
        // Of the mean gap of each request: aiperf has no distribution over single gaps.
        itl_p99_ms: number("inter_token_latency", "p99"),
        chunks_per_s: number("output_token_throughput", "avg"),
        ..Figures::default()
    })
}

fn guidellm(out: &Path, chunks: usize) -> anyhow::Result<Figures> {
    let said = read(&out.join("benchmarks.json"))?;
    let metrics = &said["benchmarks"][0]["metrics"];
    let number = |metric: &str, figure: &str| metrics[metric]["successful"]["percentiles"][figure].as_f64();
    let requests_per_s = metrics["requests_per_second"]["successful"]["mean"].as_f64();
    Ok(Figures {
        ttft_p50_ms: number("time_to_first_token_ms", "p50"),
        ttft_p99_ms: number("time_to_first_token_ms", "p99"),
        itl_p99_ms: number("inter_token_latency_ms", "p99"),
        chunks_per_s: requests_per_s.map(|rate| rate * chunks as f64),
        ..Figures::default()
    })
}
