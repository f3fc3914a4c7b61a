//! Tables of scheduling decisions.

use std::time::Duration;

use rstest::rstest;
use teebench_mock_vllm::engine::{Begin, EngineConfig, FinishReason, NewRequest, RequestId, SubmitError};

use crate::virtual_time::{Run, SMALL, prompt, request, tiny};

const AT_ONCE: Duration = Duration::ZERO;

/// Tokens computed for prompts, and decoding sequences, in each step.
fn shape(run: &Run) -> Vec<(u32, u32)> {
    run.steps.iter().map(|step| (step.batch.prefill_tokens, step.batch.decode_sequences)).collect()
}

#[test]
fn a_long_prompt_is_computed_in_chunks_of_the_budget() {
    let mut run = Run::new(tiny(SMALL));
    run.submit(request(0, AT_ONCE, prompt(0, 150), 2));
    run.finish();
    assert_eq!(shape(&run), [(64, 0), (64, 0), (22, 0), (0, 1)]);
}

#[test]
fn decoding_goes_before_prefill_and_leaves_it_the_rest_of_the_budget() {
    let mut run = Run::new(tiny(SMALL));
    run.submit(request(0, AT_ONCE, prompt(0, 10), 8));
    run.step();
    let now = run.now;
    run.submit(request(1, now.saturating_sub(Duration::from_secs(1)), prompt(1, 100), 2));
    run.finish();
    assert_eq!(shape(&run)[..4], [(10, 0), (63, 1), (37, 1), (0, 2)]);
}

#[test]
fn at_most_max_num_seqs_run_and_the_others_wait_their_turn() {
    let mut run = Run::new(tiny(SMALL));
    for id in 0..6 {
        run.submit(request(id, AT_ONCE, prompt(id as u32, 8), 3));
    }
    run.step();
    let snapshot = run.engine.snapshot();
    assert_eq!((snapshot.running, snapshot.waiting), (4, 2));
    run.finish();
    let first_tokens: Vec<Duration> = (0..6).map(|id| run.get(id).times[0]).collect();
    assert!(first_tokens.is_sorted());
    assert!(first_tokens[4] > run.get(0).times[2], "a place is free only when a request has ended");
}

#[test]
fn nothing_is_scheduled_before_it_arrived() {
    let mut engine = tiny(SMALL);
    let arrival = Duration::from_millis(100);
    engine.submit(request(0, arrival, prompt(0, 8), 1)).unwrap();
    let Begin::IdleUntil(time) = engine.begin_step(AT_ONCE) else { panic!("a request was scheduled too early") };
    assert!(time > arrival);
    assert!(matches!(engine.begin_step(time), Begin::Step { .. }));
}

#[rstest]
#[case::nothing_shared(prompt(1, 64), 0)]
#[case::half_shared([&prompt(0, 64)[..32], &prompt(1, 32)].concat(), 32)]
#[case::part_of_a_block_is_not_reused([&prompt(0, 64)[..40], &prompt(1, 24)].concat(), 32)]
#[case::the_last_block_of_a_repeated_prompt_is_recomputed(prompt(0, 64), 48)]
#[case::a_longer_prompt_reuses_all([prompt(0, 64), prompt(1, 16)].concat(), 64)]
fn exactly_the_shared_full_blocks_are_reused(
    #[case] second: Vec<teebench_mock_vllm::engine::TokenId>,
    #[case] hits: u64,
) {
    let mut run = Run::new(tiny(EngineConfig { max_num_batched_tokens: 512, ..SMALL }));
    let tokens = second.len() as u64;
    run.submit(request(0, AT_ONCE, prompt(0, 64), 2));
    run.finish();
    let now = run.now;
    run.submit(request(1, now, second, 2));
    run.finish();
    let counters = run.engine.snapshot().counters;
    assert_eq!((counters.prefix_cache_queries, counters.prefix_cache_hits), (64 + tokens, hits));
    assert_eq!((counters.prompt_tokens, counters.prompt_tokens_cached), (64 + tokens, hits));
    assert_eq!(u64::from(run.steps[2].batch.prefill_tokens), tokens - hits);
}

#[test]
fn an_answer_is_reused_by_the_next_turn_of_the_conversation() {
    let mut run = Run::new(tiny(SMALL));
    run.submit(request(0, AT_ONCE, prompt(0, 32), 33));
    run.finish();
    let next_turn = [prompt(0, 32), run.get(0).tokens.clone(), prompt(1, 5)].concat();
    let now = run.now;
    run.submit(request(1, now, next_turn, 1));
    run.finish();
    assert_eq!(run.engine.snapshot().counters.prefix_cache_hits, 64);
}

#[test]
fn prompts_of_different_salts_do_not_share_a_prefix() {
    let mut run = Run::new(tiny(SMALL));
    for (id, salt) in [(0, "a"), (1, "b"), (2, "a")] {
        let now = run.now;
        run.submit(NewRequest { cache_salt: Some(salt.to_owned()), ..request(id, now, prompt(0, 40), 1) });
        run.finish();
    }
    assert_eq!(run.engine.snapshot().counters.prefix_cache_hits, 32);
}

