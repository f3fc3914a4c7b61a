//! The order of the runs of a block: random, and counterbalanced over consecutive repetitions.
//!
//! The rows come from Williams' design ("Experimental designs balanced for the estimation of residual effects of
//! treatments", 1949). For an even number n of cells (arm, router) it is a Latin square of n rows in which each row
//! read backwards is another row: rows are dealt in such pairs, so that a linear drift cancels over every two
//! consecutive repetitions, and over every n repetitions each cell takes each position once. For an odd number the
//! n rows of the square come first and then their n mirror images. Labels are given so that with an even number of
//! cells two arms alternate as A B B A A B …, which cancels drift within a block as well.

use super::{model::Condition, seeds};

/// The cells (arm, router) of a condition, in the order in which one repetition runs them.
pub(super) fn runs(seed: u64, condition: &Condition, repetition: u32) -> Vec<(String, String)> {
    let (arms, routers) = (condition.arms.len(), condition.routers.len());
    let names = [condition.experiment.as_bytes(), condition.slug.as_bytes()];
    let arm_labels = seeds::permutation("teebench arm labels 1", seed, &names, arms);
    let router_labels = seeds::permutation("teebench router labels 1", seed, &names, routers);
    row(seed, &names, arms * routers, repetition.saturating_sub(1) as usize)
        .into_iter()
        .map(|label| {
            let arm = arm_labels[label % arms];
            let router = router_labels[label / arms];
            (condition.arms[arm].clone(), condition.routers[router].clone())
        })
        .collect()
}

/// The row for a repetition, counted from 0, as labels of `0..cells`.
fn row(seed: u64, names: &[&[u8]], cells: usize, repetition: usize) -> Vec<usize> {
    if cells == 0 {
        return Vec::new();
    }
    let cycle_length = if cells.is_multiple_of(2) { cells } else { 2 * cells };
    let (cycle, place) = (repetition / cycle_length, repetition % cycle_length);
    let cycle = (cycle as u64).to_be_bytes();
    let names = [names, &[&cycle]].concat();
    let coin = |item: usize| {
        let item = (item as u64).to_be_bytes();
        seeds::derive("teebench row coin 1", seed, &[&names[..], &[&item]].concat())[0] & 1 == 1
    };
    if cells.is_multiple_of(2) {
        let pair = seeds::permutation("teebench row pairs 1", seed, &names, cells / 2)[place / 2];
        let second_half = coin(pair) != (place % 2 == 1);
        williams(cells, pair + if second_half { cells / 2 } else { 0 })
    } else {
        let (half, place) = (place / cells, place % cells);
        let mirrored = coin(0) != (half == 1);
        let purpose = if half == 0 { "teebench rows 1" } else { "teebench mirrored rows 1" };
        let mut row = williams(cells, seeds::permutation(purpose, seed, &names, cells)[place]);
        if mirrored {
            row.reverse();
        }
        row
    }
}

/// Row `shift` of Williams' square: 0, n-1, 1, n-2, … with `shift` added modulo n.
fn williams(n: usize, shift: usize) -> Vec<usize> {
    (0..n).map(|place| (if place % 2 == 0 { place / 2 } else { n - place.div_ceil(2) } + shift) % n).collect()
}
