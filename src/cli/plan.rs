//! `teebench plan`: shows what a campaign will do.

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use teebench_api::plan;

use super::{BAD_INPUT, DONE, parse_pair, print};
use crate::local::{Simulate, planned};

/// Show what a campaign will do, how long it takes and what it costs.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench plan manifests/samples/planetserve-ablation.yaml -o json")]
pub struct Args {
    /// Campaign file.
    file: PathBuf,
    /// Format of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Plan the run on the simulator, with this profile.
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "Tiny", require_equals = true, ignore_case = true)]
    simulate: Option<Simulate>,
    /// File of an experiment's data set that lies in a cluster.
    #[arg(long, value_name = "EXPERIMENT=FILE", value_parser = parse_pair)]
    dataset: Vec<(String, String)>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For people.
    Text,
    /// The whole plan, as in `plan.json`.
    Json,
}

/// Prints the plan.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let datasets = args.dataset.iter().map(|(name, file)| (name.clone(), PathBuf::from(file))).collect();
    let planned = match planned(&args.file, args.simulate, &datasets) {
        Ok(planned) => planned,
        Err(refusal) => {
            eprintln!("{refusal}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    match args.output {
        Format::Text => print(&plan::text(&planned.plan))?,
        // The very bytes of the file, so that their SHA-256 is the plan's digest.
        Format::Json => print(&String::from_utf8_lossy(&planned.plan.to_json()))?,
    }
    Ok(ExitCode::from(DONE))
}
