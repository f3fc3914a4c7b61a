//! Publishing: summary and report over what is committed, and the sums that seal a campaign's directory.

use std::path::PathBuf;

use futures::TryStreamExt;
use object_store::path::Path;
use teebench_analysis::{
    read,
    report::{self, Sources},
    summary::{self, Summary},
};
use teebench_probe::verify::{STATEMENT_FILE, statement};
use tempfile::TempDir;
use tokio::{fs, io::AsyncWriteExt, task::spawn_blocking};

use super::{
    CampaignStore, StoreError,
    campaign::{CAMPAIGN, DECISIONS, PLAN, REPORT, RUNS, SUMMARY, SUMS},
    commit::below,
    objects::unavailable,
};
use crate::store::{BOOTS_FILE, RunFiles, sha256_hex};

/// Files of a campaign that its sums cover, the runs' own sums aside.
pub(super) const SEALED: [&str; 4] = [CAMPAIGN, DECISIONS, PLAN, SUMMARY];
/// Files of a campaign beside its runs.
pub(super) const OWN_FILES: [&str; 7] = [BOOTS_FILE, CAMPAIGN, DECISIONS, PLAN, REPORT, STATEMENT_FILE, SUMMARY];

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The text of `summary.json`.
    pub summary_json: String,
    /// The metrics as a table.
    pub summary_csv: String,
    /// SHA-256 of `summary.json`, in hex.
    pub digest: String,
    /// The summary.
    pub summary: Summary,
}

impl CampaignStore {
    /// Summarises what is committed, writes `summary.json` and `report.html`, and seals the directory.
    ///
    /// # Errors
    /// The store refuses, or the results cannot be read.
    pub async fn publish(&self) -> Result<Published, StoreError> {
        let alone = self.alone().await;
        let (root, kept) = self.directory_on_disk().await?;
        let summarised = spawn_blocking(move || {
            let campaigns = read::campaigns(std::slice::from_ref(&root))?;
            let summary = summary::summarise(&campaigns);
            let report = report::html(&summary, &Sources::read(&campaigns, &root));
            drop(kept);
            Ok::<_, StoreError>((summary, report))
        });
        let (summary, report) =
            summarised.await.map_err(|source| StoreError::CutOff { action: "summarising", source })??;
        let summary_json = summary.to_json();
        self.objects().write(&self.path(SUMMARY), summary_json.clone().into_bytes()).await?;
        self.objects().write(&self.path(REPORT), report.into_bytes()).await?;
        let sums = self.present_sums().await?;
        self.objects().write(&self.path(SUMS), sums.clone().into_bytes()).await?;
        if let Some(plan) = self.plan().await? {
            let statement = statement(&plan.campaign, &sums).expect("sums that were just made are sums");
            self.objects().write(&self.path(STATEMENT_FILE), statement).await?;
        }
        drop(alone);
        let digest = sha256_hex(summary_json.as_bytes());
        Ok(Published { summary_csv: report::csv(&summary), summary_json, digest, summary })
    }

    /// The sums that seal the directory as it is now: of the campaign's own files, and of each run's sums.
    pub(super) async fn present_sums(&self) -> Result<String, StoreError> {
        let mut files = RunFiles::default();
        for name in SEALED {
            if let Some(text) = self.objects().read(&self.path(name)).await? {
                files.set(name, sha256_hex(&text));
            }
        }
        let own = format!("{}/", self.directory);
        for attempt in self.attempts().await? {
            let path = attempt.join(SUMS);
            let text = self.objects().read(&path).await?.unwrap_or_default();
            files.set(path.as_ref().trim_start_matches(&own), sha256_hex(&text));
        }
        Ok(files.to_text())
    }

    /// A file as one on this machine's disk; the guard keeps a copy that had to be made.
    pub(super) async fn on_disk(&self, path: &Path) -> Result<(PathBuf, Option<TempDir>), StoreError> {
        if let Some(local) = self.objects().local_path(path) {
            return Ok((local, None));
        }
        let dir = temporary()?;
        let local = dir.path().join(path.filename().unwrap_or_default());
        self.download(path, &local).await?;
        Ok((local, Some(dir)))
    }

    /// The campaign's directory as one on this machine's disk; the guard keeps a copy that had to be made.
    async fn directory_on_disk(&self) -> Result<(PathBuf, Option<TempDir>), StoreError> {
        let root = self.path("");
        if let Some(local) = self.objects().local_path(&root) {
            return Ok((local, None));
        }
        let dir = temporary()?;
        let local_root = dir.path().join(root.filename().unwrap_or_default());
        for name in OWN_FILES {
            let path = self.path(name);
            if self.objects().size(&path).await?.is_some() {
                self.download(&path, &local_root.join(name)).await?;
            }
        }
        let own = format!("{}/", self.directory);
        for object in self.objects().list(&self.path(RUNS)).await? {
            let relative = object.location.as_ref().trim_start_matches(&own);
            self.download(&object.location, &local_root.join(relative)).await?;
        }
        Ok((local_root, Some(dir)))
    }

    async fn download(&self, path: &Path, to: &std::path::Path) -> Result<(), StoreError> {
        let fail = |source| StoreError::Local { action: "write", path: to.display().to_string(), source };
        let Some((_, mut content)) = self.objects().stream(path).await? else { return Ok(()) };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).await.map_err(fail)?;
        }
        let mut file = fs::File::create(to).await.map_err(fail)?;
        while let Some(piece) = content.try_next().await.map_err(|source| unavailable("read", path, source))? {
            file.write_all(&piece).await.map_err(fail)?;
        }
        file.flush().await.map_err(fail)
    }

    /// Address of a file of the campaign within the store.
    pub(super) fn file(&self, relative: &str) -> Path {
        below(&self.path(""), relative)
    }
}

fn temporary() -> Result<TempDir, StoreError> {
    tempfile::tempdir().map_err(|source| StoreError::Local {
        action: "make a directory in",
        path: std::env::temp_dir().display().to_string(),
        source,
    })
}
