//! What the fitted profiles give, against what they were fitted to.

use serde::Deserialize;
use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::EngineConfig;

use crate::virtual_time::{LARGE, Run, Seen, closed_loop, engine, median, prompt};

#[derive(Deserialize)]
struct Measured {
    points: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    concurrency: usize,
    input_tokens: usize,
    output_tokens: u32,
    requests: u32,
    median_ttft_ms: f64,
    median_tpot_ms: f64,
    median_itl_ms: f64,
    median_e2el_ms: f64,
}

fn simulate(point: &Point) -> Run {
    let prompts = (0..point.requests).map(|owner| prompt(owner, point.input_tokens)).collect();
    closed_loop(engine(LARGE, Profile::H200, false), point.concurrency, prompts, point.output_tokens)
}

fn within(what: &str, simulated: f64, measured: f64, tolerance: f64) {
    let error = simulated / measured - 1.0;
    assert!(error.abs() <= tolerance, "{what}: simulated {simulated:.3}, measured {measured:.3} ({error:+.3})");
}

#[test]
fn the_h200_profile_meets_the_measured_medians() {
    let measured: Measured = serde_json::from_str(include_str!("../data/h200-8b-medians.json")).unwrap();
    for point in measured.points {
        let run = simulate(&point);
        let name = format!("concurrency {}, {} tokens", point.concurrency, point.input_tokens);
        let ttft = median(run.seen.values().map(Seen::ttft_ms));
        let itl = median(run.seen.values().flat_map(Seen::itls_ms));
        let e2el = median(run.seen.values().map(|seen| seen.ttft_ms() + seen.itls_ms().sum::<f64>()));
        if point.concurrency == 1 {
            within(&format!("{name}: TTFT"), ttft, point.median_ttft_ms, 0.17);
            let tpot = median(run.seen.values().map(Seen::tpot_ms));
            within(&format!("{name}: TPOT"), tpot, point.median_tpot_ms, 0.02);
        } else {
            within(&format!("{name}: ITL"), itl, point.median_itl_ms, 0.02);
        }
        within(&format!("{name}: E2EL"), e2el, point.median_e2el_ms, 0.15);
    }
}

/// Output tokens a second over the middle of a closed loop of 128 requests, where the batch is full.
fn saturated_throughput(confidential: bool) -> f64 {
    let config = EngineConfig { max_num_batched_tokens: 2048, num_gpu_blocks: 32_700, ..LARGE };
    let prompts = (0..768).map(|owner| prompt(owner, 512)).collect();
    let run = closed_loop(engine(config, Profile::H100Nvl, confidential), 128, prompts, 128);
    let steps = &run.steps[run.steps.len() / 4..run.steps.len() * 3 / 4];
    let tokens: usize = steps[1..].iter().map(|step| step.emissions.len()).sum();
    tokens as f64 / (steps[steps.len() - 1].ended - steps[0].ended).as_secs_f64()
}

fn one_sequence(confidential: bool) -> (f64, f64) {
    let run = closed_loop(engine(LARGE, Profile::H100Nvl, confidential), 1, vec![prompt(0, 512)], 128);
    (run.get(0).ttft_ms(), 1e3 / run.get(0).tpot_ms())
}

#[test]
fn figures_of_the_publication_come_out_of_the_mechanism() {
    let (ttft_off, rate_off) = one_sequence(false);
    let (ttft_on, rate_on) = one_sequence(true);
    let loss = 1.0 - saturated_throughput(true) / saturated_throughput(false);
    let figures = [
        ("tokens a second", rate_off, 132.0, 0.3),
        ("loss of tokens a second", 1.0 - rate_on / rate_off, 0.069, 0.002),
        ("gain of TTFT", ttft_on / ttft_off - 1.0, 0.19, 0.005),
        ("loss at saturation", loss, 0.15, 0.005),
    ];
    for (what, simulated, published, tolerance) in figures {
        assert!((simulated - published).abs() <= tolerance, "{what}: {simulated:.4} against {published}; {figures:?}");
    }
}
