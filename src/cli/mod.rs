//! The command line: one thin file a subcommand.

mod cluster;
mod crds;
mod fetch;
mod health;
mod loadgen;
mod plan;
mod preflight;
mod run;
mod spec;
mod validate;
mod verify;
mod watch;
mod weights;

use std::{
    env,
    fs::File,
    io::{ErrorKind, IsTerminal, Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::{
    EnvFilter,
    fmt::writer::{BoxMakeWriter, MakeWriterExt as _},
};

/// The work was done.
pub const DONE: u8 = 0;
/// The work failed.
pub const FAILED: u8 = 1;
/// The input is bad; nothing was started.
pub const BAD_INPUT: u8 = 2;
/// A person stopped it.
pub const INTERRUPTED: u8 = 130;

/// Measures what confidential computing costs an LLM service, and what HR-Tree routing wins back.
#[derive(Parser, Debug)]
#[command(
    name = "teebench",
    version,
    before_help = "Example: teebench run manifests/samples/quickstart.yaml --out results",
    propagate_version = true
)]
pub struct Cli {
    /// Write logs as JSON, one object a line.
    #[arg(long, global = true)]
    log_json: bool,

    /// Write logs to this file too.
    #[arg(long, global = true, value_name = "FILE")]
    log_file: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a campaign with local processes: the simulator, or `vllm serve` on this machine's GPUs.
    Run(run::Args),
    /// Show what a campaign will do, how long it takes and what it costs.
    Plan(plan::Args),
    /// Check campaign files; says line, field and mend of every fault.
    Validate(validate::Args),
    /// Check that a cluster has what a campaign needs; writes nothing.
    Preflight(preflight::Args),
    /// Report results as text, HTML, JSON, CSV or Markdown.
    Report(teebench_analysis::Args),
    /// Write a campaign's runs as the notebook's tree of result files.
    Export(teebench_analysis::ExportArgs),
    /// Make results of the notebook's tree of result files.
    Import(teebench_analysis::ImportArgs),
    /// Verify that results are unchanged and that their evidence supports what they claim.
    Verify(verify::Args),
    /// Copy a campaign's results from the cluster to a directory.
    Fetch(fetch::Args),
    /// Watch a campaign in the cluster live.
    Watch(watch::Args),
    /// Halt a campaign in the cluster.
    Suspend(spec::Suspend),
    /// Continue a campaign that was suspended.
    Resume(spec::Resume),
    /// End a campaign in the cluster for good, with the results that it has.
    Cancel(spec::Cancel),
    /// Write the custom resource definitions.
    Crds(crds::Args),
    /// Write and describe data sets: share by tool, shared prefix by depth, lengths.
    Dataset(teebench_loadgen::dataset::command::Args),
    /// Measure an OpenAI-compatible server; takes the flags of `vllm bench serve`.
    Loadgen(Box<loadgen::LoadgenArgs>),
    /// Run campaigns on Kubernetes.
    Operator(Box<crate::operator::Args>),
    /// Route requests over vLLM servers.
    Router(teebench_router::Args),
    /// Sample GPU power, show this machine's TEE state, supervise a server.
    Probe(teebench_probe::Args),
    /// Simulate vLLM servers and their GPUs.
    MockVllm(teebench_mock_vllm::Args),
    /// Ask whether a part of teebench is healthy.
    #[command(hide = true)]
    Health(health::Args),
    /// Fetch a model's weights once, by the downloader behind `--`; what the operator's download pods run.
    #[command(hide = true)]
    Weights(weights::Args),
}

/// Name of a link to this program on the PATH that makes it a plugin of kubectl.
const PLUGIN: &str = "kubectl-teebench";

impl Cli {
    /// Reads the command line; ends the program when it is bad, or asks for help. As a plugin, usage lines say what people
    /// type then.
    pub fn read() -> Self {
        let is_plugin = env::args_os().next().is_some_and(|program| Path::new(&program).ends_with(PLUGIN));
        if !is_plugin {
            return Self::parse();
        }
        let plugin = Self::command().no_binary_name(true).bin_name("kubectl teebench");
        let matches = plugin.get_matches_from(env::args_os().skip(1));
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Runs the subcommand; what goes wrong is told on standard error, with its causes.
    pub fn run(self) -> ExitCode {
        if let Err(error) = start_logging(self.log_json, self.log_file.as_deref()) {
            let _ = writeln!(stderr(), "teebench: {error:#}");
            return ExitCode::from(BAD_INPUT);
        }
        let outcome = match self.command {
            Command::Run(args) => run::run(args),
            Command::Plan(args) => plan::run(&args),
            Command::Validate(args) => validate::run(&args),
            Command::Preflight(args) => preflight::run(&args),
            Command::Report(args) => teebench_analysis::run(args),
            Command::Export(args) => teebench_analysis::export(args),
            Command::Import(args) => teebench_analysis::import(args),
            Command::Verify(args) => verify::run(&args),
            Command::Fetch(args) => fetch::run(args),
            Command::Watch(args) => watch::run(&args),
            Command::Suspend(args) => args.run(),
            Command::Resume(args) => args.run(),
            Command::Cancel(args) => args.run(),
            Command::Crds(args) => crds::run(&args),
            Command::Dataset(args) => teebench_loadgen::dataset::command::run(&args),
            Command::Loadgen(args) => loadgen::run(*args, self.log_file),
            Command::Operator(args) => crate::operator::run(&args),
            Command::Router(args) => teebench_router::run(&args),
            Command::Probe(args) => teebench_probe::run(args),
            Command::MockVllm(args) => teebench_mock_vllm::run(args),
            Command::Health(args) => health::run(&args),
            Command::Weights(args) => weights::run(&args),
        };
        outcome.unwrap_or_else(|error| {
            // Standard error may be a log on a disk that is full; that is no reason to end by a panic.
            let _ = writeln!(stderr(), "teebench: {error:#}");
            ExitCode::from(FAILED)
        })
    }
}

/// Writes a result to standard output. A reader that took what it wanted and went away is no fault.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

/// Reads NAME=VALUE.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give it as NAME=VALUE".to_owned()),
    }
}

fn start_logging(json: bool, file: Option<&Path>) -> anyhow::Result<()> {
    let writer = match file {
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            let file = file.with_context(|| format!("--log-file {}: cannot be written", path.display()))?;
            BoxMakeWriter::new(stderr.and(Arc::new(file)))
        }
        None => BoxMakeWriter::new(stderr),
    };
    let filter = EnvFilter::try_from_env("TEEBENCH_LOG").unwrap_or_else(|_| EnvFilter::new("warn,teebench=info"));
    let coloured = file.is_none() && stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(coloured);
    if json {
        builder.json().init();
    } else {
        builder.with_target(false).compact().init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_opens_its_help_with_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example:\n{help}", command.get_name());
        }
    }
}
