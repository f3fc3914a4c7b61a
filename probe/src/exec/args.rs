//! Arguments of `teebench probe exec`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{AttestationArgs, GpuArgs};
use crate::environment::BOOT_ID;
use crate::evidence::NodeHints;
use crate::rapl;
use crate::sampler::Pace;

/// Supervises an engine and serves samples, environment and evidence beside it.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example:
  teebench probe exec --port 9400 --engine-url http://127.0.0.1:8000 -- \\
    vllm serve meta-llama/Llama-3.1-8B-Instruct --port 8000")]
pub struct ExecArgs {
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to serve on; 0 takes a free one. The line `listening ADDRESS` on standard output tells it.
    #[arg(long, default_value_t = 9400)]
    pub port: u16,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) attestation: AttestationArgs,
    /// Where the engine serves; its version is read there.
    #[arg(long, value_name = "URL")]
    pub engine_url: Option<String>,
    /// Name by which the engine serves its model; with --engine-url, `/readyz` answers 200 once a token of it was served.
    #[arg(long, value_name = "NAME", requires = "engine_url")]
    pub served_model: Option<String>,
    /// Folder for the engine's output, engine.stdout.log and engine.stderr.log. Without it both go where the probe's
    /// own go.
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Write the engine's output to the log folder and also where the probe's own goes. Of each log the last 16 MiB are
    /// kept.
    #[arg(long, requires = "log_dir")]
    pub log_echo: bool,
    /// Time between two samples, in milliseconds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    interval_ms: u64,
    /// Time between two reads of the energy counter, in milliseconds. A read costs 4 to 6 ms of a core; between reads
    /// the counter is followed by the power that was sampled.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    counter_ms: u64,
    /// How long samples are kept, in minutes (about 5 MiB an hour and GPU at ten samples a second).
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    retain_minutes: u64,
    /// Folder in which Linux shows the energy counters of the CPU's packages.
    #[arg(long, default_value = rapl::POWERCAP, value_name = "DIR")]
    pub(super) powercap: PathBuf,
    /// File with the kernel's boot id.
    #[arg(long, env = "TEEBENCH_BOOT_ID_FILE", default_value = BOOT_ID, value_name = "FILE")]
    pub(super) boot_id: PathBuf,
    /// How long the engine may take to end after a signal before it is killed, in seconds.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    grace_seconds: u64,
    /// How long the probe serves on after the engine's end, in seconds; a signal ends it sooner.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    linger_seconds: u64,
    /// End when the parent process ends. With its PID given, even one that ended before this start is noticed.
    #[arg(long, value_name = "PID", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub(super) exit_with_parent: Option<i32>,
    /// Instance type that the node is labelled with: a hint beside the evidence.
    #[arg(long, env = "TEEBENCH_NODE_INSTANCE_TYPE", value_name = "NAME")]
    node_instance_type: Option<String>,
    /// Security type that the node is labelled with: a hint beside the evidence.
    #[arg(long, env = "TEEBENCH_NODE_SECURITY_TYPE", value_name = "NAME")]
    node_security_type: Option<String>,
    /// The engine's command line.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl ExecArgs {
    pub(super) fn command(&self) -> (&OsStr, &[OsString]) {
        let (program, arguments) = self.command.split_first().expect("the parser demands a command");
        (program, arguments)
    }

    /// The program's name without its folder.
    pub(super) fn program(&self) -> String {
        let (program, _) = self.command();
        Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
    }

    pub(super) fn pace(&self) -> Pace {
        let (interval, counter) = (Duration::from_millis(self.interval_ms), Duration::from_millis(self.counter_ms));
        Pace::keeping(interval, counter, self.retained())
    }

    pub(super) fn retained(&self) -> Duration {
        Duration::from_secs(self.retain_minutes * 60)
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }

    pub(super) fn linger(&self) -> Duration {
        Duration::from_secs(self.linger_seconds)
    }

    pub(super) fn node_hints(&self) -> NodeHints {
        NodeHints { instance_type: self.node_instance_type.clone(), security_type: self.node_security_type.clone() }
    }
}
