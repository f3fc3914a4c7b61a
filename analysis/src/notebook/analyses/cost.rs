//! A0 totals of experiments, A1 the table of runs, A15 the price.

use super::{At, Figure, MODES, Row, number};
use crate::{
    metrics::Measure,
    notebook::{
        run::Run,
        tree::{Condition, Experiment},
    },
};

/// The notebook's price of one machine for an hour.
const PRICE_PER_HOUR: f64 = 7.0;

/// Experiments whose totals the notebook counts.
const COUNTED: [&str; 4] = ["throughput_latency", "saturation_point", "sequence_overhead", "energy"];

const NO_PRICE: &str =
    "the notebook has 7 an hour for both modes, without currency, source and date; a price belongs to an arm";

/// A0 and A15.
pub(super) fn totals(experiment: &Experiment) -> Vec<Row> {
    let at = At { analysis: "A0", experiment: &experiment.name, condition: "", tee: None };
    let counted = COUNTED.contains(&experiment.name.as_str());
    let uncounted = if counted { "" } else { "the notebook's totals leave this directory out" };
    let seconds: f64 = experiment.runs().map(|run| run.bench.duration).sum();
    let runs = number(experiment.runs().count() as f64, "");
    let clock = Figure::Words(hours_minutes_seconds(seconds));
    let cost = number(cost(seconds), "");
    let of_notebook = |figure: &Figure| counted.then(|| figure.clone());
    vec![
        at.row("runs", of_notebook(&runs), Some(runs.clone()), uncounted),
        at.row("total duration of the windows", of_notebook(&clock), Some(clock.clone()), uncounted),
        at.row("cost", of_notebook(&cost), None, NO_PRICE),
        At { analysis: "A15", ..at }.row(
            "price of a machine and hour",
            Some(number(PRICE_PER_HOUR, "")),
            None,
            NO_PRICE,
        ),
    ]
}

/// A1.
pub(super) fn runs(experiment: &Experiment) -> Vec<Row> {
    let of_condition = |condition: &Condition| {
        MODES
            .into_iter()
            .flat_map(|tee| condition.of(tee).map(move |run| (tee, run)))
            .flat_map(|(tee, run)| {
                let at =
                    At { analysis: "A1", experiment: &experiment.name, condition: &condition.name, tee: Some(tee) };
                of_run(at, run)
            })
            .collect::<Vec<_>>()
    };
    experiment.conditions.iter().flat_map(of_condition).collect()
}

fn of_run(at: At<'_>, run: &Run) -> Vec<Row> {
    let Run { repetition, bench, metrics, .. } = run;
    let called = |what: &str| format!("repetition {repetition}: {what}");
    let whole = metrics.failed == 0 && bench.completed == bench.num_prompts;
    let check = if whole { "all completed" } else { "assertion fails, and the notebook stops here" };
    let mut rows = vec![
        at.row(
            called("requests"),
            Some(Figure::Words(check.to_owned())),
            Some(Figure::Words(format!("{} completed, {} failed", metrics.completed, metrics.failed))),
            if whole { "" } else { "failed requests are counted and shown; they do not end the analysis" },
        ),
        at.same(called("duration"), Some(number(bench.duration, "s"))),
        at.same(called("output throughput"), Some(number(bench.output_throughput, "tok/s"))),
        at.same(called("total token throughput"), Some(number(bench.total_token_throughput, "tok/s"))),
        at.row(called("cost"), Some(number(cost(bench.duration), "")), None, NO_PRICE),
    ];
    for measure in [Measure::TTFT, Measure::TPOT, Measure::ITL, Measure::E2EL].into_iter().flatten().map(|each| each.1)
    {
        if measure.title().contains("mean") {
            continue;
        }
        let value = metrics.values.get(&measure).map(|value| number(*value, measure.unit()));
        let absent = || metrics.absent.get(&measure).map(|reason| Figure::Words(format!("absent: {reason}")));
        rows.push(at.row(called(measure.title()), None, value.or_else(absent), "the notebook's table has no latency"));
    }
    rows
}

fn cost(seconds: f64) -> f64 {
    seconds / 3600.0 * PRICE_PER_HOUR
}

fn hours_minutes_seconds(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of seconds")]
    let whole = seconds.max(0.0) as u64;
    format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a0_durations_are_hours_minutes_and_seconds() {
        assert_eq!(hours_minutes_seconds(100.0 * 3600.0 + 61.9), "100:01:01");
    }
}
