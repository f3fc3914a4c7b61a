//! `SHA256SUMS`: written last, it commits what lies beside it; `sha256sum -c` reads it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Name of the file that commits a directory.
pub const SUMS_FILE: &str = "SHA256SUMS";

/// A directory could not be summed or made durable.
#[derive(Debug, Error)]
#[error("{action} {}: free space or mend permissions, then run again", path.display())]
pub struct SumsError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// SHA-256 of some bytes, in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of a file's content, in hex, read in pieces.
pub fn sha256_of_file(path: &Path) -> Result<String, SumsError> {
    let fail = |source| SumsError { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(fail)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// Makes every file of a run durable, writes its `SHA256SUMS`, and moves the run to its place as a whole. A crash leaves
/// either the complete run at `target` or nothing there.
pub fn commit(staging: &Path, target: &Path) -> Result<(), SumsError> {
    let mut files = Vec::new();
    collect(staging, staging, &mut files)?;
    for relative in &files {
        sync(&staging.join(relative))?;
    }
    write_sums(staging, &files)?;
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| SumsError { action: "create", path: parent.to_owned(), source })?;
    fs::rename(staging, target).map_err(|source| SumsError {
        action: "move a finished run to",
        path: target.to_owned(),
        source,
    })?;
    sync(parent)
}

/// Writes `SHA256SUMS` into `dir` over the given files, named by paths relative to `dir`.
pub fn write_sums(dir: &Path, files: &[PathBuf]) -> Result<(), SumsError> {
    let mut text = String::new();
    for relative in files {
        let digest = sha256_of_file(&dir.join(relative))?;
        text.push_str(&digest);
        text.push_str("  ");
        text.push_str(&relative.to_string_lossy());
        text.push('\n');
    }
    let path = dir.join(SUMS_FILE);
    let part = dir.join(".SHA256SUMS.part");
    let write = || -> io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().map_err(|source| SumsError { action: "write", path: path.clone(), source })?;
    sync(dir)
}

fn sync(path: &Path) -> Result<(), SumsError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| SumsError {
        action: "make durable",
        path: path.to_owned(),
        source,
    })
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), SumsError> {
    let fail = |source| SumsError { action: "list", path: dir.to_owned(), source };
    let mut entries = fs::read_dir(dir).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            collect(root, &path, files)?;
        } else if entry.file_name() != SUMS_FILE {
            files.push(path.strip_prefix(root).expect("collected under root").to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_run_is_whole_and_its_sums_name_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let staging = dir.path().join("staging");
        fs::create_dir_all(staging.join("servers/0")).unwrap();
        fs::write(staging.join("run.json"), "{}").unwrap();
        fs::write(staging.join("servers/0/a.csv"), "x").unwrap();
        let target = dir.path().join("runs/e/c/a/r/r1a1");

        commit(&staging, &target).unwrap();

        assert!(!staging.exists());
        let sums = fs::read_to_string(target.join(SUMS_FILE)).unwrap();
        assert_eq!(
            sums,
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  run.json\n\
             2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  servers/0/a.csv\n"
        );
    }

    #[test]
    fn a_run_that_cannot_be_moved_stays_in_staging_with_an_error_that_names_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let staging = dir.path().join("staging");
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("run.json"), "{}").unwrap();
        let blocked = dir.path().join("runs");
        fs::write(&blocked, "a file where a directory should be").unwrap();

        let error = commit(&staging, &blocked.join("r1a1")).unwrap_err();

        assert!(error.to_string().contains("runs"), "{error}");
        assert!(staging.join("run.json").exists());
    }
}
