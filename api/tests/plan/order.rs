//! The order of runs: random, counterbalanced, and independent of what else is in the campaign.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;
use teebench_api::plan::{Block, Plan};

use crate::fixtures::{Small, plan_of};

fn repeated(arms: usize, routers: usize, repetitions: u32, seed: i64) -> Plan {
    let experiments = format!(
        "
- name: one
  dataset: {{random: {{prompts: 100, inputTokens: [128]}}}}
  load: {{maxConcurrency: [8]}}
  outputTokens: [32]
  repetitions: {{minimum: {repetitions}}}
"
    );
    let mut spec = Small { arms, routers, experiments: &experiments, ..Small::default() }.spec();
    spec.seed = seed;
    plan_of(&spec)
}

fn cells(block: &Block) -> Vec<(String, String)> {
    block.runs.iter().map(|run| (run.arm.clone(), run.router.clone())).collect()
}

proptest! {
    #[test]
    fn every_cell_takes_every_position_equally_often(
        arms in 1_usize..5, routers in 1_usize..5, repetitions in 1_u32..30, seed in 0_i64..1_000_000,
    ) {
        let plan = repeated(arms, routers, repetitions, seed);
        let n = arms * routers;
        let mut counts: BTreeMap<((String, String), usize), i32> = BTreeMap::new();
        for cell in cells(&plan.blocks[0]) {
            for position in 0..n {
                counts.insert((cell.clone(), position), 0);
            }
        }
        prop_assert_eq!(counts.len(), n * n, "every cell is there once");
        for block in &plan.blocks {
            for (position, cell) in cells(block).into_iter().enumerate() {
                *counts.get_mut(&(cell, position)).unwrap() += 1;
            }
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            prop_assert!(most - least <= 1, "after repetition {}: {counts:?}", block.repetition);
        }
    }

    #[test]
    fn a_linear_drift_cancels_over_two_repetitions(
        arms in 1_usize..5, routers in 1_usize..5, seed in 0_i64..1_000_000,
    ) {
        prop_assume!((arms * routers).is_multiple_of(2));
        let plan = repeated(arms, routers, 8, seed);
        for pair in plan.blocks.chunks(2) {
            let mut backwards = cells(&pair[1]);
            backwards.reverse();
            prop_assert_eq!(cells(&pair[0]), backwards);
        }
    }

    #[test]
    fn two_arms_alternate_within_each_block(routers in 1_usize..6, seed in 0_i64..1_000_000) {
        let plan = repeated(2, routers, 6, seed);
        for block in &plan.blocks {
            let arms: Vec<&String> = block.runs.iter().map(|run| &run.arm).collect();
            for pair in arms.chunks(2) {
                prop_assert_ne!(pair[0], pair[1], "each arm is in every two consecutive runs: {:?}", arms);
            }
            prop_assert!(arms.windows(3).all(|w| w[0] != w[1] || w[1] != w[2]), "{:?}", arms);
        }
    }

    #[test]
    fn adding_an_experiment_changes_no_other(seed in 0_i64..1_000_000, repetitions in 1_u32..5, first in any::<bool>()) {
        let one = format!("
- name: one
  dataset: {{random: {{prompts: 100, inputTokens: [128, 256]}}}}
  load: {{maxConcurrency: [8]}}
  outputTokens: [32]
  repetitions: {{minimum: {repetitions}}}
");
        let other = "
- name: other
  dataset: {random: {prompts: 10, inputTokens: [64]}}
  load: {maxConcurrency: [2]}
  outputTokens: [16]
  repetitions: {minimum: 3}
";
        let both = if first { format!("{other}{one}") } else { format!("{one}{other}") };
        let of_one = |experiments: &str| {
            let mut spec = Small { routers: 3, experiments, ..Small::default() }.spec();
            spec.seed = seed;
            let plan = plan_of(&spec);
            let blocks = plan.blocks.iter().filter(|block| plan.conditions[block.condition].experiment == "one");
            blocks
                .map(|block| (plan.conditions[block.condition].clone(), block.repetition, block.seed, cells(block)))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(of_one(&one), of_one(&both));
    }
}

/// Two models, an experiment of two conditions and one of a single one, two repetitions.
const TWO: &str = "
- name: two
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {maxConcurrency: [8, 16]}
  outputTokens: [32]
  repetitions: {minimum: 2}
- name: three
  models: [model-0]
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {maxConcurrency: [8]}
  outputTokens: [32]
  repetitions: {minimum: 3}
";

#[rstest]
#[case::repetition(
    "Repetition",
    "0:two.model-0.8.r1 0:two.model-0.16.r1 0:three.model-0.8.r1 1:two.model-1.8.r1 \
    1:two.model-1.16.r1 2:two.model-0.8.r2 2:two.model-0.16.r2 2:three.model-0.8.r2 3:two.model-1.8.r2 \
    3:two.model-1.16.r2 4:three.model-0.8.r3"
)]
#[case::campaign(
    "Campaign",
    "0:two.model-0.8.r1 0:two.model-0.16.r1 0:three.model-0.8.r1 0:two.model-0.8.r2 \
    0:two.model-0.16.r2 0:three.model-0.8.r2 0:three.model-0.8.r3 1:two.model-1.8.r1 1:two.model-1.16.r1 \
    1:two.model-1.8.r2 1:two.model-1.16.r2"
)]
#[case::run(
    "Run",
    "0,1:two.model-0.8.r1 2,3:two.model-0.16.r1 4,5:three.model-0.8.r1 6,7:two.model-1.8.r1 \
    8,9:two.model-1.16.r1 10,11:two.model-0.8.r2 12,13:two.model-0.16.r2 14,15:three.model-0.8.r2 \
    16,17:two.model-1.8.r2 18,19:two.model-1.16.r2 20,21:three.model-0.8.r3"
)]
fn blocks_and_boots_come_in_the_order_that_restart_says(#[case] restart: &str, #[case] expected: &str) {
    let plan = Small { models: 2, restart, experiments: TWO, ..Small::default() }.plan();
    let line = plan.blocks.iter().map(|block| {
        let condition = &plan.conditions[block.condition];
        let mut boots: Vec<String> = block.runs.iter().map(|run| run.boot.to_string()).collect();
        boots.dedup();
        let concurrency = condition.load.max_concurrency.unwrap();
        format!("{}:{}.{}.{concurrency}.r{}", boots.join(","), condition.experiment, condition.model, block.repetition)
    });
    assert_eq!(line.collect::<Vec<_>>().join(" "), expected);
    for block in &plan.blocks {
        for run in &block.runs {
            let boot = &plan.boots[run.boot];
            assert!(boot.arms.contains(&run.arm));
            assert_eq!(boot.model, plan.conditions[block.condition].model);
            assert_eq!(boot.repetition, (restart != "Campaign").then_some(block.repetition));
        }
    }
}
