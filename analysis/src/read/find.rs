//! Finds campaigns under the paths that were given.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Campaign, ReadError};

/// The file that makes a directory a campaign's.
const PLAN: &str = "plan.json";

/// Reads all campaigns under `paths`, each a campaign's directory or the one above several. The order is that of the
/// paths, then by name; a directory that is named twice is read once.
///
/// # Errors
/// When a path has no campaign, or a campaign's plan cannot be read. A run that cannot be read is no error: it is kept
/// with its reason.
pub fn campaigns(paths: &[PathBuf]) -> Result<Vec<Campaign>, ReadError> {
    let mut directories: Vec<PathBuf> = Vec::new();
    for path in paths {
        for directory in campaign_directories(path)? {
            let resolved = fs::canonicalize(&directory).map_err(at(&directory))?;
            if !directories.contains(&resolved) {
                directories.push(resolved);
            }
        }
    }
    directories.iter().map(|directory| Campaign::read(directory)).collect()
}

/// Whether a path is a campaign's directory or has one directly below.
#[must_use]
pub fn holds_campaign(path: &Path) -> bool {
    campaign_directories(path).is_ok()
}

fn campaign_directories(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if path.join(PLAN).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let below: Vec<PathBuf> =
        subdirectories(path)?.into_iter().filter(|directory| directory.join(PLAN).is_file()).collect();
    if below.is_empty() { Err(ReadError::NoCampaign { path: path.to_owned() }) } else { Ok(below) }
}

/// Directories directly under `path`, by name.
pub(crate) fn subdirectories(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?.path();
        if entry.is_dir() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn at(path: &Path) -> impl Fn(io::Error) -> ReadError {
    move |source| ReadError::Io { path: path.to_owned(), source }
}
