//! The executor on local processes: the embedded default, and the way to a real vLLM on a machine with GPUs.

mod attempt;
mod boot;
mod children;
mod datasets;
mod driver;
mod generators;
mod gpus;
mod live;
mod options;
mod ports;
mod server;
mod weights;

pub use driver::{End, run};
pub use options::{Options, Simulate, planned};
