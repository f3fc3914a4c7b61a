//! Time of one routing decision, from the body's bytes to the worker, against hashing the prompt alone.
//!
//! The ratios are measured in one run with the two sides interleaved, so they hold on a machine that others use too.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use serde_json::json;
use teebench_api::policy::RouterPolicySpec;
use teebench_router::policy::settings::PolicySettings;
use teebench_router::policy::{Choice, Engine, Prompt};
use teebench_router::proxy::key::{KeyBuffers, read_key};
use teebench_router::tree::WorkerIndex;
use teebench_router::tree::chunk::{ChunkPlan, PathBuffers, PathHasher};

const SIZES: [(&str, usize); 3] = [("16 KB", 16 << 10), ("128 KB", 128 << 10), ("1 MB", 1 << 20)];

/// Rounds of the interleaved measurement; each side's figure is its median.
const ROUNDS: usize = 41;

struct Case {
    prompt: String,
    body: Vec<u8>,
    engine: Engine,
    plan: ChunkPlan,
    key: KeyBuffers,
    hashes: PathBuffers,
}

impl Case {
    /// A chat whose prompt the chosen one of four workers holds, in a tree with other prompts of the same length.
    fn new(bytes: usize) -> Self {
        Self::among(bytes, 4)
    }

    fn among(bytes: usize, workers: u16) -> Self {
        // Prose: lines of some eighty bytes, now and then a quoted word and a letter outside ASCII.
        let words = ["the ", "router ", "holds ", "prefixes ", "of many ", "prompts, ", "and café "];
        let text = |seed: usize| -> String {
            let word = |step: usize| match step % 60 {
                12 | 24 | 36 | 48 | 59 => "line.\n",
                30 => "\"quoted\" ",
                _ => words[(step.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 7) % words.len()],
            };
            let mut text: String = (0..bytes / 4).map(word).collect();
            text.truncate((0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
            text
        };
        let spec: RouterPolicySpec =
            serde_json::from_value(json!({"mode": "HashRadixTree", "hashRadixTree": {}})).expect("a valid policy");
        let settings = PolicySettings::try_from(&spec).expect("a valid policy");
        let names: Vec<String> = (0..workers).map(|worker| format!("worker-{worker}")).collect();
        let mut engine = Engine::new(&settings, names.iter().map(String::as_str), 1, 0);
        let plan = ChunkPlan::fixed(256);
        let mut key = KeyBuffers::default();
        let body = |prompt: &str| {
            json!({"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": 128, "stream": true})
                .to_string()
                .into_bytes()
        };
        for seed in 0..16 {
            read_key(&body(&text(seed)), &plan, &mut key);
            engine.accepted(WorkerIndex(seed as u16 % 4), key.path());
        }
        let prompt = text(5);
        Self { body: body(&prompt), prompt, engine, plan, key, hashes: PathBuffers::default() }
    }

    fn hash_alone(&mut self) -> u64 {
        let mut hasher = PathHasher::new(&self.plan, 0, &mut self.hashes);
        hasher.update(black_box(self.prompt.as_bytes()));
        hasher.finish();
        self.hashes.path.last().copied().unwrap_or_default()
    }

    fn decide(&mut self) -> Choice {
        let work = read_key(black_box(&self.body), &self.plan, &mut self.key);
        let prompt = Prompt { path: self.key.path(), plan: &self.plan, work };
        self.engine.choose(&prompt, &[], Duration::ZERO)
    }
}

fn time<T>(mut work: impl FnMut() -> T) -> Duration {
    const REPEATS: u32 = 20;
    let start = Instant::now();
    for _ in 0..REPEATS {
        black_box(work());
    }
    start.elapsed() / REPEATS
}

fn print_ratios() {
    println!("{:>8} {:>14} {:>14} {:>7}", "prompt", "hash alone", "decision", "ratio");
    for (name, bytes) in SIZES {
        let mut case = Case::new(bytes);
        assert_eq!(case.decide(), Choice::Send(WorkerIndex(1)), "the holder is found");
        let (mut hashing, mut deciding) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            hashing.push(time(|| case.hash_alone()));
            deciding.push(time(|| case.decide()));
        }
        hashing.sort_unstable();
        deciding.sort_unstable();
        let (hashing, deciding) = (hashing[ROUNDS / 2], deciding[ROUNDS / 2]);
        let ratio = deciding.as_secs_f64() / hashing.as_secs_f64();
        println!("{name:>8} {hashing:>14.2?} {deciding:>14.2?} {ratio:>7.2}");
    }
}

/// A decision among thousands of workers against one among four.
fn print_scaling() {
    let mut small = Case::among(16 << 10, 4);
    let mut large = Case::among(16 << 10, 2048);
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(time(|| small.decide()));
        many.push(time(|| large.decide()));
    }
    few.sort_unstable();
    many.sort_unstable();
    let (few, many) = (few[ROUNDS / 2], many[ROUNDS / 2]);
    println!("16 KB among 4 workers {few:.2?}, among 2,048 {many:.2?}: {:.2}", many.as_secs_f64() / few.as_secs_f64());
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("prompt");
    for (name, bytes) in SIZES {
        let mut case = Case::new(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("hash_alone", name), |bencher| bencher.iter(|| case.hash_alone()));
        group.bench_function(BenchmarkId::new("decision", name), |bencher| bencher.iter(|| case.decide()));
    }
    group.finish();
    criterion.final_summary();
    print_ratios();
    print_scaling();
}