#[test]
fn without_prefix_caching_nothing_is_looked_up() {
    let mut run = Run::new(tiny(EngineConfig { enable_prefix_caching: false, ..SMALL }));
    for id in 0..2 {
        let now = run.now;
        run.submit(request(id, now, prompt(0, 64), 1));
        run.finish();
    }
    let counters = run.engine.snapshot().counters;
    assert_eq!((counters.prefix_cache_queries, counters.prefix_cache_hits), (0, 0));
}

#[test]
fn a_full_pool_preempts_the_latest_request_which_then_yields_the_same_tokens() {
    let config = EngineConfig { max_model_len: 96, num_gpu_blocks: 7, ..SMALL };
    let alone: Vec<_> = (0..2)
        .map(|id| {
            let mut run = Run::new(tiny(config));
            run.submit(request(id, AT_ONCE, prompt(id as u32, 30), 50));
            run.finish();
            run.get(id).tokens.clone()
        })
        .collect();
    let mut run = Run::new(tiny(config));
    for id in 0..2 {
        run.submit(request(id, AT_ONCE, prompt(id as u32, 30), 50));
    }
    run.finish();
    assert!(run.engine.snapshot().counters.preemptions > 0);
    assert_eq!([run.get(0).tokens.clone(), run.get(1).tokens.clone()], alone[..]);
    assert!(run.get(0).times.last() < run.get(1).times.last(), "the earlier request keeps its blocks");
}

#[test]
fn a_prompt_waits_until_all_of_it_fits_though_its_first_chunk_would() {
    // Ten blocks: the first request takes six, so four of the second's seven could be had.
    let config = EngineConfig { max_model_len: 160, num_gpu_blocks: 11, ..SMALL };
    let mut run = Run::new(tiny(config));
    run.submit(request(0, AT_ONCE, prompt(0, 90), 3));
    run.submit(request(1, AT_ONCE, prompt(1, 110), 1));
    run.finish();
    assert_eq!(shape(&run), [(64, 0), (26, 0), (0, 1), (0, 1), (64, 0), (46, 0)]);
    assert_eq!(run.engine.snapshot().counters.preemptions, 0);
}

#[test]
fn an_aborted_request_frees_its_place_and_its_blocks() {
    let mut run = Run::new(tiny(SMALL));
    for id in 0..6 {
        run.submit(request(id, AT_ONCE, prompt(id as u32, 8), 50));
    }
    run.step();
    assert!(run.engine.abort(RequestId(0)), "running");
    assert!(run.engine.abort(RequestId(5)), "waiting");
    assert!(!run.engine.abort(RequestId(0)), "gone");
    run.finish();
    let lengths: Vec<usize> = (0..6).map(|id| run.get(id).tokens.len()).collect();
    assert_eq!(lengths, [1, 50, 50, 50, 50, 0]);
    assert!(run.engine.reset_prefix_cache(false), "no block is left behind");
}

#[test]
fn the_cache_is_reset_only_when_no_request_runs() {
    let mut run = Run::new(tiny(SMALL));
    run.submit(request(0, AT_ONCE, prompt(0, 40), 4));
    run.step();
    assert!(!run.engine.reset_prefix_cache(false));
    run.finish();
    assert!(run.engine.reset_prefix_cache(false));
    let now = run.now;
    run.submit(request(1, now, prompt(0, 40), 4));
    run.finish();
    assert_eq!(run.engine.snapshot().counters.prefix_cache_hits, 0);
}

#[rstest]
#[case::cut_off(None, 5, FinishReason::Length, 5)]
#[case::ends_by_itself(Some(3), 5, FinishReason::Stop, 3)]
#[case::ends_by_itself_at_the_limit(Some(5), 5, FinishReason::Stop, 5)]
fn a_request_ends_for_the_right_reason(
    #[case] natural_tokens: Option<u32>,
    #[case] max_tokens: u32,
    #[case] reason: FinishReason,
    #[case] tokens: usize,
) {
    let mut run = Run::new(tiny(SMALL));
    run.submit(NewRequest { natural_tokens, ..request(0, AT_ONCE, prompt(0, 8), max_tokens) });
    run.finish();
    assert_eq!((run.get(0).finish, run.get(0).tokens.len()), (Some(reason), tokens));
}

#[rstest]
#[case::no_prompt(0, 1, SubmitError::EmptyPrompt)]
#[case::no_output(1, 0, SubmitError::NoOutput)]
#[case::too_long(1000, 25, SubmitError::TooLong { prompt_tokens: 1000, max_tokens: 25, max_model_len: 1024 })]
fn what_can_never_be_served_is_refused(
    #[case] prompt_tokens: usize,
    #[case] max_tokens: u32,
    #[case] expected: SubmitError,
) {
    let refused = tiny(SMALL).submit(request(0, AT_ONCE, prompt(0, prompt_tokens), max_tokens));
    assert_eq!(refused, Err(expected));
}
