//! What each policy makes of the loads of the table, on simulated servers in virtual time.
//!
//! `cargo bench -p teebench-router --bench routing [-- WORD]`: the loads whose titles have the word.

#[path = "../tests/fleet/mod.rs"]
mod fleet;

use fleet::load::{Query, Shape, distinct, groups, hot, poisson, zipf};
use fleet::server::ServerSpec;
use fleet::{Arrivals, Figures, Routers, clairvoyant, figures, outcomes_behind, run_behind};
use serde_json::{Value, json};

/// Runs of each load, with other prompts and arrivals.
const SEEDS: u64 = 5;

/// Attempts to better an assignment by knowing all arrivals; twice as many gain less than half a percent more.
const ATTEMPTS: usize = 10_000;

fn policies() -> Vec<(&'static str, Value)> {
    let tree = |balancing: &str| json!({"mode": "HashRadixTree", "hashRadixTree": {"loadBalancing": balancing}});
    vec![
        ("round robin", json!({"mode": "RoundRobin"})),
        ("least loaded", json!({"mode": "LeastLoaded"})),
        ("HR-Tree, None", tree("None")),
        ("HR-Tree, LatencyFactor", tree("LatencyFactor")),
        ("HR-Tree, ExpectedCost", tree("ExpectedCost")),
    ]
}

/// The load behind one router, and behind one beside each server where there are eight.
fn show(title: &str, server: ServerSpec, servers: usize, arrivals: Arrivals, queries: impl Fn(u64) -> Vec<Query>) {
    show_behind(Routers::GATEWAY, title, server, servers, arrivals, &queries);
    if servers == Routers::SIDECARS.count {
        let title = format!("{title}, a router beside each server");
        show_behind(Routers::SIDECARS, &title, server, servers, arrivals, &queries);
    }
}

fn show_behind(
    routers: Routers,
    title: &str,
    server: ServerSpec,
    servers: usize,
    arrivals: Arrivals,
    queries: &impl Fn(u64) -> Vec<Query>,
) {
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if word.is_some_and(|word| !title.contains(&word)) {
        return;
    }
    println!("\n{title}");
    println!("| policy | hit requests | hit tokens | hotspot | E2E mean | P50 | P99 | TTFT P50 | P99 |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (name, policy) in policies() {
        let run = |seed| run_behind(routers, &policy, &vec![server; servers], &queries(seed), arrivals);
        print_row(name, &(0..SEEDS).map(run).collect::<Vec<_>>());
    }
    if matches!(arrivals, Arrivals::Open) && routers.count == 1 {
        let (_, policy) = policies().pop().expect("there are policies");
        let best = |seed| {
            let queries = queries(seed);
            let outcomes = outcomes_behind(routers, &policy, &vec![server; servers], &queries, arrivals);
            figures(&clairvoyant::improve(server, servers, &queries, &outcomes, ATTEMPTS), &queries, servers)
        };
        print_row("all arrivals known", &(0..SEEDS).map(best).collect::<Vec<_>>());
    }
}

fn print_row(name: &str, runs: &[Figures]) {
    let mean = |figure: fn(&Figures) -> f64| runs.iter().map(figure).sum::<f64>() / runs.len() as f64;
    println!(
        "| {name} | {:.3} | {:.3} | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
        mean(|run| run.hit_requests),
        mean(|run| run.hit_tokens),
        mean(|run| run.hotspot),
        mean(|run| run.mean_e2e_ms),
        mean(|run| run.p50_e2e_ms),
        mean(|run| run.p99_e2e_ms),
        mean(|run| run.p50_ttft_ms),
        mean(|run| run.p99_ttft_ms),
    );
}

