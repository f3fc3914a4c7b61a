//! Simulated servers over real HTTP, paced in real time.

mod api;
mod buckets;
mod door;
mod driver;
mod fleet;
mod handle;
mod machine;
mod mailbox;
mod metrics;
mod pacer;
mod registrar;
mod state;
mod stop;
mod tokenizer;

pub use fleet::{BindError, Fleet, FleetConfig, ServeError};
