//! Campaigns that are broken at any step end all the same, lose nothing, and count the same runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use teebench_api::{
    campaign::{FailurePolicy, Metric, Restart},
    files::run::Verdict,
    plan::{
        RunId,
        next::{Limits, Outcome, counted_attempts, effective},
    },
};

use crate::{
    executor::{Event, World},
    fixtures::Small,
};

/// A grid, repetitions to a width, and a saturation search, over two models.
const EXPERIMENTS: &str = "
- name: grid
  dataset: {random: {prompts: 100, inputTokens: [128, 256]}}
  load: {maxConcurrency: [8]}
  outputTokens: [32]
  repetitions: {minimum: 2}
- name: width
  models: [model-0]
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {maxConcurrency: [8]}
  outputTokens: [32]
  repetitions: {minimum: 2, maximum: 8, until: {metric: OutputThroughput, ratioHalfWidthPermille: 20}}
- name: search
  models: [model-0]
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {saturation: {minimumConcurrency: 2, maximumConcurrency: 64}}
  outputTokens: [32]
  repetitions: {minimum: 2}
";

/// Throughput that rises with concurrency until 16, with noise of its own for each run.
fn throughput(run: &RunId, _: Metric) -> f64 {
    let concurrency = run.condition.rsplit('-').next().and_then(|digits| digits.parse::<f64>().ok()).unwrap_or(8.0);
    let noise = run.to_string().bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    concurrency.min(16.0) * (1.0 + f64::from(noise % 50) / 1000.0)
}

fn world(restart: &str, routers: usize, failure_policy: FailurePolicy) -> World {
    let plan = Small { models: 2, routers, restart, experiments: EXPERIMENTS, ..Small::default() }.plan();
    let mut world = World::new(plan, Limits { failure_policy, ..Limits::default() });
    world.value = throughput;
    world
}

const PATIENT: FailurePolicy = FailurePolicy { attempts_per_run: 3, maximum_failed_runs: 10_000 };

fn restarts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Repetition", "Campaign", "Run"])
}

fn events(of: Vec<Event>, most: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(prop::sample::select(of), 0..most)
}

fn every_run(world: &World) -> BTreeSet<RunId> {
    let plan = effective(&world.plan, &world.decisions);
    let runs = plan.blocks.iter().flat_map(|block| block.runs.iter().filter_map(|run| plan.run_id(block, run)));
    runs.collect()
}

/// Within a block, what counts of one boot was executed on the same servers.
fn assert_blocks_are_whole(world: &World) {
    let counted = counted_attempts(&world.plan, &world.decisions, &world.observed.attempts);
    let mut generations: HashMap<_, BTreeSet<u32>> = HashMap::new();
    for attempt in world.observed.attempts.iter().filter(|attempt| counted.contains(&attempt.id)) {
        let RunId { experiment, condition, repetition, arm: _, router: _ } = attempt.id.run.clone();
        let servers = generations.entry((experiment, condition, repetition, attempt.boot)).or_default();
        servers.insert(attempt.boot_generation);
    }
    for (block, generations) in generations {
        assert_eq!(generations.len(), 1, "{block:?} mixes servers {generations:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn interruptions_at_any_step_change_nothing_that_counts(
        restart in restarts(),
        routers in 1_usize..3,
        events in events(vec![Event::Fine, Event::Fine, Event::Fine, Event::Crash, Event::Suspend, Event::Slow], 150),
    ) {
        let mut calm = world(restart, routers, FailurePolicy::default());
        let mut broken = world(restart, routers, FailurePolicy::default());
        prop_assert_eq!(calm.run_to_end([]), Outcome::Completed);
        prop_assert_eq!(broken.run_to_end(events), Outcome::Completed);
        prop_assert_eq!(calm.counted(), broken.counted());
        prop_assert_eq!(every_run(&calm), every_run(&broken));
        prop_assert_eq!(broken.counted().into_iter().collect::<BTreeSet<_>>(), every_run(&broken), "nothing is lost");
        prop_assert!(calm.observed.attempts.len() == every_run(&calm).len(), "nothing is executed twice");
        assert_blocks_are_whole(&broken);
    }

    #[test]
    fn failures_at_any_step_end_and_keep_to_the_policy(
        restart in restarts(),
        routers in 1_usize..3,
        attempts_per_run in 1_u32..4,
        events in events(vec![
            Event::Fine, Event::Fine, Event::Fine, Event::Fine, Event::NoEvidence, Event::LoadFails,
            Event::ServerDies, Event::ServerRestarts, Event::Crash, Event::Suspend,
        ], 200),
    ) {
        let policy = FailurePolicy { attempts_per_run, maximum_failed_runs: 10_000 };
        let mut world = world(restart, routers, policy);
        let outcome = world.run_to_end(events);
        assert_blocks_are_whole(&world);
        let mut costly: BTreeMap<RunId, u32> = BTreeMap::new();
        let mut settled = BTreeSet::new();
        for attempt in &world.observed.attempts {
            if attempt.verdict != Verdict::Interrupted {
                settled.insert(attempt.id.run.clone());
            }
            if attempt.verdict == Verdict::Failed {
                *costly.entry(attempt.id.run.clone()).or_default() += 1;
            }
        }
        prop_assert!(costly.values().all(|failed| *failed <= attempts_per_run), "{costly:?}");
        prop_assert_eq!(settled, every_run(&world), "every run came to something");
        let whole = world.counted().len() == every_run(&world).len();
        prop_assert!(!whole || outcome == Outcome::Completed, "{outcome:?}");
    }

    #[test]
    fn patience_outlasts_a_few_failures(
        restart in restarts(),
        at in 0_usize..120,
        event in prop::sample::select(vec![Event::LoadFails, Event::ServerDies, Event::ServerRestarts]),
    ) {
        let mut world = world(restart, 2, PATIENT);
        let events = (0..=at).map(|step| if step == at { event } else { Event::Fine });
        prop_assert_eq!(world.run_to_end(events), Outcome::Completed);
        prop_assert_eq!(world.counted().len(), every_run(&world).len());
        assert_blocks_are_whole(&world);
    }
}

#[test]
fn the_calm_campaign_decides_what_its_numbers_say() {
    for restart in ["Repetition", "Campaign", "Run"] {
        let mut calm = world(restart, 2, FailurePolicy::default());
        assert_eq!(calm.run_to_end([]), Outcome::Completed);
        let plan = effective(&calm.plan, &calm.decisions);
        let points: Vec<u32> = plan
            .conditions
            .iter()
            .filter(|condition| condition.experiment == "search")
            .filter_map(|condition| condition.load.max_concurrency)
            .collect();
        assert_eq!(points, [2, 4, 8, 16, 32], "it stops one doubling beyond 16");
        let expected_boots = match plan.spec.engine.restart {
            Restart::Repetition => plan.blocks.iter().map(|block| block.repetition).max().unwrap() as usize + 2,
            Restart::Campaign => 2,
            Restart::Run => plan.run_count(),
        };
        assert_eq!(plan.boots.len(), expected_boots);
    }
}
