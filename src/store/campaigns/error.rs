//! Why the results store could not be read or written.

use std::io;

use teebench_analysis::read::ReadError;
use teebench_api::plan::{PlanFileError, next::LogError};
use thiserror::Error;

use crate::store::RunFilesError;

/// The results store could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The address is none that this program can open.
    #[error("results store {url}: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it, with the mend.
        reason: String,
    },
    /// The store refuses or cannot be reached.
    #[error("results store: cannot {action} {path}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// What the store says.
        #[source]
        source: object_store::Error,
    },
    /// A local file that is needed on the way cannot be read or written.
    #[error("cannot {action} {path}: free space or mend permissions")]
    Local {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An object is not what this program writes.
    #[error("results store: {path} is not readable as {what}; restore it, or delete the campaign and apply it anew")]
    Malformed {
        /// The object.
        path: String,
        /// What it should be.
        what: &'static str,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// The sums that commit an attempt are not what this program writes.
    #[error("results store: {path} is damaged; restore it")]
    Sums {
        /// The object.
        path: String,
        /// What is wrong with them.
        #[source]
        source: RunFilesError,
    },
    /// A campaign's directory holds results of another plan.
    #[error("results store: {directory} holds results of another plan ({found}, this campaign's is {wanted})")]
    OtherPlan {
        /// The directory.
        directory: String,
        /// First digits of the digest of the plan that lies there.
        found: String,
        /// First digits of the digest of the plan that was to be begun.
        wanted: String,
    },
    /// A campaign that was never begun.
    #[error("results store: {directory} has no plan.json; the campaign was not begun there")]
    NotBegun {
        /// The directory.
        directory: String,
    },
    /// A blob that a commit names is not there.
    #[error("results store: {count} of the files to commit were not uploaded, the first with SHA-256 {first}")]
    Missing {
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// The plan is not one that this program can continue.
    #[error(transparent)]
    PlanFile(#[from] PlanFileError),
    /// The decisions are not those of this plan.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The results cannot be summarised.
    #[error("the results cannot be summarised")]
    Summary(#[from] ReadError),
    /// Work on another thread was cut off.
    #[error("{action}: the work was cut off")]
    CutOff {
        /// What was done.
        action: &'static str,
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl StoreError {
    /// Whether the same call can succeed later without a person's help in between.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { source, .. } => !matches!(
                source,
                object_store::Error::InvalidPath { .. }
                    | object_store::Error::NotSupported { .. }
                    | object_store::Error::NotImplemented { .. }
                    | object_store::Error::UnknownConfigurationKey { .. }
            ),
            Self::Local { .. } | Self::CutOff { .. } | Self::Missing { .. } => true,
            Self::Summary(error) => matches!(error, ReadError::Io { .. }),
            Self::Url { .. }
            | Self::Malformed { .. }
            | Self::Sums { .. }
            | Self::OtherPlan { .. }
            | Self::NotBegun { .. }
            | Self::PlanFile(_)
            | Self::Log(_) => false,
        }
    }

    /// Whether the store has no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}
