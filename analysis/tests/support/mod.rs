//! Writes results trees as a campaign leaves them, with made-up figures whose true effects are known.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use serde_json::{Value, json};
use teebench_api::{
    campaign::BenchmarkCampaignSpec,
    files::{client::ClientFile, energy::EnergyFile, run::RunFile},
    plan::{self, Block, Plan, PlannedRun},
    policy::RouterPolicySpec,
};

/// True ratio of output throughput, TEE on over off.
pub const TEE_THROUGHPUT: f64 = 0.93;

/// What a tree is to hold.
#[derive(Clone)]
pub struct Tree {
    /// Repetitions.
    pub repetitions: u32,
    /// Requests of each run.
    pub requests: u32,
    /// Output tokens of each request.
    pub tokens: u32,
    /// Arms whose runs are written; the plan has both in any case.
    pub arms: Vec<&'static str>,
    /// Whether the engine is the simulator.
    pub simulated: bool,
    /// Whether arrivals outrun completions.
    pub overload: bool,
    /// Spread of a run's speed, as the deviation of its logarithm.
    pub noise: f64,
    /// Routers of the plan.
    pub routers: Vec<&'static str>,
    /// GPU product of the arm with the TEE on.
    pub gpu_on: &'static str,
    /// When servers are started anew.
    pub restart: &'static str,
    /// Request rates of the experiment, in thousandths of a request per second: a condition each.
    pub rates_milli: Vec<u32>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            repetitions: 6,
            requests: 100,
            tokens: 6,
            arms: vec!["cc-off", "cc-on"],
            simulated: true,
            overload: false,
            noise: 0.004,
            routers: vec!["direct", "hr-tree", "hr-tree-lb"],
            gpu_on: "NVIDIA H100 NVL",
            restart: "Repetition",
            rates_milli: vec![14_400],
        }
    }
}

