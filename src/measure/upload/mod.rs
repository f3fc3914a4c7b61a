//! Uploading an attempt: its files by their sums, then the list that commits them.
//!
//! The list goes first: the service answers which files it lacks, so that an upload that was cut off sends only those.

mod connection;
mod files;
mod patience;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, path::PathBuf};

use futures::{StreamExt, TryStreamExt, stream};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use self::patience::Patience;
use self::{
    connection::{Connection, Trouble},
    files::{Files, LocalFile},
};
use crate::store::{
    SumsError,
    service::{CommitAnswer, Refusal, RefusalCode},
};

/// Files that are sent at once.
const SENT_AT_ONCE: usize = 4;
/// How often the service may say that files are missing: once at first, and again when it swept its staging meanwhile.
const ROUNDS: usize = 4;

/// Where an attempt is uploaded to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Base address of the results service.
    pub url: String,
    /// File with the authority that its certificate is to be signed by.
    pub ca_file: PathBuf,
    /// File with the pod's token, which is read before each request, since it is renewed in place.
    pub token_file: PathBuf,
}

/// The attempt is not committed.
#[derive(Debug, Error)]
pub enum UploadError {
    /// The address is none.
    #[error("--upload {url}: {reason}; give it like https://teebench-results.teebench-system.svc:8443")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The authority cannot be used.
    #[error("--upload-ca {}: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the attempt cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file of the attempt cannot be summed.
    #[error(transparent)]
    Sums(#[from] SumsError),
    /// The service refuses, for good.
    #[error("the results service refused {what}: {code:?}: {message}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why, in one word.
        code: RefusalCode,
        /// Why, in a sentence.
        message: String,
    },
    /// The service could not be reached for too long.
    #[error("the results service could not be reached within {seconds} s; at last: {last}")]
    GaveUp {
        /// How long it was tried without success.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// The service forgets what it is sent.
    #[error("the results service still lacks {count} files after {ROUNDS} rounds")]
    Forgetful {
        /// How many.
        count: usize,
    },
}

/// Uploads and commits all files below `dir`. When `stop` is called, little time is left.
///
/// # Errors
/// The attempt is not committed: the service refuses, or cannot be reached for too long.
pub async fn upload(
    target: &Target,
    dir: &std::path::Path,
    patience: Patience,
    stop: &CancellationToken,
) -> Result<CommitAnswer, UploadError> {
    let files = Files::below(dir).await?;
    let connection = Connection::new(target)?;
    let list = files.list();
    let mut missing = 0;
    for _ in 0..ROUNDS {
        let answer = patience.until_granted(stop, || connection.commit(&list)).await;
        match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(refusal)) => {
                let wanted: BTreeMap<&str, &LocalFile> =
                    refusal.missing.iter().filter_map(|sum| Some((sum.as_str(), files.of_sum(sum)?))).collect();
                missing = wanted.len();
                tracing::info!(files = missing, "uploading");
                stream::iter(wanted)
                    .map(|(sum, file)| patience.until_granted(stop, || connection.put(sum, file)))
                    .buffer_unordered(SENT_AT_ONCE)
                    .try_collect::<()>()
                    .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(UploadError::Forgetful { count: missing })
}

impl Connection {
    /// Asks for the commit; a refusal that names missing files is no trouble.
    async fn commit(&self, list: &str) -> Result<Result<CommitAnswer, Refusal>, Trouble> {
        match self.post_commit(list).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(Trouble::Refused { refusal, .. }) if refusal.code == RefusalCode::Missing => Ok(Err(refusal)),
            Err(trouble) => Err(trouble),
        }
    }
}
