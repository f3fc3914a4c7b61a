//! A model's weights in a directory: fetched by a downloader, checked, and marked as whole last.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

/// Name of the marker in a directory that holds a revision whole.
const MARKER: &str = ".teebench-weights.json";
/// Where downloaders keep what is not yet whole.
const PARTIAL_DIR: &str = ".cache";
/// What every model that vLLM serves has.
const CONFIG: &str = "config.json";

/// What is wanted, and where.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `owner/name`.
    pub repository: &'a str,
    /// The commit.
    pub revision: &'a str,
    /// Directory of its files.
    pub directory: &'a Path,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing was to be done.
    AlreadyThere,
    /// The directory is whole now.
    Fetched {
        /// Files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The downloader did not come to its end.
    Failed {
        /// Exit code or signal.
        how: String,
    },
    /// A person or the kubelet stopped it.
    Interrupted,
}

/// The weights could not be fetched.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The directory holds something else.
    #[error("{}: holds {found}, and {wanted} is wanted; give each revision a directory of its own", directory.display())]
    Other {
        /// The directory.
        directory: PathBuf,
        /// What it holds.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// The downloader said that it was done, and it was not.
    #[error("{}: {what} after the download; delete the directory and try again", directory.display())]
    NotWhole {
        /// The directory.
        directory: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The downloader cannot be run.
    #[error("{}: cannot be run; is it in this image?", program.display())]
    Program {
        /// Its name.
        program: OsString,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The directory cannot be read or written.
    #[error("{}: cannot be read or written by this user; see the claim's owner and mode", path.display())]
    Storage {
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Marker {
    repository: String,
    revision: String,
    files: u64,
    bytes: u64,
}

/// Fetches what is wanted, unless it is there.
///
/// # Errors
/// The directory cannot be used, the downloader cannot be run, or it left less than a model.
pub fn run(wanted: &Wanted<'_>, program: &OsStr, arguments: &[OsString]) -> Result<End, DownloadError> {
    let Wanted { repository, revision, directory } = *wanted;
    let marker = directory.join(MARKER);
    if let Some(found) = read_marker(&marker)? {
        if (found.repository.as_str(), found.revision.as_str()) == (repository, revision) {
            return Ok(End::AlreadyThere);
        }
        return Err(DownloadError::Other {
            directory: directory.to_owned(),
            found: format!("{} at {}", found.repository, found.revision),
            wanted: format!("{repository} at {revision}"),
        });
    }
    fs::create_dir_all(directory).map_err(storage(directory))?;
    let status = supervised(program, arguments)
        .map_err(|source| DownloadError::Program { program: program.to_owned(), source })?;
    match status {
        None => return Ok(End::Interrupted),
        Some(status) if !status.success() => return Ok(End::Failed { how: format!(" with {status}") }),
        Some(_) => {}
    }
    let not_whole = |what| DownloadError::NotWhole { directory: directory.to_owned(), what };
    let (files, bytes) = content(directory, directory)?;
    if fs::metadata(directory.join(CONFIG)).map_or(0, |config| config.len()) == 0 {
        return Err(not_whole("there is no config.json"));
    }
    let (repository, revision) = (repository.to_owned(), revision.to_owned());
    write_marker(&marker, &Marker { repository, revision, files, bytes })?;
    Ok(End::Fetched { files, bytes })
}

/// Runs the downloader to its end; `None` when this program was asked to stop, and the downloader with it.
fn supervised(program: &OsStr, arguments: &[OsString]) -> io::Result<Option<ExitStatus>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // As the first process of a container it is sent no signal that it does not listen for.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut child = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        tokio::select! {
            status = child.wait() => status.map(Some),
            _ = terminate.recv() => child.kill().await.map(|()| None),
            _ = interrupt.recv() => child.kill().await.map(|()| None),
        }
    })
}