fn main() {
    // A model of a billion parameters on an eighth of an H200: what was measured of eight vLLM servers on one.
    let small = ServerSpec {
        max_num_seqs: 4,
        step_us: 12_000,
        prefill_us_per_token: 20.0,
        decode_us: 100,
        cache_chunks: 20_000,
        hiccups: 0,
    };
    let toolbench = Shape { common: 2, group: 22, own: 8, output_tokens: 128 };
    let long = Shape { common: 2, group: 60, own: 18, output_tokens: 32 };
    for rate in [24.0, 12.0] {
        show(&format!("ToolBench, 2,000 tokens, 128 out, {rate} requests/s"), small, 8, Arrivals::Open, |seed| {
            poisson(zipf(toolbench, 600, 200, 1.1, seed), rate, seed + 99)
        });
    }
    for rate in [24.0, 36.0] {
        show(&format!("prefill-heavy, 5,100 tokens, 32 out, {rate} requests/s"), small, 8, Arrivals::Open, |seed| {
            poisson(zipf(long, 600, 200, 1.1, seed), rate, seed + 99)
        });
    }
    let repeated = Shape { common: 0, group: 68, own: 12, output_tokens: 32 };
    for rate in [24.0, 36.0] {
        show(&format!("40 prefixes, 5,100 tokens, 32 out, {rate} requests/s"), small, 8, Arrivals::Open, |seed| {
            poisson(hot(repeated, 600, 0, 40, seed), rate, seed + 99)
        });
    }
    for rate in [24.0, 12.0] {
        show(&format!("no reuse, 2,000 tokens, 128 out, {rate} requests/s"), small, 8, Arrivals::Open, |seed| {
            poisson(distinct(toolbench, 600), rate, seed + 99)
        });
    }
    // The loads of `manifests/samples/routing-simulated.yaml`, on steps like those of its servers.
    let large = ServerSpec { step_us: 7600, prefill_us_per_token: 27.6, decode_us: 15, ..small };
    for rate in [36.0, 21.0] {
        show(&format!("8B: ToolBench, {rate} requests/s"), large, 8, Arrivals::Open, |seed| {
            poisson(zipf(toolbench, 600, 200, 1.1, seed), rate, seed + 99)
        });
    }
    show("8B: 40 prefixes, 30 requests/s", large, 8, Arrivals::Open, |seed| {
        poisson(hot(repeated, 600, 0, 40, seed), 30.0, seed + 99)
    });
    show("8B: no reuse, 21 requests/s", large, 8, Arrivals::Open, |seed| {
        poisson(distinct(toolbench, 600), 21.0, seed + 99)
    });
    let wide = ServerSpec { max_num_seqs: 256, ..small };
    let instant = ServerSpec {
        max_num_seqs: 256,
        step_us: 100,
        prefill_us_per_token: 0.05,
        decode_us: 2,
        cache_chunks: 20_000,
        hiccups: 0,
    };
    for (name, server) in [("wide", wide), ("instant", instant)] {
        let shape = |common, group, own| Shape { common, group, own, output_tokens: 16 };
        for connections in [4, 16] {
            show(
                &format!("{name}: 16 x 20, 80 % shared, {connections} connections"),
                server,
                4,
                Arrivals::Closed(connections),
                |seed| groups(shape(0, 24, 6), 16, 20, seed),
            );
            show(
                &format!("{name}: 16 x 20, 20 % shared, {connections} connections"),
                server,
                4,
                Arrivals::Closed(connections),
                |seed| groups(shape(0, 6, 24), 16, 20, seed),
            );
        }
        show(&format!("{name}: one hot prefix, 90 %, 48 connections"), server, 4, Arrivals::Closed(48), |seed| {
            hot(shape(0, 24, 6), 1000, 900, 8, seed)
        });
        show(
            &format!("{name}: 40 % common, 40 % of the group, 32 connections"),
            server,
            4,
            Arrivals::Closed(32),
            |seed| groups(shape(12, 12, 6), 16, 20, seed),
        );
        show(&format!("{name}: no reuse, 16 connections"), server, 4, Arrivals::Closed(16), |_| {
            distinct(shape(0, 24, 6), 1000)
        });
    }
}
