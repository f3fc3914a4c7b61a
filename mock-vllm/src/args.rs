//! The command line of `teebench mock-vllm`.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::EngineConfig;
use crate::faults::{FAULT_KINDS, Fault};
use crate::profile::{ModelSize, Profile};
use crate::server::FleetConfig;

/// Simulates vLLM servers and their GPUs.
///
/// Each server keeps vLLM's rules (continuous batching, paged KV cache, prefix reuse) and answers after the time that
/// its profile's GPU would take. When all ports are bound, `listening ADDRESS[,ADDRESS...]` is printed on standard output.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example: teebench mock-vllm --servers 4 --port 8000 --max-num-seqs 4 --profile Tiny")]
pub struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// Port of the first server, the others count up; 0 gives each a free one.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,

    /// Number of servers in this process, each with its own engine and GPU.
    #[arg(long, default_value_t = 1)]
    pub servers: u32,

    /// Served model name.
    #[arg(long, default_value = "simulated")]
    pub model: String,

    /// Sequences that run at once.
    #[arg(long, default_value_t = 256)]
    pub max_num_seqs: u32,

    /// Tokens computed in one step.
    #[arg(long, default_value_t = 2048)]
    pub max_num_batched_tokens: u32,

    /// Prompt and output of one request together, in tokens.
    #[arg(long, default_value_t = 8192)]
    pub max_model_len: u32,

    /// KV blocks of 16 tokens [default: what the profile's GPU holds].
    #[arg(long)]
    pub num_gpu_blocks: Option<u32>,

    /// Computes every prompt anew.
    #[arg(long)]
    pub no_enable_prefix_caching: bool,

    /// Captures no CUDA graphs: every step takes at least the launch of its kernels.
    #[arg(long)]
    pub enforce_eager: bool,

    /// Model and GPU.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Profile::Tiny)]
    pub profile: Profile,

    /// Size of the model; the profile is fitted to 8b, and others are predicted from it.
    #[arg(long, value_enum, default_value_t = ModelSize::B8)]
    pub model_size: ModelSize,

    /// Adds the cost of confidential computing, and lets the GPU report that it is on.
    #[arg(long)]
    pub confidential: bool,

    /// Seed of answers, GPU identities and random faults; servers with the same seed give the same answers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Name of the arm that the servers belong to; with seed and ordinal it identifies their GPUs.
    #[arg(long, default_value = "")]
    pub arm: String,

    /// Number of the first server among those of its arm; the others count up.
    #[arg(long, default_value_t = 0)]
    pub ordinal: u32,

    /// File that shows the GPUs' state, replaced every 100 ms.
    #[arg(long, value_name = "PATH")]
    pub gpu_file: Option<PathBuf>,

    /// Fault on demand, repeatable. A time is counted from the start of the process.
    #[arg(long, value_name = "KIND[=VALUE]", long_help = fault_help())]
    pub fault: Vec<Fault>,

    /// Serves /admin/faults: GET lists the faults of a server, PUT {"faults": ["KIND=VALUE"]} replaces them.
    #[arg(long)]
    pub admin: bool,

    /// Added to the profile's time of loading, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub start_delay_ms: u64,

    /// Version of vLLM that is told, and whose answers are given where versions differ.
    #[arg(long, default_value = "0.25.1+simulated")]
    pub version_string: String,

    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

fn fault_help() -> String {
    format!("Fault on demand, repeatable: {FAULT_KINDS}. A time is counted from the start of the process.")
}

impl From<Args> for FleetConfig {
    fn from(args: Args) -> Self {
        let Args {
            host,
            port,
            servers,
            model,
            max_num_seqs,
            max_num_batched_tokens,
            max_model_len,
            num_gpu_blocks,
            no_enable_prefix_caching,
            enforce_eager,
            profile,
            model_size,
            confidential,
            seed,
            arm,
            ordinal,
            gpu_file,
            fault,
            admin,
            start_delay_ms,
            version_string,
            threads: _,
        } = args;
        Self {
            host,
            port,
            servers,
            model,
            engine: EngineConfig {
                max_num_seqs,
                max_num_batched_tokens,
                max_model_len,
                num_gpu_blocks: num_gpu_blocks.unwrap_or(profile.figures().of_model(model_size).num_gpu_blocks),
                enable_prefix_caching: !no_enable_prefix_caching,
                enforce_eager,
            },
            profile,
            model_size,
            step_cost: None,
            confidential,
            seed,
            arm,
            ordinal,
            gpu_file,
            faults: fault,
            admin,
            version: version_string,
            start_delay: Duration::from_millis(start_delay_ms),
        }
    }
}
