//! The simulated GPU: how a board reacts to the engine's steps, and the file in which it shows its state.

mod board;
mod file;
mod identity;
mod meter;

pub use board::{Board, BoardState, SAMPLE_PERIOD};
pub use file::{GpuFileError, write_gpu_file};
pub use identity::{DRIVER_VERSION, confidential_compute, gpu_uuid};
pub use meter::{Load, LoadMeter};
