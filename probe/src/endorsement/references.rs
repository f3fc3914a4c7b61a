//! Reference manifests that count: those whose SHA-256 the campaign pins.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::rim::{Rim, RimError};

/// Files that are looked at in a directory of manifests.
const MOST_FILES: usize = 256;
/// A ConfigMap holds no longer file.
const MOST_BYTES: u64 = 1 << 20;

/// Manifests that cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum ReferenceError {
    /// A file or directory cannot be read.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A pinned manifest is not there.
    #[error("no reference manifest has the pinned SHA-256 {0}; put the file beside the others, or change the pin")]
    Missing(String),
    /// A pinned file is none.
    #[error("reference manifest {sha256}: {source}")]
    Rim {
        /// Its digest.
        sha256: String,
        /// Why.
        source: RimError,
    },
}

/// A pinned manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The file.
    pub bytes: Vec<u8>,
    /// What it says.
    pub rim: Rim,
}

/// Pinned manifests by their SHA-256 in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References(BTreeMap<String, Reference>);

impl References {
    /// Picks the manifests that are pinned, by SHA-256 in hex, from files; each pin must be among them.
    ///
    /// # Errors
    /// A pinned file is missing or no manifest.
    pub fn pinned(files: impl IntoIterator<Item = Vec<u8>>, pins: &[String]) -> Result<Self, ReferenceError> {
        let mut found = BTreeMap::new();
        for bytes in files {
            let sha256 = hex::encode(Sha256::digest(&bytes));
            if pins.iter().any(|pin| pin.eq_ignore_ascii_case(&sha256)) {
                let rim =
                    Rim::parse(&bytes).map_err(|source| ReferenceError::Rim { sha256: sha256.clone(), source })?;
                found.insert(sha256, Reference { bytes, rim });
            }
        }
        match pins.iter().find(|pin| !found.contains_key(&pin.to_ascii_lowercase())) {
            None => Ok(Self(found)),
            Some(pin) => Err(ReferenceError::Missing(pin.clone())),
        }
    }

    /// Picks the pinned manifests from the files of a directory.
    ///
    /// # Errors
    /// It cannot be read, or a pinned file is missing or no manifest.
    pub fn in_directory(directory: &Path, pins: &[String]) -> Result<Self, ReferenceError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| ReferenceError::Io { path, source }
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(fail(directory))?.take(MOST_FILES) {
            let path = entry.map_err(fail(directory))?.path();
            // A ConfigMap's files are links to files, beside a link to a directory.
            if path.is_file() {
                let mut bytes = Vec::new();
                let file = std::fs::File::open(&path).map_err(fail(&path))?;
                file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(fail(&path))?;
                files.push(bytes);
            }
        }
        Self::pinned(files, pins)
    }

    /// The manifests by SHA-256 in hex.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Reference)> {
        self.0.iter().map(|(sha256, reference)| (sha256.as_str(), reference))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the manifests say.
    #[must_use]
    pub fn rims(&self) -> Vec<Rim> {
        self.0.values().map(|reference| reference.rim.clone()).collect()
    }
}
