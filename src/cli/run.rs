//! `teebench run`: a campaign with local processes.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use teebench_api::files::evidence::CpuEvidence;

use super::{BAD_INPUT, DONE, FAILED, INTERRUPTED, parse_pair};
use crate::local::{self, End, Options, Simulate};

/// Run a campaign with local processes: the simulator, or `vllm serve` on this machine's GPUs.
///
/// Ctrl-C ends it and keeps every finished run; the same command continues where it was left.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench run manifests/samples/quickstart.yaml --out results")]
pub struct Args {
    /// Campaign file.
    file: PathBuf,
    /// Directory for the results; the campaign's own directory lies in it.
    #[arg(long)]
    out: PathBuf,
    /// Run this arm alone, for instance on one of two hosts; `teebench report A B` brings the parts together.
    #[arg(long, value_name = "NAME")]
    arm: Option<String>,
    /// Address of a foreign router that the campaign names by a Service.
    #[arg(long, value_name = "NAME=URL", value_parser = parse_pair)]
    router: Vec<(String, String)>,
    /// Address of an arm's existing servers, which the campaign names by a Service; they are measured and not touched
    /// otherwise.
    #[arg(long, value_name = "ARM=URL", value_parser = parse_pair)]
    service: Vec<(String, String)>,
    /// First port of the servers, which count up arm by arm, so that a foreign router can be told of them [default: free
    /// ports].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    first_port: Option<u16>,
    /// Directory to serve a model from, in place of its repository.
    #[arg(long, value_name = "NAME=DIR", value_parser = parse_pair)]
    model: Vec<(String, String)>,
    /// File of an experiment's data set that lies in a cluster, or to use in place of the campaign's own.
    #[arg(long, value_name = "EXPERIMENT=FILE", value_parser = parse_pair)]
    dataset: Vec<(String, String)>,
    /// Run on the simulator whatever the engine of the file: a dry run of the whole campaign.
    #[arg(long, value_name = "PROFILE", num_args = 0..=1, default_missing_value = "Tiny", require_equals = true, ignore_case = true)]
    simulate: Option<Simulate>,
    /// Fault of a simulated server, to rehearse what a campaign does then; kinds as in `teebench mock-vllm --help`.
    #[arg(long, value_name = "ARM/ORDINAL=KIND[=VALUE]", value_parser = parse_pair)]
    fault: Vec<(String, String)>,
    /// Directory with the reference manifests (RIM files) that arms pin by rimSha256.
    #[arg(long, value_name = "DIR")]
    references: Option<PathBuf>,
    /// What this machine's CPU signed since it booted, as `teebench probe attest-cpu` prints it.
    #[arg(long, value_name = "FILE")]
    cpu_evidence: Option<PathBuf>,
}

/// Runs the campaign to its end.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { file, out, arm, router, service, first_port, model, dataset, simulate, fault, references, cpu_evidence } =
        args;
    let cpu = match cpu_evidence.map(|path| read_cpu_evidence(&path)).transpose() {
        Ok(cpu) => cpu,
        Err(error) => {
            eprintln!("{error:#}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let options = Options {
        out,
        arm,
        routers: router.into_iter().collect(),
        services: service.into_iter().collect(),
        models: model.into_iter().map(|(name, dir)| (name, PathBuf::from(dir))).collect(),
        first_port,
        faults: fault,
        references,
        cpu,
    };
    let datasets = dataset.into_iter().map(|(name, file)| (name, PathBuf::from(file))).collect();
    let planned = match local::planned(&file, simulate, &datasets)
        .and_then(|planned| options.check(&planned.plan).map(|()| planned))
    {
        Ok(planned) => planned,
        Err(refusal) => {
            eprintln!("{refusal}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let end = local::run(planned, options)?;
    Ok(ExitCode::from(match end {
        End::Completed => DONE,
        End::NotCompleted => FAILED,
        End::Refused => BAD_INPUT,
        End::Interrupted => INTERRUPTED,
    }))
}

fn read_cpu_evidence(path: &Path) -> anyhow::Result<CpuEvidence> {
    let named = || format!("--cpu-evidence {}: give what `teebench probe attest-cpu` printed", path.display());
    serde_json::from_slice(&std::fs::read(path).with_context(named)?).with_context(named)
}
