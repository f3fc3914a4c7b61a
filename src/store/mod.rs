//! Results: where they lie, how an attempt is committed, what is there already.
//!
//! ```text
//! tree        a campaign's directory of a local run     ledger    what the machines have cost
//! campaigns   the same files in an object store         outcome   an attempt as `next` sees it
//! sums        SHA256SUMS                                run_files which files an attempt may have
//! service     takes uploads, gives results
//! ```

pub mod campaigns;
pub mod ledger;
mod outcome;
mod run_files;
pub mod service;
mod sums;
mod tree;

pub use campaigns::{CampaignKey, CampaignStore, Commit, Committed, ResultsStore, StoreError};
pub use ledger::BOOTS_FILE;
pub use outcome::{attempt_outcome, deciding_metrics};
pub use run_files::{RunFiles, RunFilesError, check_path};
pub use sums::{SumsError, commit, sha256_hex, sha256_of_file};
pub use tree::{INPUTS_FILE, Tree, TreeError};
