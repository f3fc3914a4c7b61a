//! A5 throughput, A6 time to the first token, A7 decode latency, A8 and A9 the two latencies that the notebook left
//! unfinished.

use super::{
    At, Figure, MODES, Row, by_size, change_percent, deviation, loss_percent, median, median_with_interval, number,
    values,
};
use crate::{
    metrics::Measure,
    notebook::{
        run::{PerRequest, Run},
        tree::{Condition, Experiment},
    },
};

/// A5.
pub(super) fn throughput(experiment: &Experiment) -> Vec<Row> {
    let mut rows = Vec::new();
    for condition in by_size(experiment) {
        let of = |tee| values(condition, tee, |run| Some(run.bench.output_throughput));
        let at = At { analysis: "A5", experiment: &experiment.name, condition: &condition.name, tee: None };
        for tee in MODES {
            let (at, runs) = (At { tee: Some(tee), ..at }, of(tee));
            rows.push(at.row(
                "median output throughput",
                median(&runs, "tok/s"),
                median_with_interval(&runs, "tok/s"),
                "",
            ));
            rows.push(at.row(
                "standard deviation of output throughput",
                deviation(&runs, 0, "tok/s"),
                deviation(&runs, 1, "tok/s"),
                "runs are a sample: one degree of freedom goes to their mean",
            ));
        }
        let loss = loss_percent(&of(MODES[0]), &of(MODES[1]));
        rows.push(at.row("loss of output throughput", None, loss, "the notebook shows bars and no effect"));
    }
    rows
}

/// A6 to A9.
pub(super) fn latencies(experiment: &Experiment) -> Vec<Row> {
    by_size(experiment)
        .into_iter()
        .flat_map(|condition| {
            let at = At { analysis: "A6", experiment: &experiment.name, condition: &condition.name, tee: None };
            let each = MODES.into_iter().flat_map(move |tee| {
                let of = |analysis| At { analysis, tee: Some(tee), ..at };
                [
                    first_token(of("A6"), condition, tee),
                    decode(of("A7"), condition, tee),
                    unfinished(of("A8"), condition, tee, &TTFT),
                    unfinished(of("A9"), condition, tee, &ITL),
                ]
                .concat()
            });
            each.chain(effects(at, condition)).collect::<Vec<_>>()
        })
        .collect()
}

fn first_token(at: At<'_>, condition: &Condition, tee: teebench_api::campaign::Tee) -> Vec<Row> {
    let of = |figure: fn(&PerRequest) -> f64| values(condition, tee, |run| run.per_request.as_ref().map(figure));
    let metric = |measure: Measure| values(condition, tee, |run| run.metrics.values.get(&measure).copied());
    let medians = of(|requests| requests.ttft_median_s);
    let unit = "the notebook's axis says ms, and its values are seconds; failed requests do not count";
    vec![
        at.row(
            "median time to first token",
            median(&medians, "s (labelled ms)"),
            median_with_interval(&metric(Measure::TtftP50), "ms"),
            unit,
        ),
        at.row(
            "95th percentile of time to first token",
            median(&of(|requests| requests.ttft_p95_s), "s (labelled ms)"),
            median(&metric(Measure::TtftP95), "ms"),
            "as above; under 90 requests there is no 95th percentile to speak of",
        ),
        at.row(
            "standard deviation of run medians of time to first token",
            deviation(&medians, 1, "s (labelled ms)"),
            deviation(&metric(Measure::TtftP50), 1, "ms"),
            unit,
        ),
    ]
}

fn decode(at: At<'_>, condition: &Condition, tee: teebench_api::campaign::Tee) -> Vec<Row> {
    let of_notebook = values(condition, tee, |run| {
        Some(run.bench.account.mean_tpot_ms? * run.per_request.as_ref()?.mean_output_tokens)
    });
    let summed = values(condition, tee, |run| Some(1e3 * run.per_request.as_ref()?.decode_s?));
    let reason = "a request with n tokens has n - 1 gaps, and a product of means is no mean of products";
    vec![
        at.row("median decode latency", median(&of_notebook, "ms"), median_with_interval(&summed, "ms"), reason),
        at.row(
            "standard deviation of decode latency",
            deviation(&of_notebook, 1, "ms"),
            deviation(&summed, 1, "ms"),
            reason,
        ),
    ]
}

/// A latency of A8 or A9.
struct Latency {
    name: &'static str,
    median: Measure,
    p95: Measure,
    /// The median that the client summed up itself.
    own_ms: fn(&Run) -> Option<f64>,
}

const TTFT: Latency = Latency {
    name: "time to first token",
    median: Measure::TtftP50,
    p95: Measure::TtftP95,
    own_ms: |run| run.bench.account.median_ttft_ms,
};

const ITL: Latency = Latency {
    name: "inter-token latency",
    median: Measure::ItlP50,
    p95: Measure::ItlP95,
    own_ms: |run| run.bench.account.median_itl_ms,
};

fn unfinished(at: At<'_>, condition: &Condition, tee: teebench_api::campaign::Tee, latency: &Latency) -> Vec<Row> {
    let metric = |measure: Measure| values(condition, tee, |run| run.metrics.values.get(&measure).copied());
    let reason = "the notebook leaves this section unfinished";
    let name = latency.name;
    let differences =
        values(condition, tee, |run| Some((run.metrics.values.get(&latency.median)? - (latency.own_ms)(run)?).abs()));
    let largest = differences.iter().copied().reduce(f64::max).map(|largest| number(largest, "ms"));
    let medians = metric(latency.median);
    vec![
        at.row(format!("median {name}"), None, median_with_interval(&medians, "ms"), reason),
        at.row(format!("standard deviation of {name}"), None, deviation(&medians, 1, "ms"), reason),
        at.row(format!("95th percentile of {name}"), None, median(&metric(latency.p95), "ms"), reason),
        at.row(
            format!("largest difference from the file's own median {name}"),
            None,
            largest.or_else(|| Some(Figure::Words("the files have no median of their own".to_owned()))),
            reason,
        ),
    ]
}

fn effects(at: At<'_>, condition: &Condition) -> Vec<Row> {
    [("A6", Measure::TtftP50, "time to first token"), ("A9", Measure::ItlP50, "inter-token latency")]
        .into_iter()
        .map(|(analysis, measure, name)| {
            let of = |tee| values(condition, tee, |run| run.metrics.values.get(&measure).copied());
            let change = change_percent(&of(MODES[0]), &of(MODES[1]));
            At { analysis, ..at }.row(format!("change of {name}"), None, change, "the notebook shows no effect")
        })
        .collect()
}
