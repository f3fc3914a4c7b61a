//! `teebench loadgen`: one run, a sweep of several, or a search for saturation.

mod args;
mod display;
mod one_run;
mod plan;
mod saturation;
mod sweep;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

pub use args::{Args, ResultArgs, SaturationArgs, ShareArgs, TrafficArgs};

use self::one_run::{Outcome, one_run};
use crate::client::served_models;

/// Time for the server to name its models.
const MODELS_TIMEOUT: Duration = Duration::from_secs(30);

/// Exit codes beside 0 and 1.
const BAD_INPUT: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Runs the load that the flags describe and prints its summary.
///
/// # Errors
/// When the load cannot be run or its results cannot be written. Bad flags are reported here, with exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // The workers have event loops of their own; this one only waits for them and shows progress.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(run_load(args))
}

async fn run_load(args: Args) -> anyhow::Result<ExitCode> {
    if let Err(error) = check(&args) {
        tracing::error!("{error:#}");
        return Ok(ExitCode::from(BAD_INPUT));
    }
    let model = match &args.model {
        Some(model) => model.clone(),
        None => first_model(&args).await?,
    };
    let outcome = match plan::points(&args.traffic)[..] {
        _ if args.saturation.saturation => saturation::search(&args, &model).await?,
        [point] if !args.share.merge.is_empty() => one_run::merged_run(&args, &model, point)?.outcome,
        [point] => one_run(&args, &model, point, None).await?.outcome,
        ref points => sweep::sweep(&args, &model, points).await?,
    };
    Ok(match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::NoSuccess => ExitCode::FAILURE,
        Outcome::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

/// Finds what is wrong with the flags before a server is asked for anything.
fn check(args: &Args) -> anyhow::Result<()> {
    // Stands for the name that the server may be asked for.
    let model = args.model.as_deref().unwrap_or_default();
    let points = plan::points(&args.traffic);
    if points.len() > 1 {
        let of_one = [
            ("--result-filename", args.result.result_filename.is_some()),
            ("--part-file", args.share.part_file.is_some()),
            ("--merge", !args.share.merge.is_empty()),
        ];
        if let Some((flag, _)) = of_one.iter().find(|(_, given)| *given) {
            bail!("{flag}: it is of one run; give one --request-rate and one --max-concurrency");
        }
    }
    for point in &points {
        plan::result_options(args, model, *point)?;
    }
    // The runs differ in rate, limit and seed, with which nothing more can be wrong: a file is checked once for all of
    // them. Merging sends nothing and needs no file.
    if let Some(first) = points.first().filter(|_| args.share.merge.is_empty()) {
        plan::load(args, model, *first)?;
    }
    if args.saturation.saturation {
        plan::search_options(args)?;
    }
    Ok(())
}

async fn first_model(args: &Args) -> anyhow::Result<String> {
    let base_url = plan::base_urls(args).into_iter().next().context("--base-url: give a URL")?;
    let models = served_models(&base_url, &plan::http(args)?, MODELS_TIMEOUT)
        .await
        .context("no --model, and the server names none")?;
    models.into_iter().next().with_context(|| format!("{base_url} serves no model; give --model"))
}
