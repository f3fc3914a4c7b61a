//! The results tree: where runs lie, how one is committed, what is there already.

mod sums;
mod tree;

pub use sums::{SumsError, commit, sha256_hex, sha256_of_file};
pub use tree::{INPUTS_FILE, Tree, TreeError};
