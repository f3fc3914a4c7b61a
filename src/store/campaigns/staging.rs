//! Files that were uploaded for an attempt and are not committed yet, each under the SHA-256 of its content.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::{WriteMultipart, path::Path};
use sha2::{Digest, Sha256};
use teebench_api::plan::RunId;

use super::{
    CampaignStore, OWN_DIRECTORY, ResultsStore, StoreError,
    campaign::{RUNS, SUMS},
    objects::{Objects, unavailable},
};

const STAGING: &str = "staging";
/// Parts of an object that are written at once, which bounds the memory of an upload.
const PARTS_AT_ONCE: usize = 2;
/// Directories of a staged attempt: namespace, campaign, experiment, condition, arm, router, attempt.
const DEPTH: usize = 7;

/// The uploaded files of one attempt.
#[derive(Clone, Debug)]
pub struct Staging {
    objects: Objects,
    prefix: Path,
}

impl CampaignStore {
    /// The uploaded files of an attempt.
    #[must_use]
    pub fn staging(&self, run: &RunId, attempt: u32) -> Staging {
        let prefix = format!("{OWN_DIRECTORY}/{STAGING}/{}/{}", self.directory, run.attempt_path(attempt));
        Staging { objects: self.objects().clone(), prefix: Path::from(prefix) }
    }
}

impl Staging {
    /// Bytes of an uploaded file; `None` where it is not there.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn size(&self, sha256: &str) -> Result<Option<u64>, StoreError> {
        self.objects.size(&self.blob(sha256)).await
    }

    /// Number and bytes of all uploaded files.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn held(&self) -> Result<(usize, u64), StoreError> {
        let objects = self.objects.list(&self.prefix).await?;
        Ok((objects.len(), objects.iter().map(|object| object.size).sum()))
    }

    /// Content of an uploaded file; `None` where it is not there.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn read(&self, sha256: &str) -> Result<Option<Bytes>, StoreError> {
        self.objects.read(&self.blob(sha256)).await
    }

    /// Begins a file of this sum. Nothing is there before it is finished.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn writer(&self, sha256: &str) -> Result<BlobWriter, StoreError> {
        let path = self.blob(sha256);
        let upload = self.objects.writer(&path).await?;
        Ok(BlobWriter { upload, path, sha256: sha256.to_owned(), hasher: Sha256::new(), bytes: 0 })
    }

    /// Removes all uploaded files. What cannot be removed is swept at the next start.
    pub async fn clear(&self) {
        if let Err(error) = self.objects.remove_below(&self.prefix).await {
            tracing::warn!(staging = %self.prefix, error = format!("{:#}", anyhow::Error::from(error)), "not removed");
        }
    }

    pub(super) fn blob(&self, sha256: &str) -> Path {
        self.prefix.clone().join(sha256)
    }
}

/// A file on its way into the staging, hashed as it comes.
pub struct BlobWriter {
    upload: WriteMultipart,
    path: Path,
    sha256: String,
    hasher: Sha256,
    bytes: u64,
}

/// What an uploaded file was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is there, durably.
    Stored {
        /// Its bytes.
        bytes: u64,
    },
    /// Its content has another sum; nothing is there.
    Other {
        /// SHA-256 of what came, in hex.
        found: String,
    },
}

impl BlobWriter {
    /// Takes the next piece.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.bytes += piece.len() as u64;
        self.hasher.update(&piece);
        self.upload.put(piece);
        let ready = self.upload.wait_for_capacity(PARTS_AT_ONCE).await;
        ready.map_err(|source| unavailable("write", &self.path, source))
    }

    /// Keeps the file if its sum is the one that was said.
    ///
    /// # Errors
    /// The store refuses; nothing is there then.
    pub async fn finish(self) -> Result<Finished, StoreError> {
        let Self { upload, path, sha256, hasher, bytes } = self;
        let found = hex::encode(hasher.finalize());
        let done = if found == sha256 { upload.finish().await.map(drop) } else { upload.abort().await };
        done.map_err(|source| unavailable("write", &path, source))?;
        Ok(if found == sha256 { Finished::Stored { bytes } } else { Finished::Other { found } })
    }
}

impl ResultsStore {
    /// Removes what uploads left: of attempts that were committed, and whatever is older than `age`, since whoever
    /// uploaded it has given up. Called before any upload is taken.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn sweep_staging(&self, age: Duration) -> Result<(), StoreError> {
        let objects = &self.shared.objects;
        let root = format!("{OWN_DIRECTORY}/{STAGING}");
        let mut level = vec![String::new()];
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            for above in level {
                let names = objects.directories(&Path::from(format!("{root}{above}"))).await?;
                next.extend(names.into_iter().map(|name| format!("{above}/{name}")));
            }
            level = next;
        }
        for attempt in level {
            let staged = Path::from(format!("{root}{attempt}"));
            if self.is_committed(&attempt).await? || !self.is_younger(&staged, age).await? {
                objects.remove_below(&staged).await?;
            }
        }
        Ok(())
    }

    /// Whether an attempt, named by its path below the staging, is committed.
    async fn is_committed(&self, attempt: &str) -> Result<bool, StoreError> {
        let parts: Vec<&str> = attempt.trim_start_matches('/').splitn(3, '/').collect();
        let [namespace, campaign, run] = parts.as_slice() else { return Ok(false) };
        let sums = Path::from(format!("{namespace}/{campaign}/{RUNS}/{run}/{SUMS}"));
        Ok(self.shared.objects.size(&sums).await?.is_some())
    }

    /// Whether something whole was uploaded there within the last `age`.
    async fn is_younger(&self, staged: &Path, age: Duration) -> Result<bool, StoreError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let oldest = i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
        let uploaded = self.shared.objects.list(staged).await?;
        Ok(uploaded.iter().any(|object| object.last_modified.timestamp() > oldest))
    }
}