impl Tree {
    /// The plan, made by the planner itself.
    pub fn plan(&self) -> Plan {
        let settings = json!({"replicas": 2, "maxNumSeqs": 4});
        let engine = if self.simulated {
            json!({"simulator": merged(settings, json!({"profile": "H100Nvl"})), "restart": self.restart})
        } else {
            let image = format!("vllm/vllm-openai@sha256:{}", "a".repeat(64));
            json!({"vllm": merged(settings, json!({"image": image})), "restart": self.restart})
        };
        let arm = |name: &str, tee: &str, price: &str| {
            json!({"name": name, "tee": tee, "nodePool": {"selector": {"pool": name}},
                "price": {"perMachineHour": price, "currency": "USD", "source": "list price", "asOf": "2026-07-01"}})
        };
        let routers: Vec<Value> = self
            .routers
            .iter()
            .map(|name| match *name {
                "direct" => json!({"name": "direct", "direct": {}}),
                name => json!({"name": name, "policyRef": {"name": name}}),
            })
            .collect();
        let spec: BenchmarkCampaignSpec = serde_json::from_value(json!({
            "seed": 54940,
            "engine": engine,
            "models": [{"name": "llama31-8b", "displayName": "Llama3.1 8B", "repository": "meta-llama/Llama-3.1-8B-Instruct",
                "revision": "0e9e39f249a16976918f6564b8830bc894c89659"}],
            "arms": [arm("cc-off", "Disabled", "6.98"), arm("cc-on", "Enabled", "8.40")],
            "comparison": {"factor": "Tee"},
            "routers": routers,
            "experiments": [{
                "name": "ablation",
                "dataset": {"toolbench": {"prompts": self.requests}},
                "load": {"requestRateMilli": self.rates_milli},
                "outputTokens": [self.tokens],
                "slo": {"ttftMilliseconds": 200},
                "repetitions": {"minimum": self.repetitions}
            }]
        }))
        .unwrap();
        let policies: BTreeMap<String, RouterPolicySpec> = ["hr-tree", "hr-tree-lb"]
            .into_iter()
            .map(|name| {
                let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {}});
                (name.to_owned(), serde_json::from_value(policy).unwrap())
            })
            .collect();
        plan::build("planetserve-ablation", &spec, &policies).unwrap()
    }

    /// Writes the tree into `directory` and gives the plan.
    pub fn write(&self, directory: &Path) -> Plan {
        let plan = self.plan();
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("plan.json"), plan.to_json()).unwrap();
        for (index, block) in plan.blocks.iter().enumerate() {
            for (position, run) in block.runs.iter().enumerate() {
                if self.arms.contains(&run.arm.as_str()) {
                    self.write_run(&plan, directory, index, block, run, position as u32);
                }
            }
        }
        plan
    }

    fn write_run(&self, plan: &Plan, root: &Path, index: usize, block: &Block, run: &PlannedRun, position: u32) {
        let directory = run_directory(root, plan, block, run, 1);
        fs::create_dir_all(&directory).unwrap();
        let mut random =
            ChaCha8Rng::seed_from_u64(block.seed ^ seed_of(&run.arm) ^ seed_of(&run.router).rotate_left(7));
        let noise: f64 = StandardNormal.sample(&mut random);
        let speed = true_speed(run) * (self.noise * noise).exp();
        let bench = self.bench(speed, &run.router, &mut random);
        let file = self.run_file(plan, index, block, run, position);
        let energy = self.energy(&bench, &run.arm);
        let client = self.client(&bench);
        write_json(&directory, "run.json", &serde_json::to_value(file).unwrap());
        write_json(&directory, "bench.json", &bench);
        write_json(&directory, "client.json", &serde_json::to_value(client).unwrap());
        write_json(&directory, "energy.json", &serde_json::to_value(energy).unwrap());
        fs::write(directory.join("SHA256SUMS"), "").unwrap();
    }

    fn bench(&self, speed: f64, router: &str, random: &mut ChaCha8Rng) -> Value {
        let hit = if router == "direct" { 1.0 } else { 0.55 };
        let gap_s = 1.0 / 14.4;
        let service_s = if self.overload { 1.6 * gap_s / speed } else { 0.8 * gap_s / speed };
        let mut free_at = 0.0_f64;
        let (mut ttfts, mut itls, mut latencies, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for request in 0..self.requests {
            let start = f64::from(request) * gap_s;
            free_at = free_at.max(start) + service_s;
            let waited = free_at - start - service_s;
            let ttft = waited + 0.09 * hit / speed * jitter(random);
            let gaps: Vec<f64> = (1..self.tokens).map(|_| 0.009 / speed * jitter(random)).collect();
            latencies.push(ttft + gaps.iter().sum::<f64>());
            ttfts.push(ttft);
            itls.push(gaps);
            starts.push(1000.0 + start);
        }
        let count = f64::from(self.requests);
        let duration = count * gap_s.max(service_s) / if self.overload { 1.0 } else { speed };
        let tokens = count * f64::from(self.tokens);
        let of_each = |value: Value| vec![value; self.requests as usize];
        json!({
            "date": "20261122-120000", "endpoint_type": "openai", "backend": "openai", "label": null, "model_id": "m",
            "tokenizer_id": "m", "num_prompts": self.requests, "request_rate": 14.4, "burstiness": 1.0,
            "max_concurrency": null, "duration": duration, "completed": self.requests, "failed": 0,
            "total_input_tokens": self.requests * 1500, "total_output_tokens": self.requests * self.tokens,
            "request_throughput": count / duration, "request_goodput": null, "output_throughput": tokens / duration,
            "total_token_throughput": (tokens + 1500.0 * count) / duration,
            "input_lens": of_each(json!(1500)), "output_lens": of_each(json!(self.tokens)), "ttfts": ttfts, "itls": itls,
            "latencies": latencies, "start_times": starts, "generated_texts": of_each(json!("")),
            "errors": of_each(json!("")), "max_output_tokens_per_s": 1.0, "max_concurrent_requests": 1
        })
    }

    fn run_file(&self, plan: &Plan, index: usize, block: &Block, run: &PlannedRun, position: u32) -> RunFile {
        let on = run.arm == "cc-on";
        let minute = block.repetition * 12 + position;
        let (hour, minute) = (8 + minute / 60, minute % 60);
        let at = |second: u32| format!("2026-11-22T{hour:02}:{minute:02}:{second:02}Z");
        let server = |ordinal: u32| {
            json!({
                "ordinal": ordinal, "uid": format!("{}-{ordinal}", run.arm), "engine_url": "http://127.0.0.1:8000",
                "engine": "vllm 0.25.1", "ready_seconds": 40.0, "num_gpu_blocks": 27000, "flags_sha256": "f".repeat(64),
                "environment": {
                    "kernel": if on { "6.8.0-1025-azure-fde" } else { "6.8.0-1025-azure" }, "cpu_count": 40,
                    "memory_mib": 327_680, "driver_version": "580.159.04", "cuda_version": "13.0",
                    "gpus": [{
                        "uuid": format!("GPU-{ordinal}"), "name": if on { self.gpu_on } else { "NVIDIA H100 NVL" },
                        "vbios_version": "96.00.9F.00.04", "memory_total_mib": 95830, "power_limit_mw": 400_000
                    }]
                },
                "prefix_cache_queries": 10_000, "prefix_cache_hits": if run.router == "direct" { 3200 } else { 7900 },
                "preemptions": 0
            })
        };
        let target = plan.router_target(&run.router).unwrap();
        serde_json::from_value(merged(
            serde_json::to_value(plan.run_id(block, run).unwrap()).unwrap(),
            json!({
                "schema_version": 1, "tool_version": "0.1.0", "campaign": plan.campaign, "plan_sha256": plan.digest(),
                "attempt": 1, "epoch": index as u32 * 10 + position + 1, "block": index, "boot": run.boot,
                "boot_generation": 1, "seed": block.seed, "simulated": self.simulated,
                "tee": if on { "Enabled" } else { "Disabled" }, "target": target, "started_at": at(0),
                "finished_at": at(50), "window": {"start_unix_ns": 1, "end_unix_ns": 2}, "servers": [server(0), server(1)],
                "evidence_level": "SelfReported", "validity": "Valid", "reasons": []
            }),
        ))
        .unwrap()
    }

    fn client(&self, bench: &Value) -> ClientFile {
        let latencies = bench["latencies"].as_array().unwrap();
        let distribution =
            |p50: &Value| json!({"count": self.requests, "mean": p50, "p50": p50, "p95": p50, "p99": p50, "max": p50});
        let none = Value::Null;
        serde_json::from_value(json!({
            "schema_version": 1, "verdict": "ok", "reasons": [], "window_start_unix_ns": 1, "window_end_unix_ns": 2,
            "send_lateness_ms": distribution(&json!(0.2)), "e2el_from_intended_ms": distribution(&json!(400.0)),
            "ttft_from_intended_ms": distribution(&json!(90.0)), "ttft_first_chunk_ms": none,
            "ttft_first_output_ms": none, "peak_concurrency": 40, "mean_concurrency": 5.5,
            "peak_output_tokens_per_s": 600.0, "cpu_share": 0.1, "sockets_opened": latencies.len(),
            "steady_state": none, "partial": false, "intended_start_s": []
        }))
        .unwrap()
    }

    fn energy(&self, bench: &Value, arm: &str) -> EnergyFile {
        let duration = bench["duration"].as_f64().unwrap();
        let joules = duration * if arm == "cc-on" { 651.0 } else { 640.0 };
        let tokens = f64::from(self.requests * self.tokens);
        serde_json::from_value(json!({
            "schema_version": 1, "simulated": self.simulated, "scope": "gpu_board", "window_seconds": duration,
            "verdict": "ok", "reasons": [], "counter_joules": joules, "integral_joules": joules, "idle_watts": null,
            "idle_joules": null, "net_joules": null, "joules_per_output_token": joules / tokens,
            "joules_per_total_token": joules / (tokens + 1500.0 * f64::from(self.requests)),
            "joules_per_request": joules / f64::from(self.requests), "power_cap_share": 0.0, "gpus": []
        }))
        .unwrap()
    }
}

