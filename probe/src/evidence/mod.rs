//! What proves a TEE state: levels, states, the nonce that binds evidence to a run, and whether two pieces of evidence
//! support what a campaign claims.

mod classify;
mod nonce;
pub mod recorded;
mod supports;
mod take;

pub use classify::{Classification, NodeHints, Questions, classify};
pub use nonce::{NonceError, nonce_sha256};
pub use supports::{Bound, TeeClaim, supports};
pub use take::take;
