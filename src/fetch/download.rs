//! Copying the listed files: those that are there are kept, each other one appears whole and checked or not at all.

use std::{
    fs, io,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use tokio::{fs::File, io::AsyncWriteExt, task::spawn_blocking};

use super::{FetchError, Fetched, Results};
use crate::store::{
    campaigns::{ListedFile, Listing, Place, place},
    sha256_of_file,
};

/// Files that are copied at once.
const COPIED_AT_ONCE: usize = 4;
/// How often a copy that breaks off is begun again.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// The file that commits what lies beside it.
const SUMS: &str = "SHA256SUMS";

/// The copying of one campaign.
pub struct Download<'a> {
    results: &'a Results,
    directory: String,
    root: PathBuf,
}

impl<'a> Download<'a> {
    /// Copies from a directory of the store to `root`.
    pub const fn new(results: &'a Results, directory: String, root: PathBuf) -> Self {
        Self { results, directory, root }
    }

    /// Asks what there is and copies what lacks.
    pub async fn round(&mut self) -> Result<Fetched, FetchError> {
        let path = format!("/v1/campaigns/{}/", self.directory);
        let listing: Option<Listing> = self.results.get_json(&path, "list the campaign's files").await?;
        let Listing { sealed, files } = listing.ok_or_else(|| self.unknown())?;
        if let Some(file) = files.iter().find(|file| place(&file.path).is_none()) {
            return Err(FetchError::NotOurs { path: file.path.clone() });
        }
        self.check_root(&files).await?;
        let bar = progress(files.iter().map(|file| file.bytes).sum());
        let mut fetched = Fetched { root: self.root.clone(), sealed, copied: 0, kept: 0, bytes: 0 };
        // Sums come after what they commit, so that a tree that was cut off claims nothing that it has not.
        for stage in stages(files) {
            let done: Vec<Option<u64>> = stream::iter(stage)
                .map(|file| self.provide(file, &bar))
                .buffer_unordered(COPIED_AT_ONCE)
                .try_collect()
                .await?;
            fetched.copied += done.iter().flatten().count();
            fetched.kept += done.iter().filter(|copied| copied.is_none()).count();
            fetched.bytes += done.iter().flatten().sum::<u64>();
        }
        if !sealed {
            remove_if_there(&self.root.join(SUMS))?;
        }
        bar.finish_and_clear();
        Ok(fetched)
    }

    /// Another campaign's results are not mixed with these.
    async fn check_root(&self, files: &[ListedFile]) -> Result<(), FetchError> {
        let plan = self.root.join("plan.json");
        let listed = files.iter().find(|file| file.path == "plan.json");
        match (sum_of(plan.clone()).await?, listed) {
            (Some(present), Some(listed)) if present != listed.sha256 => {
                Err(FetchError::OtherResults { root: self.root.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that a file is there; the bytes that were copied, or `None` when it was there.
    async fn provide(&self, file: ListedFile, bar: &ProgressBar) -> Result<Option<u64>, FetchError> {
        let target = self.root.join(&file.path);
        let same_length = fs::metadata(&target).is_ok_and(|meta| meta.len() == file.bytes);
        if same_length && sum_of(target.clone()).await?.as_deref() == Some(file.sha256.as_str()) {
            bar.inc(file.bytes);
            return Ok(None);
        }
        let parent = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(local("create", parent))?;
        for _ in 1..TRIES {
            match self.copy(&file, &target, bar).await {
                Err(FetchError::Cluster { source, action }) => {
                    tracing::warn!(%source, action, "the copy broke off; beginning it again");
                    tokio::time::sleep(PAUSE).await;
                }
                copied => return copied.map(Some),
            }
        }
        self.copy(&file, &target, bar).await.map(Some)
    }

    async fn copy(&self, file: &ListedFile, target: &Path, bar: &ProgressBar) -> Result<u64, FetchError> {
        let ListedFile { path, bytes, sha256 } = file;
        let action = format!("copy {path}");
        let address = format!("/v1/campaigns/{}/{path}", self.directory);
        let response = self.results.get(&address, &action).await?;
        let mut body = response.ok_or_else(|| FetchError::Changed { path: path.clone() })?.into_body();
        let part = part_of(target);
        let mut out = File::create(&part).await.map_err(local("create", &part))?;
        let mut hasher = Sha256::new();
        let mut copied = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| {
                bar.dec(copied);
                FetchError::Cluster { action: action.clone(), source }
            })?;
            let Ok(piece) = frame.into_data() else { continue };
            copied += piece.len() as u64;
            if copied > *bytes {
                break;
            }
            hasher.update(&piece);
            bar.inc(piece.len() as u64);
            out.write_all(&piece).await.map_err(local("write", &part))?;
        }
        out.sync_all().await.map_err(local("write", &part))?;
        drop(out);
        if copied != *bytes || hex::encode(hasher.finalize()) != *sha256 {
            remove_if_there(&part)?;
            return Err(FetchError::Changed { path: path.clone() });
        }
        fs::rename(&part, target).map_err(local("move a copied file to", target))?;
        Ok(copied)
    }

    fn unknown(&self) -> FetchError {
        let (namespace, campaign) = self.directory.split_once('/').unwrap_or(("", &self.directory));
        FetchError::Unknown {
            namespace: namespace.to_owned(),
            campaign: campaign.to_owned(),
            hint: "the store has nothing of it yet; see the campaign's conditions".to_owned(),
        }
    }
}

/// Files, then the sums of runs, then the campaign's sums.
fn stages(files: Vec<ListedFile>) -> [Vec<ListedFile>; 3] {
    let (sums, plain): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.path.rsplit('/').next() == Some(SUMS));
    let (own, of_runs) = sums.into_iter().partition(|file| place(&file.path) == Some(Place::Campaign));
    [plain, of_runs, own]
}

/// SHA-256 of a file; `None` where there is none.
async fn sum_of(path: PathBuf) -> Result<Option<String>, FetchError> {
    if !path.is_file() {
        return Ok(None);
    }
    let read = path.clone();
    let summed = spawn_blocking(move || sha256_of_file(&read)).await;
    let fail = |source: io::Error| local("read", &path)(source);
    summed.map_err(|error| fail(io::Error::other(error)))?.map(Some).map_err(|error| fail(io::Error::other(error)))
}

fn part_of(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.part"))
}

fn remove_if_there(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(local("remove", path)(error)),
        _ => Ok(()),
    }
}

fn local(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FetchError + use<> {
    let path = path.to_owned();
    move |source| FetchError::Local { action, path: path.clone(), source }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    bar.set_style(style.expect("the template is well formed"));
    bar
}
