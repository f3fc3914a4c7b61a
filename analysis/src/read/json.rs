//! One JSON file to one type, with errors that name path, line and reason.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use super::ReadError;

/// Reads a file as `T`; `what` names the type in errors.
pub fn read_json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, ReadError> {
    let bytes = fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ReadError::Malformed { path: path.to_owned(), what, source })
}

/// The same for a file that need not be there.
pub fn read_json_if_present<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<Option<T>, ReadError> {
    if path.exists() { read_json(path, what).map(Some) } else { Ok(None) }
}
