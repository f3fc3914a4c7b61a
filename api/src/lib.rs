//! What every part of teebench agrees on: the custom resources with their rules, the validator, the pure plan of a
//! campaign and its `next` step, and the files that one part writes and another reads.

pub mod campaign;
mod causes;
pub mod conditions;
pub mod files;
pub mod parity;
pub mod plan;
pub mod policy;
pub mod run;
pub mod schema;
pub mod validate;

pub use self::causes::with_causes;
