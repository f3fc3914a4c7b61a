//! What proves a TEE state: levels, states, the nonce that binds evidence to a run, and whether two pieces of evidence
//! support what a campaign claims.
//!
//! ```text
//! classify   from answers to a level and a state
//! signed     what the GPUs signed, counted in
//! endorsed   what reference manifests and the CPU's evidence add
//! nonce      what the evidence is bound to
//! take       asking the machine
//! recorded   whether evidence that was written down follows from its own answers and reports
//! supports   whether evidence before and after a run supports the arm's claim
//! ```

mod classify;
mod endorsed;
mod nonce;
pub mod recorded;
mod signed;
mod supports;
mod take;

pub use classify::{Classification, Questions, classify};
pub use endorsed::endorse;
pub(crate) use endorsed::not_of_the_cpu;
pub use nonce::{NonceError, nonce_sha256};
pub use supports::{Bound, TeeClaim, supports};
pub use take::{Examined, examine, take};
pub use teebench_api::files::evidence::NodeHints;
