//! Committing an attempt: the first to do so decides what it was.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use teebench_api::{
    campaign::Metric,
    files::run::{RunFile, Verdict},
    plan::{RunId, next::AttemptOutcome},
};
use tokio::task::spawn_blocking;

use super::{
    CampaignStore, StoreError,
    campaign::{RUNS, SUMS, parse},
};
use crate::store::{INPUTS_FILE, RunFiles, attempt_outcome, deciding_metrics, sha256_hex};

/// Attempts that are read at once.
const READ_AT_ONCE: usize = 8;
/// Most files of an attempt that is read back: more than any that may be committed.
const MOST_FILES_READ: usize = 1 << 20;

/// An attempt that was committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What it was.
    pub run: RunFile,
    /// The metrics on which decisions rest; none of an attempt that does not count.
    pub metrics: BTreeMap<Metric, f64>,
    /// SHA-256 of its `SHA256SUMS`, in hex.
    pub sums_sha256: String,
}

impl Committed {
    /// The attempt as `next` sees it.
    #[must_use]
    pub fn outcome(&self) -> AttemptOutcome {
        attempt_outcome(&self.run, self.metrics.clone())
    }
}

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Commit {
    /// The attempt is committed as it was given.
    Won(Committed),
    /// It was committed before, perhaps otherwise; that stands.
    Lost(Committed),
}

impl Commit {
    /// What the attempt was, whoever said so.
    #[must_use]
    pub fn into_committed(self) -> Committed {
        match self {
            Self::Won(committed) | Self::Lost(committed) => committed,
        }
    }
}

impl CampaignStore {
    /// All committed attempts, in the order in which they were made.
    ///
    /// # Errors
    /// The store refuses, or a committed attempt has no readable `run.json`.
    pub async fn committed(&self) -> Result<Vec<Committed>, StoreError> {
        let attempts = self.attempts().await?;
        let mut found: Vec<Committed> = stream::iter(attempts)
            .map(|attempt| async move { self.read_attempt(&attempt).await })
            .buffer_unordered(READ_AT_ONCE)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await?;
        found.sort_by_key(|committed| committed.run.epoch);
        Ok(found)
    }

    /// One attempt, if it was committed.
    ///
    /// # Errors
    /// The store refuses, or the attempt has no readable `run.json`.
    pub async fn committed_attempt(&self, run: &RunId, attempt: u32) -> Result<Option<Committed>, StoreError> {
        self.read_attempt(&self.attempt_path(run, attempt)).await
    }

