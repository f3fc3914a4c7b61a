//! What a mechanism does when it alone is switched: effects must come from it and vanish without it.

use std::time::Duration;

use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::{ConfidentialCost, Engine, EngineConfig};

use crate::virtual_time::{LARGE, Run, Seen, closed_loop, engine, median, prompt, request, with_cost};

const CACHED: EngineConfig = EngineConfig { max_num_seqs: 4, max_num_batched_tokens: 2048, ..LARGE };
const UNCACHED: EngineConfig = EngineConfig { enable_prefix_caching: false, ..CACHED };

/// TTFT of a prompt of 1,500 tokens, of which the first 1,200 were sent before, and the tokens computed for it.
fn second_visit(config: EngineConfig) -> (f64, u32) {
    let mut run = Run::new(engine(config, Profile::Tiny, false));
    run.submit(request(0, Duration::ZERO, prompt(0, 1200), 1));
    run.finish();
    let (now, steps) = (run.now, run.steps.len());
    run.submit(request(1, now, [prompt(0, 1200), prompt(1, 300)].concat(), 1));
    run.finish();
    (run.get(1).ttft_ms(), run.steps[steps..].iter().map(|step| step.batch.prefill_tokens).sum())
}

#[test]
fn a_prefix_hit_shortens_the_first_token_by_what_it_need_not_compute() {
    let (cold_ms, cold_tokens) = second_visit(UNCACHED);
    let (warm_ms, warm_tokens) = second_visit(CACHED);
    assert_eq!((cold_tokens, warm_tokens), (1500, 300));
    let cost = Profile::Tiny.figures().cost;
    let read = |context, tokens| cost.kv_read_by_prefill(context, tokens);
    let saved_us = cost.per_prefill_token_us * 1200.0 + cost.per_kv_token_us * (read(0, 1500) - read(1200, 300));
    assert!((cold_ms - warm_ms - saved_us / 1e3).abs() < 0.01, "{cold_ms} against {warm_ms}, saved {saved_us} us");
}

#[test]
fn a_prompt_that_was_never_sent_gains_nothing_from_the_cache() {
    let first_visit = |config| {
        let mut run = Run::new(engine(config, Profile::Tiny, false));
        for owner in 0..3 {
            let now = run.now;
            run.submit(request(owner, now, prompt(owner as u32, 700), 4));
            run.finish();
        }
        run.seen
    };
    assert_eq!(first_visit(CACHED), first_visit(UNCACHED));
}

fn medians(engine: Engine) -> (f64, f64) {
    let prompts = (0..24).map(|owner| prompt(owner, 1500)).collect();
    let run = closed_loop(engine, 4, prompts, 64);
    (median(run.seen.values().map(Seen::ttft_ms)), median(run.seen.values().map(Seen::tpot_ms)))
}

#[test]
fn confidential_computing_slows_decoding_and_the_first_token() {
    for profile in [Profile::Tiny, Profile::H100Nvl, Profile::H200] {
        let (ttft_off, tpot_off) = medians(engine(CACHED, profile, false));
        let (ttft_on, tpot_on) = medians(engine(CACHED, profile, true));
        assert!(ttft_on > ttft_off, "{profile:?}: TTFT {ttft_off} ms, then {ttft_on} ms");
        assert!(tpot_on > tpot_off, "{profile:?}: TPOT {tpot_off} ms, then {tpot_on} ms");
    }
}

#[test]
fn confidential_computing_without_costs_changes_nothing() {
    let free = ConfidentialCost {
        per_request_us: 0.0,
        per_step_us: 0.0,
        per_prefill_token_us: 0.0,
        per_output_token_us: 0.0,
        load_factor: 1.0,
    };
    let mut figures = Profile::Tiny.figures();
    let off = medians(with_cost(CACHED, figures.step_cost(false)));
    figures.confidential = free;
    assert_eq!(off, medians(with_cost(CACHED, figures.step_cost(true))));
}

#[test]
fn each_cost_of_confidential_computing_shows_where_its_mechanism_works() {
    let free = ConfidentialCost {
        per_request_us: 0.0,
        per_step_us: 0.0,
        per_prefill_token_us: 0.0,
        per_output_token_us: 0.0,
        load_factor: 1.0,
    };
    let alone = |confidential| {
        let mut figures = Profile::Tiny.figures();
        figures.confidential = confidential;
        let engine = with_cost(CACHED, figures.step_cost(true));
        let run = closed_loop(engine, 1, vec![prompt(0, 1500)], 64);
        (run.get(0).ttft_ms(), run.get(0).tpot_ms())
    };
    let (ttft, tpot) = alone(free);
    let (request_ttft, request_tpot) = alone(ConfidentialCost { per_request_us: 1000.0, ..free });
    let (prefill_ttft, prefill_tpot) = alone(ConfidentialCost { per_prefill_token_us: 10.0, ..free });
    let (output_ttft, output_tpot) = alone(ConfidentialCost { per_output_token_us: 1000.0, ..free });
    let close = |left: f64, right: f64| assert!((left - right).abs() < 1e-3, "{left} against {right}");
    close(request_ttft, ttft + 1.0);
    close(request_tpot, tpot);
    close(prefill_ttft, ttft + 15.0);
    close(prefill_tpot, tpot);
    close(output_ttft, ttft + 1.0);
    close(output_tpot, tpot + 1.0);
}

#[test]
fn a_slower_clock_slows_the_engine() {
    let mut throttled = engine(CACHED, Profile::Tiny, false);
    throttled.set_speed(0.5);
    let (ttft, tpot) = medians(engine(CACHED, Profile::Tiny, false));
    let (slow_ttft, slow_tpot) = medians(throttled);
    assert!(slow_ttft > 1.5 * ttft && slow_tpot > 1.9 * tpot);
}
