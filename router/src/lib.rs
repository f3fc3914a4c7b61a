//! HR-Tree, routing policies, proxy and peer synchronisation for vLLM servers.
//!
//! [`tree`] knows which server holds which prompt prefix and [`policy`] decides; both are pure. [`proxy`] is the data
//! port, [`control`] the control port, [`sync`] keeps several routers in step. [`epoch`] is what lasts from one run to
//! the next: nothing.

mod args;
pub mod control;
mod epoch;
pub mod limits;
pub mod policy;
pub mod proxy;
pub mod serve;
mod shared;
pub mod sync;
pub mod tree;

pub use self::args::{Args, Balancing, Policy, run};
pub use self::control::report::{RouterMetrics, WorkerReport};
pub use self::epoch::EpochError;
