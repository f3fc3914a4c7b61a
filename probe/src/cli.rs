//! Arguments of `teebench probe`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::attestation::{Root, RootError};
use crate::cpu::{AttestCpuArgs, attest};
use crate::exec::{self, ExecArgs};
use crate::gpu::GpuChoice;
use crate::install::{self, InstallArgs};
use crate::record::{self, SampleArgs};
use crate::show::{self, ShowArgs};

/// GPU power, energy and confidential-computing evidence of one machine.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example:
  teebench probe show
  teebench probe sample --interval-ms 100 --out power.csv
  teebench probe exec --engine-url http://127.0.0.1:8000 -- vllm serve MODEL --port 8000")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the probe does.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Has this machine's CPU and its virtual TPM sign what they are.
    AttestCpu(AttestCpuArgs),
    /// Supervises an engine and serves samples, environment and evidence beside it.
    Exec(Box<ExecArgs>),
    /// Copies this program to a folder, from where a container with another image runs it.
    Install(InstallArgs),
    /// Records power, clocks and temperature to a file in nvidia-smi's CSV format.
    Sample(SampleArgs),
    /// Tells what this machine is, and what of it can be proved.
    Show(ShowArgs),
}

/// Where GPU readings come from.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct GpuArgs {
    /// Source of GPU readings: auto, nvml, absent or simulated:PATH.
    #[arg(long = "gpu", default_value = "auto", value_name = "SOURCE")]
    pub(crate) choice: GpuChoice,
    /// Path of libnvidia-ml.so.1, where the loader does not find it.
    #[arg(long = "nvml-library", env = "TEEBENCH_NVML_LIBRARY", value_name = "PATH")]
    pub(crate) library: Option<PathBuf>,
    /// Which of the machine's GPUs count, as CUDA reads it.
    #[arg(long = "visible-gpus", env = "CUDA_VISIBLE_DEVICES", value_name = "LIST")]
    pub(crate) visible: Option<String>,
}

/// What the GPUs' signed reports are held against.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct AttestationArgs {
    /// SHA-256 of a root certificate for tests, in hex, in place of the vendor's pinned root. Everything that it vouches
    /// for is marked as a test.
    #[arg(long = "attestation-test-root", env = "TEEBENCH_ATTESTATION_TEST_ROOT", value_name = "SHA256")]
    test_root: Option<String>,
}

impl AttestationArgs {
    /// The root that the chain of a report must end in.
    pub(crate) fn root(&self) -> Result<Root, RootError> {
        Root::from_test_hex(self.test_root.as_deref())
    }
}

/// Runs the subcommand. Call it on the process's main thread.
///
/// # Errors
/// When the work failed; bad input is told on standard error and by exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::AttestCpu(args) => attest::run(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Install(args) => install::run(&args),
        Command::Sample(args) => record::run(&args),
        Command::Show(args) => show::run(&args),
    }
}

/// Tells of input that cannot be used, and gives its exit code.
pub(crate) fn bad_input(error: impl Into<anyhow::Error>) -> ExitCode {
    tracing::error!("{:#}", error.into());
    ExitCode::from(2)
}
