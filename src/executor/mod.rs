//! What both executors share, pure: the command line of a server, the frozen inputs of an attempt, the comparison of
//! the arms at a boot.

mod engine_command;
mod inputs;
mod parity;
mod weights;

pub use engine_command::{EngineCommand, EngineProgram, Placement, Weights, engine_command};
pub use inputs::{InputsOrder, existing_server, inputs};
pub use parity::{Parity, ServerFacts, compare};
pub use weights::description;
