//! `--saturation`: runs the search and prints what it found.

use std::io::{self, Write};

use anyhow::Context;

use super::args::Args;
use super::one_run::{Outcome, one_run};
use super::plan::{self, Point};
use crate::saturation::{Interval, Knee, Next, Search, SearchOptions};

/// Measures rate after rate until the highest that meets the objectives is known.
pub(super) async fn search(args: &Args, model: &str) -> anyhow::Result<Outcome> {
    let options = plan::search_options(args)?;
    let mut search = Search::new(options);
    let mut succeeded = false;
    for run in 0.. {
        let rate_rps = match search.next() {
            Next::Found(knee) => {
                print(&search, options, Some(knee)).context("the search cannot be printed")?;
                break;
            }
            Next::Measure(rate_rps) => rate_rps,
        };
        let point = Point {
            request_rate: rate_rps,
            max_concurrency: args.traffic.max_concurrency.first().copied(),
            // Another for each run: prompts that a cache holds would be answered too fast.
            seed: args.traffic.seed.wrapping_add(run as u64),
        };
        let measured = one_run(args, model, point, Some(run + 1)).await?;
        if measured.outcome == Outcome::Interrupted {
            print(&search, options, None).context("the search cannot be printed")?;
            return Ok(Outcome::Interrupted);
        }
        succeeded |= measured.outcome == Outcome::Done;
        let good = measured.summary.request_goodput.unwrap_or(0.0) * measured.summary.duration_s;
        let share = good / measured.planned as f64;
        tracing::info!(rate_rps, share, "share of requests that met the objectives");
        search.observe(rate_rps, share);
    }
    Ok(if succeeded { Outcome::Done } else { Outcome::NoSuccess })
}

fn print(search: &Search, options: SearchOptions, knee: Option<Knee>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "     RATE  RUNS  SHARE GOOD          95 %  GOODPUT REQ/S")?;
    for point in search.points() {
        let Interval { mean, half_width } = point.interval();
        let (rate_rps, runs) = (point.rate_rps, point.shares.len());
        writeln!(out, "{rate_rps:>9.3}  {runs:>4}  {mean:>10.4}  +-{half_width:>10.4}  {:>13.3}", mean * rate_rps)?;
    }
    let percent = options.attainment * 100.0;
    match knee {
        Some(Knee::Between(holds, fails)) => {
            writeln!(
                out,
                "{percent} % of the requests meet the objectives at {holds:.3} requests/s, no more at {fails:.3}"
            )
        }
        Some(Knee::Above(holds)) => {
            writeln!(
                out,
                "{percent} % of the requests meet the objectives up to {holds:.3} requests/s, the highest tried"
            )
        }
        Some(Knee::Below(fails)) => {
            writeln!(out, "{percent} % of the requests do not even meet the objectives at {fails:.3} requests/s")
        }
        None => writeln!(out, "interrupted before the end of the search"),
    }
}
