//! The files of an attempt on this machine's disk, summed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::UploadError;
use crate::store::{RunFiles, check_path, sha256_of_file};

/// A file that may have to be sent.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The files of an attempt.
#[derive(Debug)]
pub struct Files {
    named: RunFiles,
    by_sum: BTreeMap<String, LocalFile>,
}

impl Files {
    /// Sums all files below a directory that an attempt may have.
    pub async fn below(dir: &Path) -> Result<Self, UploadError> {
        let root = dir.to_owned();
        let work = spawn_blocking(move || {
            let mut found = Vec::new();
            collect(&root, &root, &mut found)?;
            let mut by_sum = BTreeMap::new();
            let mut named = Vec::new();
            for (relative, file) in found {
                let sum = sha256_of_file(&file.path)?;
                named.push((relative, sum.clone()));
                by_sum.insert(sum, file);
            }
            Ok(Self { named: RunFiles::of(named), by_sum })
        });
        match work.await {
            Ok(files) => files,
            Err(error) => Err(UploadError::Read { path: dir.to_owned(), source: io::Error::other(error) }),
        }
    }

    /// The text of `SHA256SUMS`.
    pub fn list(&self) -> String {
        self.named.to_text()
    }

    /// A file with this content.
    pub fn of_sum(&self, sha256: &str) -> Option<&LocalFile> {
        self.by_sum.get(sha256)
    }
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<(String, LocalFile)>) -> Result<(), UploadError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| UploadError::Read { path, source }
    };
    for entry in fs::read_dir(dir).map_err(fail(dir))? {
        let entry = entry.map_err(fail(dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(fail(&path))?;
        if kind.is_dir() {
            collect(root, &path, found)?;
            continue;
        }
        let relative = path.strip_prefix(root).expect("collected under root").to_string_lossy().into_owned();
        match check_path(&relative) {
            Ok(()) if kind.is_file() => {
                let bytes = entry.metadata().map_err(fail(&path))?.len();
                found.push((relative, LocalFile { path, bytes }));
            }
            Ok(()) => tracing::warn!(file = relative, "not uploaded: not a plain file"),
            Err(problem) => tracing::warn!(file = relative, %problem, "not uploaded"),
        }
    }
    Ok(())
}
