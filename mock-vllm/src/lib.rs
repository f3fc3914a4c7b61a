//! Simulator of a vLLM server and of its GPU.
//!
//! - [`engine`]: the pure simulation of scheduler, KV cache and step times, driven by virtual time;
//! - [`profile`]: what a model on a GPU costs, and what that was fitted to;
//! - [`gpu`]: the board's power, energy, temperature and state, as a file that the probe reads in place of NVML;
//! - [`faults`]: failures on demand;
//! - [`fit`]: measured loads and the same loads in virtual time, which the profiles are fitted by;
//! - [`server`]: vLLM's HTTP interface over engines that are paced in real time.
//!
//! No effect is ever written into a result: the cost of confidential computing and the gain of prefix reuse come out of
//! the steps that the engine computes.

mod args;
pub mod engine;
pub mod faults;
pub mod fit;
pub mod gpu;
pub mod profile;
mod run;
pub mod server;

pub use args::Args;
pub use profile::Profile;
pub use run::run;
