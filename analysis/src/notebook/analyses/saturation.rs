//! A10 throughput against concurrency and its knee, A11 totals of a sweep.

use teebench_api::campaign::Tee;

use super::{At, Figure, MODES, Row, deviation, loss_percent, median, number, values};
use crate::{
    metrics::Measure,
    notebook::{
        names::Label,
        tree::{Condition, Experiment},
    },
    stats::{self, Knee, LoadLevel},
};

/// A10 and A11.
pub(super) fn saturation(experiment: &Experiment) -> Vec<Row> {
    let at = At { analysis: "A10", experiment: &experiment.name, condition: "", tee: None };
    let mut rows: Vec<Row> = experiment.conditions.iter().flat_map(|condition| level(at, condition)).collect();
    let knees: Vec<Option<Knee>> = MODES.into_iter().map(|tee| stats::knee(&levels(experiment, tee), 0)).collect();
    for (tee, knee) in MODES.into_iter().zip(&knees) {
        if let Some(knee) = knee {
            rows.push(knee_row(At { tee: Some(tee), ..at }, knee));
        }
    }
    if let [Some(off), Some(on)] = knees.as_slice() {
        rows.push(at.row(
            "loss of output throughput at the knee, each mode at its own",
            None,
            Some(number(100.0 * (1.0 - on.throughput / off.throughput), "%")),
            "the notebook plots one mode",
        ));
    }
    rows.extend(totals(experiment));
    rows
}

fn level(at: At<'_>, condition: &Condition) -> Vec<Row> {
    let at = At { condition: &condition.name, ..at };
    let output = |tee| values(condition, tee, |run| Some(run.bench.output_throughput));
    let mut rows = Vec::new();
    for tee in MODES {
        let at = At { tee: Some(tee), ..at };
        let runs = output(tee);
        if runs.is_empty() {
            continue;
        }
        let shown = |figure: Option<Figure>| figure.filter(|_| tee == Tee::Enabled);
        let one_mode = if tee == Tee::Enabled { "" } else { "the notebook plots the TEE on alone" };
        let peak = values(condition, tee, |run| run.bench.account.max_concurrent_requests.map(|peak| peak as f64));
        rows.push(at.row(
            "horizontal axis",
            shown(median(&peak, "peak concurrency (labelled QPS)")),
            concurrency(condition).map(|level| number(level, "requests in flight")),
            "the notebook's axis is the peak of concurrency and says queries per second",
        ));
        let tokens = median(&runs, "tok/s");
        rows.push(at.row("median output throughput", shown(tokens.clone()), tokens, one_mode));
        rows.push(at.row(
            "standard deviation of output throughput",
            shown(deviation(&runs, 0, "tok/s")),
            deviation(&runs, 1, "tok/s"),
            "runs are a sample: one degree of freedom goes to their mean",
        ));
        let requests = values(condition, tee, |run| Some(run.bench.request_throughput));
        rows.push(at.row("median request throughput", None, median(&requests, "req/s"), "not in the notebook"));
        let p95 = values(condition, tee, |run| run.metrics.values.get(&Measure::E2elP95).copied());
        rows.push(at.row(
            "95th percentile of end-to-end latency",
            None,
            median(&p95, "ms").or_else(|| Some(Figure::Words("absent: fewer than 90 requests".to_owned()))),
            "not in the notebook",
        ));
    }
    let loss = loss_percent(&output(MODES[0]), &output(MODES[1]));
    rows.push(at.row("loss of output throughput at equal load", None, loss, "the notebook plots one mode"));
    rows
}

fn concurrency(condition: &Condition) -> Option<f64> {
    match &condition.label {
        Label::Concurrency { concurrency, .. } => Some(f64::from(*concurrency)),
        Label::Model(_) | Label::MaxNumSeqs { .. } | Label::Lengths { .. } => None,
    }
}

/// Levels of one mode in ascending order of concurrency.
fn levels(experiment: &Experiment, tee: Tee) -> Vec<LoadLevel> {
    let mut levels: Vec<LoadLevel> = experiment
        .conditions
        .iter()
        .filter_map(|condition| {
            let throughputs = values(condition, tee, |run| Some(run.bench.output_throughput));
            (!throughputs.is_empty()).then_some(LoadLevel { concurrency: concurrency(condition)?, throughputs })
        })
        .collect();
    levels.sort_by(|left, right| left.concurrency.total_cmp(&right.concurrency));
    levels
}

fn knee_row(at: At<'_>, knee: &Knee) -> Row {
    let quantity = if knee.bracketed {
        "knee: least concurrency within 5 % of the best output throughput"
    } else {
        "knee at the end of the sweep, which has to go on to find one"
    };
    let figure = Figure::Number {
        value: knee.concurrency,
        low: knee.interval.map(|interval| interval.low),
        high: knee.interval.map(|interval| interval.high),
        unit: "requests in flight",
    };
    at.row(quantity, None, Some(figure), "the notebook reads it from the plot")
}

fn totals(experiment: &Experiment) -> Vec<Row> {
    let at = At { analysis: "A11", experiment: &experiment.name, condition: "", tee: None };
    let sum = |of: fn(&crate::notebook::run::Run) -> f64| number(experiment.runs().map(of).sum(), "");
    vec![
        at.same("runs", Some(number(experiment.runs().count() as f64, ""))),
        at.same("requests completed", Some(sum(|run| run.bench.completed as f64))),
        at.same("output tokens", Some(sum(|run| run.bench.total_output_tokens as f64))),
        at.same("duration in seconds", Some(sum(|run| run.bench.duration))),
    ]
}
