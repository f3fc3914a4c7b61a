//! What others expect of a GPU: reference manifests that the user pins, and the tokens of a remote verifier. Pure.
//!
//! ```text
//! references   manifests whose SHA-256 is pinned
//! rim          a manifest, and a report's measurements held against it
//! eat          a remote verifier's word on the GPUs of one piece of evidence
//! jws          signed JSON and the keys that it is held against
//! ```

mod eat;
mod jws;
mod references;
mod rim;

pub use eat::{Eat, EatError, Vouched, VouchedGpu};
pub use jws::{JwsError, Keys, KeysError};
pub use references::{Reference, ReferenceError, References};
pub use rim::{Mismatch, Rim, RimError, compare};
