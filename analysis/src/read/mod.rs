//! Reads the results tree of campaigns: plan, runs, and what each run measured.
//!
//! A run is read when it is committed, that is when its `SHA256SUMS` stands. What cannot be used is kept with its
//! reason; only a tree without any campaign, or with a plan that cannot be read, is an error.

pub mod bench;
mod campaign;
mod find;
mod json;
pub mod power;
mod run;

use std::{io, path::PathBuf};

use teebench_api::plan::next::LogError;

pub use self::{
    bench::{read_bench, read_benches},
    campaign::Campaign,
    find::{campaigns, holds_campaign},
    power::read_power,
    run::{Attempt, ReadRun, StoredRun},
};
pub(crate) use self::{find::subdirectories, json::read_json};

/// Why results cannot be read.
#[derive(thiserror::Error, Debug)]
pub enum ReadError {
    /// No campaign is there.
    #[error(
        "{path}: no campaign here nor one level below, and no result file; give a directory that has plan.json, or the one above it"
    )]
    NoCampaign {
        /// What was given.
        path: PathBuf,
    },
    /// A file or directory cannot be read.
    #[error("{path}: cannot be read")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file's text is not what it should be.
    #[error("{path}: not a valid {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// What was decided while a campaign ran does not fit its plan.
    #[error("{path}: not the decisions of this plan")]
    Decisions {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        source: LogError,
    },
    /// A file contradicts itself.
    #[error("{path}: {reason}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What contradicts what.
        reason: String,
    },
}

impl ReadError {
    /// The whole chain in one line, as a run's reason.
    pub(crate) fn in_one_line(&self) -> String {
        match self {
            Self::NoCampaign { .. } | Self::Contradiction { .. } => self.to_string(),
            Self::Io { source, .. } => format!("{self}: {source}"),
            Self::Malformed { source, .. } => format!("{self}: {source}"),
            Self::Decisions { source, .. } => format!("{self}: {source}"),
        }
    }
}
