//! Simulated servers over real HTTP, paced in real time.

mod api;
mod buckets;
mod driver;
mod fleet;
mod handle;
mod machine;
mod metrics;
mod state;
mod stop;
mod tokenizer;

pub use fleet::{BindError, Fleet, FleetConfig, ServeError};
