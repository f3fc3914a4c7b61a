//! The executor on Kubernetes: the same plan and the same `next` as a local run, on StatefulSets and Jobs.
//!
//! ```text
//! campaign   the controller: dereference -> validate -> plan -> build -> apply -> tell
//! policy     the controller of RouterPolicies
//! build      from the plan to objects, pure          writer    the one way to write
//! caches     what is watched                         identity  which attempt a load pod executes
//! serve      all of it as one process                leader    which of several operators works
//! machines   which campaign has which nodes
//! names, labels, events, metrics, http, backoff
//! ```

mod args;
mod attester;
mod backoff;
pub mod build;
mod caches;
mod campaign;
mod context;
mod events;
mod http;
mod identity;
pub mod labels;
mod leader;
pub mod machines;
mod metrics;
pub mod names;
mod policy;
mod resources;
mod serve;
mod writer;

pub use args::Args;
pub use serve::run;
