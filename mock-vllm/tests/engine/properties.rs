//! Properties of any load on a small engine.

use std::time::Duration;

use proptest::prelude::*;
use teebench_mock_vllm::engine::{EngineConfig, RequestId};

use crate::virtual_time::{Run, prompt, request, tiny};

#[derive(Clone, Debug)]
struct Job {
    gap_ms: u64,
    owner: u32,
    prompt_tokens: usize,
    max_tokens: u32,
    /// Steps after which the client goes away.
    aborted_after: Option<usize>,
}

fn job() -> impl Strategy<Value = Job> {
    (0_u64..30, 0_u32..3, 1_usize..100, 1_u32..28, prop::option::weighted(0.2, 0_usize..40)).prop_map(
        |(gap_ms, owner, prompt_tokens, max_tokens, aborted_after)| Job {
            gap_ms,
            owner,
            prompt_tokens,
            max_tokens,
            aborted_after,
        },
    )
}

fn config() -> impl Strategy<Value = EngineConfig> {
    (1_u32..5, 8_u32..80, 9_u32..25, any::<bool>()).prop_map(|(seqs, batched, blocks, enable_prefix_caching)| {
        EngineConfig {
            max_num_seqs: seqs,
            max_num_batched_tokens: batched,
            max_model_len: 128,
            num_gpu_blocks: blocks,
            enable_prefix_caching,
            enforce_eager: false,
        }
    })
}

fn serve(config: EngineConfig, jobs: &[Job]) -> Run {
    let mut run = Run::new(tiny(config));
    let mut arrival = Duration::ZERO;
    for (id, job) in (0..).zip(jobs) {
        arrival += Duration::from_millis(job.gap_ms);
        run.submit(request(id, arrival, prompt(job.owner, job.prompt_tokens), job.max_tokens));
    }
    for steps in 0.. {
        for (id, job) in (0..).zip(jobs) {
            if job.aborted_after == Some(steps) {
                run.engine.abort(RequestId(id));
            }
        }
        if run.step().is_none() {
            break;
        }
    }
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_request_gets_all_its_tokens_and_leaves_nothing_behind(
        config in config(),
        jobs in prop::collection::vec(job(), 1..24),
    ) {
        let mut run = serve(config, &jobs);
        for (id, job) in (0..).zip(&jobs) {
            let tokens = run.get(id).tokens.len();
            if job.aborted_after.is_none() {
                prop_assert_eq!(tokens, job.max_tokens as usize, "request {} starved", id);
            } else {
                prop_assert!(tokens <= job.max_tokens as usize);
            }
        }
        let snapshot = run.engine.snapshot();
        prop_assert_eq!((snapshot.running, snapshot.waiting, snapshot.kv_cache_usage), (0, 0, 0.0));
        prop_assert!(run.engine.reset_prefix_cache(false));
    }

    #[test]
    fn no_step_exceeds_its_limits_and_time_moves_on(
        config in config(),
        jobs in prop::collection::vec(job(), 1..24),
    ) {
        let run = serve(config, &jobs);
        let mut before = Duration::ZERO;
        for step in &run.steps {
            prop_assert!(step.batch.tokens() <= config.max_num_batched_tokens);
            prop_assert!(step.emissions.len() <= config.max_num_seqs as usize);
            prop_assert!(step.ended > before);
            before = step.ended;
        }
    }

    #[test]
    fn first_tokens_come_in_the_order_of_arrival_when_prompts_are_alike(
        config in config(),
        gaps in prop::collection::vec(0_u64..10, 2..16),
    ) {
        let jobs: Vec<Job> = gaps
            .iter()
            .map(|gap_ms| Job { gap_ms: *gap_ms, owner: 0, prompt_tokens: 20, max_tokens: 6, aborted_after: None })
            .collect();
        let run = serve(config, &jobs);
        let first_tokens: Vec<Duration> = (0..).zip(&jobs).map(|(id, _)| run.get(id).times[0]).collect();
        prop_assert!(first_tokens.is_sorted());
    }

    #[test]
    fn the_same_load_gives_the_same_tokens_at_the_same_times(
        config in config(),
        jobs in prop::collection::vec(job(), 1..24),
    ) {
        let (one, other) = (serve(config, &jobs), serve(config, &jobs));
        prop_assert_eq!(one.seen, other.seen);
    }

    #[test]
    fn neither_batching_nor_caching_changes_an_answer(
        one in config(),
        other in config(),
        jobs in prop::collection::vec(job(), 1..16),
    ) {
        let jobs: Vec<Job> = jobs.into_iter().map(|job| Job { aborted_after: None, ..job }).collect();
        let (one, other) = (serve(one, &jobs), serve(other, &jobs));
        for (id, _) in (0..).zip(&jobs) {
            prop_assert_eq!(&one.get(id).tokens, &other.get(id).tokens);
        }
    }
}
