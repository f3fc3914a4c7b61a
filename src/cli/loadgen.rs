//! `teebench loadgen`: measures a server, by flags or by an attempt's frozen inputs.

use std::{path::PathBuf, process::ExitCode};

use crate::measure;

/// Measure an OpenAI-compatible server; takes the flags of `vllm bench serve`.
#[derive(clap::Args, Debug)]
#[command(
    before_help = "Example: teebench loadgen --base-url http://127.0.0.1:8000 --model m --dataset-name random --num-prompts 100"
)]
pub struct LoadgenArgs {
    /// Execute one attempt of a campaign from its frozen inputs; the other flags are then not used.
    #[arg(long, value_name = "FILE", requires = "out")]
    from_plan: Option<PathBuf>,
    /// Directory for the attempt's files, with --from-plan.
    #[arg(long, value_name = "DIR", requires = "from_plan")]
    out: Option<PathBuf>,
    #[command(flatten)]
    bench: teebench_loadgen::Args,
}

/// Measures.
pub fn run(args: LoadgenArgs) -> anyhow::Result<ExitCode> {
    match (args.from_plan, args.out) {
        (Some(inputs), Some(out)) => measure::run_from_plan(&inputs, &out),
        _ => teebench_loadgen::run(args.bench),
    }
}
