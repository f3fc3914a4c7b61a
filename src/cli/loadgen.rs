//! `teebench loadgen`: measures a server, by flags or by an attempt's frozen inputs.

use std::{path::PathBuf, process::ExitCode};

use crate::measure::{self, Crew, Delivery, UploadTarget};

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
    /// Results service that takes the attempt's files, with --from-plan.
    #[arg(long, value_name = "URL", requires_all = ["from_plan", "upload_ca", "token_file"])]
    upload: Option<String>,
    /// Certificate authority of the results service, in PEM.
    #[arg(long, value_name = "FILE", requires = "upload")]
    upload_ca: Option<PathBuf>,
    /// Token that says which pod this is; read again for each request.
    #[arg(long, value_name = "FILE", requires = "upload")]
    token_file: Option<PathBuf>,
    /// Load generators that share the attempt, with --from-plan.
    #[arg(long, value_name = "N", default_value_t = 1, requires_all = ["from_plan", "meet"])]
    generators: u32,
    /// Which of them this is, from 0; the first merges what all have measured.
    #[arg(long, value_name = "NUMBER", env = "JOB_COMPLETION_INDEX", default_value_t = 0)]
    generator: u32,
    /// Where the first listens for the others.
    #[arg(long, value_name = "HOST:PORT")]
    meet: Option<String>,
    #[command(flatten)]
    bench: teebench_loadgen::Args,
}

/// Measures; `log` is where this program's own log is, if anywhere.
pub fn run(args: LoadgenArgs, log: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let LoadgenArgs { from_plan, out, upload, upload_ca, token_file, generators, generator, meet, bench } = args;
    let delivery = match (upload, upload_ca, token_file) {
        (Some(url), Some(ca_file), Some(token_file)) => {
            Some(Delivery { target: UploadTarget { url, ca_file, token_file }, log })
        }
        _ => None,
    };
    let crew = meet.filter(|_| generators > 1).map(|meet| Crew { number: generator, of: generators, meet });
    match (from_plan, out) {
        (Some(inputs), Some(out)) => measure::run_from_plan(&inputs, &out, delivery.as_ref(), crew.as_ref()),
        _ => teebench_loadgen::run(bench),
    }
}