/// The directory of one attempt.
pub fn run_directory(root: &Path, plan: &Plan, block: &Block, run: &PlannedRun, attempt: u32) -> PathBuf {
    root.join("runs").join(plan.run_id(block, run).unwrap().attempt_path(attempt))
}

/// The directory of the run of one arm and router in the first block.
pub fn first_run(root: &Path, plan: &Plan, arm: &str, router: &str) -> PathBuf {
    let block = &plan.blocks[0];
    let run = block.runs.iter().find(|run| run.arm == arm && run.router == router).unwrap();
    run_directory(root, plan, block, run, 1)
}

/// Changes the plan of a tree, and the digest of it that each run carries.
pub fn edit_plan(root: &Path, change: impl FnOnce(&mut Value)) -> Plan {
    let path = root.join("plan.json");
    edit(&path, change);
    let plan: Plan = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (block, run) in plan.blocks.iter().flat_map(|block| block.runs.iter().map(move |run| (block, run))) {
        let file = run_directory(root, &plan, block, run, 1).join("run.json");
        edit(&file, |file| file["plan_sha256"] = plan.digest().into());
    }
    plan
}

/// Changes a file of JSON in place.
pub fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn write_json(directory: &Path, name: &str, value: &Value) {
    fs::write(directory.join(name), value.to_string()).unwrap();
}

fn merged(mut left: Value, right: Value) -> Value {
    let (Value::Object(into), Value::Object(from)) = (&mut left, right) else { unreachable!("both are objects") };
    into.extend(from);
    left
}

fn true_speed(run: &PlannedRun) -> f64 {
    let arm = if run.arm == "cc-on" { TEE_THROUGHPUT } else { 1.0 };
    let router = match run.router.as_str() {
        "hr-tree" => 1.04,
        "hr-tree-lb" => 1.12,
        _ => 1.0,
    };
    arm * router
}

fn jitter(random: &mut ChaCha8Rng) -> f64 {
    0.8 + 0.4 * random.random::<f64>()
}

fn seed_of(name: &str) -> u64 {
    name.bytes().fold(17, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}
