//! The probe: what a server's GPUs draw, what their machine says of confidential computing, and the evidence of both.
//!
//! `teebench probe exec -- vllm serve ...` supervises the engine in its container and serves over HTTP, beside it, the
//! samples, the environment and the evidence that a run needs. `teebench probe sample` records alone, `teebench probe
//! show` tells a person what the machine is.
//!
//! | module | subject |
//! | --- | --- |
//! | [`gpu`] | where readings come from: NVML, a simulator's file, or nowhere, with the reason |
//! | [`sampler`] | threads that read at a fixed pace into a bounded ring |
//! | [`power_csv`] | samples in `nvidia-smi`'s CSV format |
//! | [`rapl`] | energy counters of the CPU's packages |
//! | [`energy`] | energy of a window by two methods, pure |
//! | [`evidence`] | levels, states and nonces, pure; and the taking of evidence |
//! | [`attestation`] | the GPU's signed report and its certificates, pure |
//! | [`cpu`] | the CPU's report, its virtual TPM's quote, and how they are asked for |
//! | [`endorsement`] | reference manifests and a remote verifier's tokens, pure |
//! | [`environment`] | what the machine is |
//! | [`exec`] | supervision of the engine |
//! | [`http`] | the probe's own server |
//! | [`logs`] | the log folder, listed and read in parts |
//! | [`verify`] | offline verification of a results directory |
//! | [`client`] | the other end, for the executor and the load generator |

pub mod attestation;
pub mod client;
pub mod cpu;
pub mod endorsement;
pub mod energy;
pub mod environment;
pub mod evidence;
pub mod exec;
pub mod gpu;
pub mod http;
pub mod logs;
pub mod power_csv;
pub mod rapl;
pub mod sampler;
pub mod verify;

mod bytes;
mod cli;
mod clock;
mod install;
mod record;
mod show;

pub use cli::{Args, Command, run};
