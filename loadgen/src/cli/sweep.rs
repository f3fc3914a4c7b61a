//! Several runs, one for each rate and limit, and a table of them.

use std::io::{self, Write};

use anyhow::Context;

use super::args::Args;
use super::one_run::{OneRun, Outcome, one_run};
use super::plan::Point;
use crate::result_file::Metric;

/// Runs the points in order; an interrupted one ends the sweep.
pub(super) async fn sweep(args: &Args, model: &str, points: &[Point]) -> anyhow::Result<Outcome> {
    let mut runs = Vec::with_capacity(points.len());
    for (number, point) in points.iter().enumerate() {
        let run = one_run(args, model, *point, Some(number + 1)).await?;
        let interrupted = run.outcome == Outcome::Interrupted;
        runs.push((*point, run));
        if interrupted {
            break;
        }
    }
    print_table(&runs).context("the table of runs cannot be printed")?;
    let outcomes = || runs.iter().map(|(_, run)| run.outcome);
    Ok(if outcomes().any(|outcome| outcome == Outcome::Interrupted) {
        Outcome::Interrupted
    } else if outcomes().all(|outcome| outcome == Outcome::NoSuccess) {
        Outcome::NoSuccess
    } else {
        Outcome::Done
    })
}

fn print_table(runs: &[(Point, OneRun)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "RUN      RATE  LIMIT  COMPLETED  FAILED     REQ/S     TOK/S   GOODPUT  TTFT P50 MS  TPOT P50 MS")?;
    for (number, (point, run)) in runs.iter().enumerate() {
        let summary = &run.summary;
        let median = |metric: Metric| {
            let latency = summary.latencies.iter().find(|latency| latency.metric == metric);
            latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", latency.median_ms))
        };
        writeln!(
            out,
            "{:>3}  {:>8}  {:>5}  {:>9}  {:>6}  {:>8.2}  {:>8.1}  {:>8}  {:>11}  {:>11}",
            number + 1,
            point.request_rate,
            point.max_concurrency.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
            summary.completed,
            summary.failed,
            summary.request_throughput,
            summary.output_throughput,
            summary.request_goodput.map_or_else(|| "-".to_owned(), |goodput| format!("{goodput:.2}")),
            median(Metric::Ttft),
            median(Metric::Tpot),
        )?;
    }
    Ok(())
}