    /// A file of an attempt, by its path in the attempt's directory; nothing when it is not there.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn run_file(&self, run: &RunId, attempt: u32, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.objects().read(&below(&self.attempt_path(run, attempt), path)).await
    }

    /// Commits an attempt that has no files but the operator's own word. The first commit stands.
    ///
    /// # Errors
    /// The store refuses; the attempt is then not committed, and the call may be made again.
    pub async fn commit_run(&self, run: &RunFile, inputs_json: Option<&[u8]>) -> Result<Commit, StoreError> {
        let alone = self.alone_with(&run.run, run.attempt).await;
        let target = self.attempt_path(&run.run, run.attempt);
        if let Some(committed) = self.read_attempt(&target).await? {
            return Ok(Commit::Lost(committed));
        }
        let mut contents = vec![("run.json", run_json(run))];
        contents.extend(inputs_json.map(|inputs| (INPUTS_FILE, inputs.to_vec())));
        self.objects().remove_below(&target).await?;
        let files = RunFiles::of(contents.iter().map(|(name, text)| ((*name).to_owned(), sha256_hex(text))));
        for (name, text) in contents {
            self.objects().write(&target.clone().join(name), text).await?;
        }
        let commit = self.seal_attempt(&target, &files).await?;
        self.staging(&run.run, run.attempt).clear().await;
        drop(alone);
        Ok(commit)
    }

    /// Commits an attempt from files that were uploaded, each under its sum. `run.json` may be given anew.
    ///
    /// # Errors
    /// The store refuses, or a file was not uploaded; the attempt is then not committed, and the call may be made again.
    /// The caller holds [`alone_with`](Self::alone_with) the attempt.
    pub(in crate::store) async fn commit_staged(
        &self,
        run: &RunId,
        attempt: u32,
        mut files: RunFiles,
        new_run_json: Option<Vec<u8>>,
    ) -> Result<Commit, StoreError> {
        let target = self.attempt_path(run, attempt);
        if let Some(committed) = self.read_attempt(&target).await? {
            return Ok(Commit::Lost(committed));
        }
        let staging = self.staging(run, attempt);
        // What a crash between two files of an earlier commit left.
        self.objects().remove_below(&target).await?;
        for (path, sum) in files.iter().filter(|(path, _)| new_run_json.is_none() || *path != "run.json") {
            self.objects().copy(&staging.blob(sum), &below(&target, path)).await?;
        }
        if let Some(text) = new_run_json {
            files.set("run.json", sha256_hex(&text));
            self.objects().write(&target.clone().join("run.json"), text).await?;
        }
        let commit = self.seal_attempt(&target, &files).await?;
        staging.clear().await;
        Ok(commit)
    }

    /// The files of a committed attempt; `None` of one that is not.
    pub(in crate::store) async fn committed_files(
        &self,
        run: &RunId,
        attempt: u32,
    ) -> Result<Option<RunFiles>, StoreError> {
        Ok(self.read_files(&self.attempt_path(run, attempt)).await?.map(|(files, _)| files))
    }

    /// Waits until nobody else commits this attempt.
    pub(in crate::store) async fn alone_with(&self, run: &RunId, attempt: u32) -> impl Drop + use<> {
        self.shared.locks.hold(self.attempt_path(run, attempt).as_ref()).await
    }

    /// Paths of all attempts that have sums.
    pub(super) async fn attempts(&self) -> Result<Vec<Path>, StoreError> {
        let suffix = format!("/{SUMS}");
        let objects = self.objects().list(&self.path(RUNS)).await?;
        Ok(objects.iter().filter_map(|object| object.location.as_ref().strip_suffix(&suffix)).map(Path::from).collect())
    }

    /// The files of a committed attempt, and the bytes of its `SHA256SUMS`.
    pub(super) async fn read_files(&self, attempt: &Path) -> Result<Option<(RunFiles, Bytes)>, StoreError> {
        let path = attempt.clone().join(SUMS);
        let Some(bytes) = self.objects().read(&path).await? else { return Ok(None) };
        match RunFiles::parse(&String::from_utf8_lossy(&bytes), MOST_FILES_READ) {
            Ok(files) => Ok(Some((files, bytes))),
            Err(source) => Err(StoreError::Sums { path: path.to_string(), source }),
        }
    }

    async fn seal_attempt(&self, target: &Path, files: &RunFiles) -> Result<Commit, StoreError> {
        let won = self.objects().write_new(&target.clone().join(SUMS), files.to_text().into_bytes()).await?;
        let committed = self.read_attempt(target).await?;
        let committed = committed.ok_or_else(|| StoreError::Missing { count: 1, first: format!("{target}/{SUMS}") })?;
        Ok(if won { Commit::Won(committed) } else { Commit::Lost(committed) })
    }

    async fn read_attempt(&self, attempt: &Path) -> Result<Option<Committed>, StoreError> {
        let Some(sums) = self.objects().read(&attempt.clone().join(SUMS)).await? else { return Ok(None) };
        let path = attempt.clone().join("run.json");
        let text = self.objects().read(&path).await?.unwrap_or_default();
        let run: RunFile = parse(&path, "a run", &text)?;
        let metrics = self.metrics(&run, attempt).await?;
        Ok(Some(Committed { run, metrics, sums_sha256: sha256_hex(&sums) }))
    }

    async fn metrics(&self, run: &RunFile, attempt: &Path) -> Result<BTreeMap<Metric, f64>, StoreError> {
        if run.validity.validity != Verdict::Valid {
            return Ok(BTreeMap::new());
        }
        let bench = attempt.clone().join("bench.json");
        let (local, kept) = self.on_disk(&bench).await?;
        let run = run.clone();
        let metrics = spawn_blocking(move || {
            let metrics = deciding_metrics(&run, &local);
            drop(kept);
            metrics
        });
        metrics.await.map_err(|source| StoreError::CutOff { action: "reading a result file", source })
    }
}

/// The bytes of `run.json`.
pub fn run_json(run: &RunFile) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(run).expect("our own types serialise to JSON");
    text.push(b'\n');
    text
}

/// A path of several parts below another.
pub(super) fn below(base: &Path, relative: &str) -> Path {
    Path::from(format!("{base}/{relative}"))
}
