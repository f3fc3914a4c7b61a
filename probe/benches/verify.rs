//! How long the verification of a thousand runs takes: `cargo bench -p teebench-probe --bench verify`.
//!
//! Each run has a detailed result file of a thousand requests' size; the figure is for files in the page cache.

#[path = "../tests/support/results.rs"]
mod results;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use results::Results;
use teebench_probe::attestation::Root;
use teebench_probe::verify::verify;

const RUNS: u32 = 1000;
const BENCH_BYTES: usize = 1_500_000;

fn a_thousand_runs(criterion: &mut Criterion) {
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let results = Results::begin(out.path());
    for repetition in 1..=RUNS / 2 {
        results.run("cc-off", repetition, BENCH_BYTES, |_| {});
        results.run("cc-on", repetition, BENCH_BYTES, |_| {});
    }
    results.seal();
    let paths = [results.root.clone()];
    let found = verify(&paths, Root::Nvidia).expect("a campaign is there");
    assert!(found.holds, "{found}");
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(10).throughput(Throughput::Bytes(found.campaigns[0].bytes));
    group.bench_function("1000 runs", |bencher| bencher.iter(|| verify(black_box(&paths), Root::Nvidia)));
    group.finish();
}

criterion_group!(benches, a_thousand_runs);
criterion_main!(benches);
