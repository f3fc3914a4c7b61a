//! The log folder beside the probe: which logs lie in it, how long they are, and parts of them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::http::wire::LogFile;

/// Most bytes of one answer.
pub(crate) const PART_BYTES: u64 = 1 << 20;

/// The folder; without one there are no logs.
#[derive(Clone, Debug, Default)]
pub struct LogFolder(Option<PathBuf>);

impl LogFolder {
    /// The folder that was given by `--log-dir`, if one was.
    #[must_use]
    pub const fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// The logs in it, by name.
    pub(crate) fn list(&self) -> io::Result<Vec<LogFile>> {
        let Some(folder) = &self.0 else { return Ok(Vec::new()) };
        let mut logs = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                logs.push(LogFile { name, bytes: metadata.len() });
            }
        }
        logs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(logs)
    }

    /// At most [`PART_BYTES`] of a log from a byte on; none when it has no such log.
    pub(crate) fn part(&self, name: &str, from: u64) -> io::Result<Option<Vec<u8>>> {
        // A name is only ever compared with those that are there, so that none leads out of the folder.
        let Some(folder) = self.0.as_ref().filter(|_| !name.is_empty()) else { return Ok(None) };
        if !self.list()?.iter().any(|log| log.name == name) {
            return Ok(None);
        }
        let mut log = File::open(folder.join(name))?;
        log.seek(SeekFrom::Start(from))?;
        let mut part = Vec::new();
        log.take(PART_BYTES).read_to_end(&mut part)?;
        Ok(Some(part))
    }
}
