//! `teebench import`: a tree's campaigns on disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    super::tree::{Layout, Tree},
    Placed, modes, placed,
    plan::{arm_name, plan_of},
    relative,
};

/// Name of the file that says where a run's files came from.
pub(in super::super) const ORIGIN: &str = "notebook.json";

/// Where a run's files came from, so that an export gives the same tree.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in super::super) struct Origin {
    /// Path of the result file below the tree's root.
    pub result: String,
    /// Power files beside it; they lie in `servers/0/` under the same names.
    pub power: Vec<String>,
}

/// Why a tree cannot be imported.
#[derive(thiserror::Error, Debug)]
pub enum ImportError {
    /// The files lie in no tree.
    #[error("{0}: result files outside a tree cannot be imported; report them as they are")]
    Plain(PathBuf),
    /// Something is there already.
    #[error("{0}: is there already; give a directory that is new or empty")]
    Occupied(PathBuf),
    /// A file cannot be written.
    #[error("{path}: cannot be written")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes each mode's campaign to `out/<arm>` and gives the number of runs. What a tree does not tell, such as servers
/// and evidence, is left out.
///
/// # Errors
/// When the files are no tree, `out` has something in it, or a file cannot be written.
pub fn import(tree: &Tree, out: &Path) -> Result<usize, ImportError> {
    if tree.layout == Layout::Plain {
        return Err(ImportError::Plain(tree.root.clone()));
    }
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ImportError::Occupied(out.to_owned()));
    }
    let plan = plan_of(tree);
    let mut count = 0;
    for tee in modes(tree) {
        let campaign = out.join(arm_name(tee));
        create(&campaign)?;
        write(&campaign.join("plan.json"), &plan.to_json())?;
        for run in placed(tree, &plan, tee) {
            write_run(tree, &campaign, &run)?;
            count += 1;
        }
    }
    Ok(count)
}

fn write_run(tree: &Tree, campaign: &Path, placed: &Placed<'_>) -> Result<(), ImportError> {
    let Placed { run, file, energy } = placed;
    let directory = campaign.join("runs").join(file.run.attempt_path(file.attempt));
    create(&directory.join("servers/0"))?;
    let names: Vec<String> = run.power_paths.iter().map(|path| relative(path, path.parent().unwrap_or(path))).collect();
    let mut files = vec![
        ("bench.json".to_owned(), read(&run.path)?),
        ("run.json".to_owned(), json(file)),
        (ORIGIN.to_owned(), json(&Origin { result: relative(&run.path, &tree.root), power: names.clone() })),
    ];
    files.extend(energy.iter().map(|energy| ("energy.json".to_owned(), json(energy))));
    for (path, name) in run.power_paths.iter().zip(&names) {
        files.push((format!("servers/0/{name}"), read(path)?));
    }
    files.sort();
    let mut sums = String::new();
    for (name, bytes) in &files {
        write(&directory.join(name), bytes)?;
        sums.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))));
    }
    write(&directory.join("SHA256SUMS"), sums.as_bytes())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("keys are text, and a vector takes every byte")
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    fs::read(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })
}

fn create(directory: &Path) -> Result<(), ImportError> {
    fs::create_dir_all(directory).map_err(|source| ImportError::Io { path: directory.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    fs::write(path, bytes).map_err(|source| ImportError::Io { path: path.to_owned(), source })
}
