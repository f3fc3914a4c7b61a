//! Saturation searches: concurrency doubles until no arm and router gains any more.

use super::{Decision, state::State};
use crate::{
    campaign::{Metric, Saturation},
    plan::{Block, Condition, repetitions},
};

/// The next step of a search whose last point has been tried once: another point, or its end.
pub(super) fn due_step(state: &State<'_>) -> Option<Decision> {
    let firsts = state.plan.conditions.iter().filter(|condition| condition.search.as_ref() == Some(&condition.slug));
    firsts.filter(|first| is_undecided(state, first)).find_map(|first| step(state, first))
}

/// Whether the search that a condition belongs to goes on. `false` for conditions of no search.
pub(super) fn is_undecided(state: &State<'_>, point: &Condition) -> bool {
    let ended = |decision: &Decision| match decision {
        Decision::Saturated { condition, .. } => {
            condition.experiment == point.experiment && Some(&condition.condition) == point.search.as_ref()
        }
        _ => false,
    };
    point.search.is_some() && !state.decisions().iter().any(ended)
}

fn step(state: &State<'_>, first: &Condition) -> Option<Decision> {
    let search = state.plan.experiment(&first.experiment)?.load.saturation?;
    let points = first_blocks(state, first);
    let (last, block) = points.last()?;
    if state.runs_in_scope(block).next().is_none() || !state.is_settled(block) {
        return None;
    }
    let (progress, concurrency) = (progress(state, search, &points), last.load.max_concurrency?);
    let next = repetitions::concurrencies(search).find(|next| *next > concurrency);
    Some(match (progress, next) {
        (Progress::Gaining, Some(max_concurrency)) => {
            Decision::SaturationPoint { condition: first.id(), max_concurrency }
        }
        (progress, _) => Decision::Saturated {
            condition: first.id(),
            max_concurrency: concurrency,
            bracketed: progress == Progress::Bracketed,
        },
    })
}

/// The points of a search in order, each with its block of the first repetition.
fn first_blocks<'s>(state: &'s State<'_>, first: &Condition) -> Vec<(&'s Condition, &'s Block)> {
    let of_search = state.plan.blocks.iter().filter(|block| block.repetition == 1).filter_map(|block| {
        let point = &state.plan.conditions[block.condition];
        (point.experiment == first.experiment && point.search == first.search).then_some((point, block))
    });
    of_search.collect()
}

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Some arm and router may gain by another doubling.
    Gaining,
    /// No arm and router gained by one of its doublings.
    Bracketed,
    /// Nothing at the last point counts: another would tell nothing.
    Lost,
}

fn progress(state: &State<'_>, search: Saturation, points: &[(&Condition, &Block)]) -> Progress {
    let Some((_, last)) = points.last() else { return Progress::Lost };
    let throughputs = |arm: &str, router: &str| -> Vec<Option<f64>> {
        let at = |block: &Block| {
            let run = block.runs.iter().find(|run| run.arm == arm && run.router == router)?;
            state.valid_attempt(block, run)?.metrics.get(&Metric::OutputThroughput).copied()
        };
        points.iter().map(|(_, block)| at(block)).collect()
    };
    let cells: Vec<_> = state.runs_in_scope(last).map(|run| throughputs(&run.arm, &run.router)).collect();
    if cells.iter().all(|cell| cell.last().is_none_or(Option::is_none)) {
        return Progress::Lost;
    }
    let needed = 1.0 + f64::from(search.gain_permille) / 1000.0;
    let stopped_gaining = |cell: &Vec<Option<f64>>| {
        cell.windows(2).any(|pair| match pair {
            [Some(before), Some(after)] => after / before < needed,
            _ => false,
        })
    };
    if cells.iter().all(stopped_gaining) { Progress::Bracketed } else { Progress::Gaining }
}
