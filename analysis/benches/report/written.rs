//! Writes a campaign whose result files come from the load generator's writer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::civil::date;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use teebench_loadgen::{
    arrivals::{Arrivals, Burstiness},
    client::Backend,
    record::{ClientUsage, Measured, Offered, RequestRecord, Usage, Window},
    result_file::{Format, Metric, ResultOptions, Slo, write_bench_json},
};

use crate::support::Tree;

const REQUESTS: usize = 1000;
const TOKENS: u32 = 200;

/// Writes a campaign of so many conditions, each of both arms ten times, and gives the bytes of its result files.
pub fn campaign(root: &Path, conditions: u32) -> u64 {
    let rates_milli = (1..=conditions).map(|step| 500 * step).collect();
    let tree = Tree { repetitions: 10, requests: 20, routers: vec!["direct"], rates_milli, ..Tree::default() };
    tree.write(root);
    let files = bench_files(root);
    (0_u64..).zip(&files).collect::<Vec<_>>().into_par_iter().map(|(seed, path)| write(path, seed)).sum()
}

fn bench_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name() {
            _ if path.is_dir() => found.extend(bench_files(&path)),
            Some(name) if name == "bench.json" => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

fn write(path: &Path, seed: u64) -> u64 {
    let options = ResultOptions {
        format: Format::Vllm032,
        detailed: true,
        backend: Backend::Openai,
        label: None,
        model_id: "meta-llama/Llama-3.1-8B-Instruct".to_owned(),
        tokenizer_id: Some("meta-llama/Llama-3.1-8B-Instruct".to_owned()),
        num_prompts: REQUESTS as u64,
        metadata: Vec::new(),
        arrivals: Arrivals::Rate { requests_per_s: 14.4, burstiness: Burstiness::POISSON },
        max_concurrency: None,
        metrics: Metric::ALL.to_vec(),
        percentiles: ResultOptions::CAMPAIGN_PERCENTILES.to_vec(),
        slo: Slo::default(),
    };
    write_bench_json(&measured(seed), &options, path).unwrap();
    fs::metadata(path).unwrap().len()
}

/// A run at 14.4 requests per second whose gaps differ from token to token.
fn measured(seed: u64) -> Measured {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let speed = 1.0 + 0.02 * random.random::<f64>();
    let records: Vec<RequestRecord> = (0..REQUESTS).map(|index| record(index, speed, &mut random)).collect();
    let end_s = records.iter().map(|record| record.end_s).fold(0.0, f64::max);
    Measured {
        window: Window { start_s: 1000.0, end_s, start_unix_ns: 1, end_unix_ns: 1 + ((end_s - 1000.0) * 1e9) as u64 },
        records,
        ended_at: date(2026, 11, 23).at(2, 0, 0, 0),
        offered: Offered { planned_requests: REQUESTS, timed: true, max_concurrency: None },
        rate_changes: Vec::new(),
        probe: None,
        client: ClientUsage { cpu_share: 0.1, sockets_opened: 64 },
        partial: false,
    }
}

fn record(index: usize, speed: f64, random: &mut ChaCha8Rng) -> RequestRecord {
    let start_s = 1000.0 + index as f64 / 14.4;
    let ttft_s = speed * (0.05 + 0.02 * random.random::<f64>());
    let itls_s: Vec<f64> = (1..TOKENS).map(|_| speed * (0.009 + 0.004 * random.random::<f64>())).collect();
    let latency_s = ttft_s + itls_s.iter().sum::<f64>();
    RequestRecord {
        index,
        target: 0,
        expected_prompt_tokens: 1500,
        usage: Some(Usage { prompt_tokens: 1500, completion_tokens: TOKENS }),
        intended_s: start_s,
        start_s,
        queue_s: 0.0,
        lateness_s: 0.0,
        ttft_first_chunk_s: Some(ttft_s),
        ttft_s: Some(ttft_s),
        itls_s,
        latency_s,
        end_s: start_s + latency_s,
        text: String::new(),
        error: None,
    }
}