/// Number and bytes of the files, less the downloader's own.
fn content(root: &Path, directory: &Path) -> Result<(u64, u64), DownloadError> {
    let mut sum = (0, 0);
    for entry in fs::read_dir(directory).map_err(storage(directory))? {
        let path = entry.map_err(storage(directory))?.path();
        let is_partial = directory == root && path.file_name() == Some(OsStr::new(PARTIAL_DIR));
        let metadata = fs::metadata(&path).map_err(storage(&path))?;
        let (files, bytes) = match metadata.is_dir() {
            _ if is_partial => (0, 0),
            true => content(root, &path)?,
            false => (1, metadata.len()),
        };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    Ok(sum)
}

fn read_marker(path: &Path) -> Result<Option<Marker>, DownloadError> {
    match fs::read(path) {
        // A marker that cannot be read was written by something else; the download is judged anew.
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(storage(path)(source)),
    }
}

/// The marker is on the disk whole, or it is not there.
fn write_marker(path: &Path, marker: &Marker) -> Result<(), DownloadError> {
    let partial = path.with_extension("partial");
    let text = serde_json::to_vec_pretty(marker).expect("our own types serialise to JSON");
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    written.map_err(storage(path))
}

fn storage(path: &Path) -> impl Fn(io::Error) -> DownloadError {
    move |source| DownloadError::Storage { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const REVISION: &str = "0e9e39f249a16976918f6564b8830bc894c89659";

    fn wanted(directory: &Path) -> Wanted<'_> {
        Wanted { repository: "owner/model", revision: REVISION, directory }
    }

    /// A downloader that is a shell script with the directory as its working directory.
    fn fetch(directory: &Path, script: &str) -> Result<End, DownloadError> {
        let script = format!("cd {} && {script}", directory.display());
        run(&wanted(directory), OsStr::new("sh"), &["-c".into(), script.into()])
    }

    const WHOLE: &str =
        "mkdir -p .cache part && printf x > .cache/rest && printf {} > config.json && printf abc > part/1";

    #[test]
    fn a_revision_is_fetched_once() {
        let dir = tempfile::tempdir().unwrap();

        assert_eq!(fetch(dir.path(), WHOLE).unwrap(), End::Fetched { files: 2, bytes: 5 });
        assert_eq!(fetch(dir.path(), "exit 1").unwrap(), End::AlreadyThere);
    }

    #[test]
    fn another_revision_is_not_put_over_it() {
        let dir = tempfile::tempdir().unwrap();
        fetch(dir.path(), WHOLE).unwrap();
        let other = Wanted { revision: "ffffffffffffffffffffffffffffffffffffffff", ..wanted(dir.path()) };

        let error = run(&other, OsStr::new("true"), &[]).unwrap_err();

        assert!(matches!(&error, DownloadError::Other { .. }) && error.to_string().contains(REVISION), "{error}");
    }

    #[rstest]
    #[case::refused("exit 3", "with exit status: 3")]
    #[case::half_of_it("printf {} > config.json; kill -9 $$", "with signal: 9 (SIGKILL)")]
    fn a_download_that_failed_is_begun_anew(#[case] script: &str, #[case] how: &str) {
        let dir = tempfile::tempdir().unwrap();

        let End::Failed { how: found } = fetch(dir.path(), script).unwrap() else { panic!("it did not fail") };

        assert!(found.contains(how), "{found}");
        assert!(matches!(fetch(dir.path(), WHOLE).unwrap(), End::Fetched { .. }));
    }

    #[test]
    fn a_download_that_left_no_model_is_not_marked() {
        let dir = tempfile::tempdir().unwrap();

        let error = fetch(dir.path(), "printf x > README.md").unwrap_err();

        assert!(error.to_string().contains("there is no config.json"), "{error}");
        assert!(!dir.path().join(MARKER).exists());
    }

    #[test]
    fn a_downloader_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();

        let error = run(&wanted(dir.path()), OsStr::new("no-such-downloader"), &[]).unwrap_err();

        assert!(error.to_string().starts_with("no-such-downloader: cannot be run"), "{error}");
    }
}
