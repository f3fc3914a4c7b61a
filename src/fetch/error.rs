//! Why results cannot be fetched.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Results cannot be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The cluster or the results service does not answer.
    #[error("cannot {action}: is the operator installed, and may you get services/proxy in its namespace?")]
    Cluster {
        /// What was asked.
        action: String,
        /// What the client says.
        #[source]
        source: kube::Error,
    },
    /// The results service refuses.
    #[error("the results service refused to {action}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// Why.
        message: String,
    },
    /// The results service has nothing of that name.
    #[error("no results of campaign {namespace}/{campaign}: {hint}")]
    Unknown {
        /// Its namespace.
        namespace: String,
        /// Its name.
        campaign: String,
        /// What may help.
        hint: String,
    },
    /// Several campaigns had that name.
    #[error("{namespace}/{campaign} was the name of several campaigns; choose one by --uid: {}", uids.join(", "))]
    Ambiguous {
        /// Their namespace.
        namespace: String,
        /// Their name.
        campaign: String,
        /// First digits of their uids.
        uids: Vec<String>,
    },
    /// The directory holds other results.
    #[error("{}: holds results of another campaign; choose another --out", root.display())]
    OtherResults {
        /// The directory.
        root: PathBuf,
    },
    /// A file is not the one that was listed.
    #[error("{path}: its content changed while it was copied; run it again")]
    Changed {
        /// Its path in the tree.
        path: String,
    },
    /// The service lists what no results tree has.
    #[error("the results service lists {path:?}, which is no file of a results tree")]
    NotOurs {
        /// What it lists.
        path: String,
    },
    /// A file cannot be written.
    #[error("cannot {action} {}: free space, mend permissions or choose another --out", path.display())]
    Local {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    /// Whether what was asked for is wrong, not the way to it.
    pub const fn is_bad_input(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Ambiguous { .. } | Self::OtherResults { .. })
    }
}
