//! `SHA256SUMS`, read without trust in who wrote it, and the digests of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::found::Fault;

/// Name of the file that commits a directory.
pub(super) const SUMS_FILE: &str = "SHA256SUMS";

/// Most bytes of a file that is read as a whole; evidence has kilobytes, a plan of thousands of runs a megabyte.
const MOST_BYTES: u64 = 64 << 20;

/// Most directories below a run: `servers/0/evidence/pre.json` lies three deep.
const DEEPEST: usize = 8;

/// The digests that a directory's `SHA256SUMS` gives, by path.
pub(super) type Sums = BTreeMap<String, String>;

/// What was hashed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hashed {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Reads lines as `sha256sum` writes them. A path must stay below its directory.
pub(super) fn parse(text: &str) -> Result<Sums, String> {
    let mut sums = Sums::new();
    for (line, content) in (1..).zip(text.lines()) {
        let Some((sum, path)) = content.split_once("  ").filter(|(sum, _)| is_sha256(sum)) else {
            return Err(format!("line {line}: not 64 lower-case hex digits, two spaces and a path"));
        };
        if path.is_empty() || !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("line {line}: the path {path:?} does not stay below its directory"));
        }
        if sums.insert(path.to_owned(), sum.to_owned()).is_some() {
            return Err(format!("line {line}: {path} stands in it twice"));
        }
    }
    Ok(sums)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Hashes every file that the sums name and compares.
pub(super) fn check(directory: &Path, sums: &Sums, hashed: &mut Hashed, faults: &mut Vec<Fault>) {
    for (path, expected) in sums {
        let mut hasher = Sha256::new();
        match hash(&directory.join(path), &mut hasher) {
            Ok(bytes) => {
                hashed.files += 1;
                hashed.bytes += bytes;
                if hex::encode(hasher.finalize()) != *expected {
                    faults.push(Fault::new(path, "its bytes are not those that SHA256SUMS was written over"));
                }
            }
            Err(error) => faults.push(Fault::new(path, format!("named in SHA256SUMS and cannot be read: {error}"))),
        }
    }
}

/// Names every file below the directory that the sums do not.
pub(super) fn check_nothing_else(directory: &Path, sums: &Sums, faults: &mut Vec<Fault>) {
    let mut present = BTreeSet::new();
    if let Err(error) = list(directory, "", DEEPEST, &mut present) {
        faults.push(Fault::new("", format!("cannot be listed: {error}")));
    }
    for path in present {
        if path != SUMS_FILE && !sums.contains_key(&path) {
            faults.push(Fault::new(&path, "not named in SHA256SUMS: it was added later"));
        }
    }
}

fn list(directory: &Path, prefix: &str, depth: usize, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() && depth > 0 {
            list(&entry.path(), &format!("{path}/"), depth - 1, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// Feeds a file to the hasher; gives its length. A link is refused: what it points to may lie elsewhere tomorrow.
pub(super) fn hash(path: &Path, hasher: &mut Sha256) -> io::Result<u64> {
    let mut file = open(path)?;
    let mut buffer = vec![0_u8; 1 << 18];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(length);
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
}

/// A small file's bytes.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("larger than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A small JSON file; what is wrong with it is a fault.
pub(super) fn read_json<T: DeserializeOwned>(root: &Path, path: &str, faults: &mut Vec<Fault>) -> Option<T> {
    let told = match read(&root.join(path)) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => return Some(value),
            Err(error) => format!("not what this file should be: {error}"),
        },
        Err(error) => format!("cannot be read: {error}"),
    };
    faults.push(Fault::new(path, told));
    None
}

fn open(path: &Path) -> io::Result<File> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    File::open(path)
}

/// SHA-256 of some bytes, in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
