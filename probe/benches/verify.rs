//! How long the verification of a thousand runs takes: `cargo bench -p teebench-probe --bench verify`.
//!
//! Each run has a detailed result file of a thousand requests' size, and half of them have reports that a GPU signed
//! before and after; the figure is for files in the page cache.

#![allow(missing_docs, reason = "what the macros make has none")]

#[path = "../tests/support/device.rs"]
mod device;
#[path = "../tests/support/results.rs"]
mod results;
#[path = "../tests/support/signed.rs"]
mod signed;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use device::Device;
use results::Results;
use teebench_probe::attestation::{Root, Verifier};
use teebench_probe::verify::{Trust, verify};

const RUNS: u32 = 1000;
const BENCH_BYTES: usize = 1_500_000;

fn a_thousand_runs(criterion: &mut Criterion) {
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let (results, device) = (Results::begin(out.path()), Device::new());
    for repetition in 1..=RUNS / 2 {
        results.run("cc-off", repetition, BENCH_BYTES, |_| {});
        results.run("cc-on", repetition, BENCH_BYTES, |made| signed::sign(made, &device));
    }
    results.seal();
    let (paths, trust) = ([results.root.clone()], Trust::new(Verifier::new(Root::Test(device.root_sha256))));
    let found = verify(&paths, &trust).expect("a campaign is there");
    assert!(found.holds, "{found}");
    let megabytes = found.campaigns[0].bytes / 1_000_000;
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(10).throughput(Throughput::Bytes(found.campaigns[0].bytes));
    group.bench_function(format!("1000 runs, {megabytes} MB"), |bencher| {
        bencher.iter(|| verify(black_box(&paths), &trust));
    });
    group.finish();
}

criterion_group!(benches, a_thousand_runs);
criterion_main!(benches);
