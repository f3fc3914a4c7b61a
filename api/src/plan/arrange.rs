//! The order of blocks and boots. A block is put at its place among those that are there, when the plan is built and
//! when one is decided later alike; the order of the others never changes.

use super::{
    model::{Block, Boot, Plan, PlannedRun},
    order, seeds,
};
use crate::campaign::Restart;

/// The place of a block in the campaign: compared field by field.
type Place = [u64; 4];

/// Puts repetitions of conditions at their places.
pub(super) fn add_blocks(plan: &mut Plan, mut blocks: Vec<(usize, u32)>) {
    // In the order of their places each comes at the end, and nothing has to move.
    blocks.sort_by_cached_key(|(condition, repetition)| place_of(plan, *condition, *repetition));
    for (condition, repetition) in blocks {
        add_block(plan, condition, repetition);
    }
}

/// Puts one repetition of a condition at its place, with the boots that it needs.
fn add_block(plan: &mut Plan, condition: usize, repetition: u32) {
    let place = place_of(plan, condition, repetition);
    let at = plan.blocks.partition_point(|block| place_of(plan, block.condition, block.repetition) <= place);
    let next_boot = plan.blocks[..at].iter().rev().find_map(last_boot).map_or(0, |boot| boot + 1);
    let planned = &plan.conditions[condition];
    let cells = order::runs(plan.seed, planned, repetition);
    let seed = seeds::block_seed(plan.seed, &planned.experiment, &planned.slug, repetition);
    let runs = if plan.spec.engine.restart == Restart::Run {
        let boots = cells.iter().map(|(arm, _)| boot(plan, condition, vec![arm.clone()], Some(repetition)));
        let boots: Vec<Boot> = boots.collect();
        shift_boots(&mut plan.blocks[at..], boots.len());
        plan.boots.splice(next_boot..next_boot, boots);
        let runs = cells.into_iter().zip(next_boot..);
        runs.map(|((arm, router), boot)| PlannedRun { arm, router, boot }).collect()
    } else {
        let boot = shared_boot(plan, condition, repetition, at, next_boot);
        cells.into_iter().map(|(arm, router)| PlannedRun { arm, router, boot }).collect()
    };
    plan.blocks.insert(at, Block { condition, repetition, seed, runs });
}

fn place_of(plan: &Plan, condition: usize, repetition: u32) -> Place {
    let own = &plan.conditions[condition];
    let alike = |other: usize| plan.conditions[other].model == own.model && plan.conditions[other].engine == own.engine;
    let group = (0..condition).find(|other| alike(*other)).unwrap_or(condition) as u64;
    // A search's points follow its first one, by their concurrency.
    let (first, concurrency) = match &own.search {
        Some(first) => {
            let is_first = |other: usize| {
                plan.conditions[other].experiment == own.experiment && plan.conditions[other].slug == *first
            };
            let first = (0..condition).find(|other| is_first(*other)).unwrap_or(condition);
            (first as u64, u64::from(own.load.max_concurrency.unwrap_or(0)))
        }
        None => (condition as u64, 0),
    };
    let repetition = u64::from(repetition);
    match plan.spec.engine.restart {
        Restart::Repetition | Restart::Run => [repetition, group, first, concurrency],
        Restart::Campaign => [group, repetition, first, concurrency],
    }
}

fn last_boot(block: &Block) -> Option<usize> {
    block.runs.iter().map(|run| run.boot).max()
}

fn boot(plan: &Plan, condition: usize, arms: Vec<String>, repetition: Option<u32>) -> Boot {
    let condition = &plan.conditions[condition];
    Boot { model: condition.model.clone(), engine: condition.engine.clone(), arms, repetition }
}

/// The boot for a condition's model and settings, which its blocks share, made if it is not there yet.
fn shared_boot(plan: &mut Plan, condition: usize, repetition: u32, at: usize, next_boot: usize) -> usize {
    let repetition = (plan.spec.engine.restart == Restart::Repetition).then_some(repetition);
    let wanted = boot(plan, condition, plan.conditions[condition].arms.clone(), repetition);
    let same = |known: &Boot| {
        known.repetition == wanted.repetition && known.model == wanted.model && known.engine == wanted.engine
    };
    if let Some(index) = plan.boots.iter().rposition(same) {
        let order = plan.spec.arms.iter().map(|arm| &arm.name);
        let known = &mut plan.boots[index].arms;
        *known = order.filter(|arm| known.contains(arm) || wanted.arms.contains(arm)).cloned().collect();
        return index;
    }
    shift_boots(&mut plan.blocks[at..], 1);
    plan.boots.insert(next_boot, wanted);
    next_boot
}

/// Makes room for boots before those of these blocks: boots come in the order of blocks.
fn shift_boots(later: &mut [Block], by: usize) {
    for run in later.iter_mut().flat_map(|block| &mut block.runs) {
        run.boot += by;
    }
}
