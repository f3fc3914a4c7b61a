//! Load generator for vLLM servers: data sets, arrivals, client and result files.
//!
//! A load is described by a [`client::LoadSpec`]: requests from a [`dataset`], [`arrivals`], targets. [`client::measure`]
//! runs it and gives [`record::Measured`], from which [`result_file`] writes what `vllm bench serve` would have written,
//! and [`client_file`] the client's account of itself. [`cli`] is `teebench loadgen`.

pub mod arrivals;
pub mod cli;
pub mod client;
pub mod client_file;
pub mod dataset;
pub mod merge;
pub mod record;
pub mod result_file;
pub mod saturation;
pub mod stats;

mod seed;
#[cfg(test)]
mod testing;

pub use cli::{Args, run};
