//! A12 throughput by input and output length, A13 what the TEE costs at each.

use super::{At, Figure, MODES, Row, deviation, loss_percent, median, number, values};
use crate::{
    notebook::{
        names::Label,
        tree::{Condition, Experiment},
    },
    stats::numpy,
};

/// A12 and A13.
pub(super) fn sequence(experiment: &Experiment) -> Vec<Row> {
    let mut conditions: Vec<(u32, u32, &Condition)> = experiment
        .conditions
        .iter()
        .filter_map(|condition| match condition.label {
            Label::Lengths { input, output } => Some((input, output, condition)),
            Label::Model(_) | Label::MaxNumSeqs { .. } | Label::Concurrency { .. } => None,
        })
        .collect();
    conditions.sort_by_key(|(input, output, _)| (*input, *output));
    conditions.into_iter().flat_map(|(_, _, condition)| cell(experiment, condition)).collect()
}

fn cell(experiment: &Experiment, condition: &Condition) -> Vec<Row> {
    let at = At { analysis: "A12", experiment: &experiment.name, condition: &condition.name, tee: None };
    let of = |tee| values(condition, tee, |run| Some(run.bench.total_token_throughput));
    let mut rows = Vec::new();
    for tee in MODES {
        let (at, runs) = (At { tee: Some(tee), ..at }, of(tee));
        rows.push(at.same("median total token throughput", median(&runs, "tok/s")));
        rows.push(at.row(
            "standard deviation of total token throughput",
            deviation(&runs, 0, "tok/s"),
            deviation(&runs, 1, "tok/s"),
            "runs are a sample: one degree of freedom goes to their mean",
        ));
    }
    let (off, on) = (of(MODES[0]), of(MODES[1]));
    let premium = numpy::median(&off).zip(numpy::median(&on)).map(|(off, on)| number(100.0 * ((off - on) / on), "%"));
    let at = At { analysis: "A13", ..at };
    rows.push(at.row(
        "loss of total token throughput",
        None,
        loss_percent(&off, &on),
        "a loss is a share of what there was: (off - on)/off",
    ));
    rows.push(at.row(
        "cost premium (the notebook's overhead)",
        premium.clone(),
        premium.map(|figure| match figure {
            Figure::Number { value, .. } => number(value, "%"),
            Figure::Words(words) => Figure::Words(words),
        }),
        "(off - on)/on is what a token costs more at equal prices, not what throughput is lost",
    ));
    rows
}
