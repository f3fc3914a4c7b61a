//! A campaign's directory: opened by one program at a time, continued where it was left.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Serialize, de::DeserializeOwned};
use teebench_api::{
    files::{inputs::RunInputs, run::RunFile},
    plan::{
        Plan, PlanFileError, RunId,
        next::{Decision, Log, LogError},
    },
};
use teebench_probe::verify::{STATEMENT_FILE, statement};
use thiserror::Error;

use super::sums::{SUMS_FILE, SumsError, sha256_hex, write_sums};

/// Name of the file with an attempt's frozen inputs.
pub const INPUTS_FILE: &str = "inputs.json";

/// A campaign's directory could not be opened, read or written.
#[derive(Debug, Error)]
pub enum TreeError {
    /// Another program works on it.
    #[error("{}: another teebench works on this campaign; wait for it or choose another --out", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// It holds results of another plan.
    #[error("{}: holds results of another plan ({found}, this file's is {wanted}); choose another --out, or the file it was made from", path.display())]
    OtherPlan {
        /// The directory.
        path: PathBuf,
        /// Digest of the plan that lies there.
        found: String,
        /// Digest of the plan that was to be run.
        wanted: String,
    },
    /// A file is not what this program writes.
    #[error("{}: not readable as {what}; restore it or choose another --out", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// The file system refuses.
    #[error("cannot {action} {}: free space, mend permissions or choose another --out, then run again", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An attempt is not in the plan: the executor and the plan disagree.
    #[error("{0}")]
    Plan(String),
    /// The plan is not one that this program can continue.
    #[error(transparent)]
    PlanFile(#[from] PlanFileError),
    /// The decisions are not those of this plan.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Sums could not be written.
    #[error(transparent)]
    Sums(#[from] SumsError),
}

impl TreeError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A campaign's directory, locked for this program.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    _lock: Flock<File>,
}

impl Tree {
    /// Opens `<out>/<campaign>`, makes it when it is not there, and refuses one that belongs to another plan.
    pub fn open(out: &Path, plan: &Plan, plan_sha256: &str, campaign_yaml: &[u8]) -> Result<Self, TreeError> {
        let root = out.join(&plan.campaign);
        fs::create_dir_all(&root).map_err(TreeError::io("create", &root))?;
        let lock_path = root.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(TreeError::io("open", &lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            if errno == nix::errno::Errno::EWOULDBLOCK {
                TreeError::Busy { path: root.clone() }
            } else {
                TreeError::io("lock", &lock_path)(errno.into())
            }
        })?;
        let tree = Self { root, _lock: lock };
        let plan_path = tree.path("plan.json");
        if plan_path.exists() {
            let text = fs::read(&plan_path).map_err(TreeError::io("read", &plan_path))?;
            let found = Plan::from_json(&text)?.digest();
            if found != plan_sha256 {
                return Err(TreeError::OtherPlan {
                    path: tree.root.clone(),
                    found: found[..12].to_owned(),
                    wanted: plan_sha256[..12].to_owned(),
                });
            }
        } else {
            tree.write("decisions.jsonl", b"")?;
            tree.write("plan.json", &plan.to_json())?;
        }
        // Limits may differ from the last time; what is kept is what is in force.
        tree.write("campaign.yaml", campaign_yaml)?;
        Ok(tree)
    }

    /// The decisions so far. What a crash cut off is removed, since nothing was done for it yet.
    pub fn decisions(&self, plan: &Plan) -> Result<Vec<Decision>, TreeError> {
        let path = self.path("decisions.jsonl");
        let text = fs::read(&path).map_err(TreeError::io("read", &path))?;
        let Log { decisions, bytes } = Log::read(plan, &text)?;
        cut(&path, bytes, text.len())?;
        Ok(decisions)
    }

    /// Attempts that a program which ended without its say left unfinished: their inputs, and where their files lie.
    pub fn unfinished(&self) -> Result<Vec<(RunInputs, PathBuf)>, TreeError> {
        let mut found = Vec::new();
        find_inputs(&self.path(".staging"), &mut found)?;
        found.sort_by_key(|(inputs, _)| inputs.epoch);
        Ok(found)
    }

    /// The campaign's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// An empty directory in which an attempt collects its files until it is committed.
    pub fn staging(&self, run: &RunId, attempt: u32) -> Result<PathBuf, TreeError> {
        let path = self.path(".staging").join(run.attempt_path(attempt));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(TreeError::io("clear", &path))?;
        }
        fs::create_dir_all(&path).map_err(TreeError::io("create", &path))?;
        Ok(path)
    }

    /// Where an attempt lies once it is committed.
    pub fn run_dir(&self, run: &RunId, attempt: u32) -> PathBuf {
        self.path("runs").join(run.attempt_path(attempt))
    }

    /// All committed attempts, in the order in which they were made.
    pub fn committed(&self) -> Result<Vec<RunFile>, TreeError> {
        let mut found = Vec::new();
        collect(&self.path("runs"), &mut found)?;
        found.sort_by_key(|run: &RunFile| run.epoch);
        Ok(found)
    }

    /// Reads a file of JSON lines. A last line without its end is what a crash left and counts as never written.
    pub fn read_lines<T: DeserializeOwned>(&self, relative: &str, what: &'static str) -> Result<Vec<T>, TreeError> {
        let path = self.path(relative);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(TreeError::io("read", &path)(error)),
        };
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        cut(&path, complete, text.len())?;
        text[..complete]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| parse(&path, what, line))
            .collect()
    }

    /// Appends one value as a line of JSON and makes it durable.
    pub fn append_line<T: Serialize>(&self, relative: &str, value: &T) -> Result<(), TreeError> {
        let mut line = serde_json::to_vec(value).expect("our own types serialise to JSON");
        line.push(b'\n');
        self.append(relative, &line)
    }

    /// Appends a line and makes it durable before anything acts on it.
    pub fn append(&self, relative: &str, line: &[u8]) -> Result<(), TreeError> {
        let path = self.path(relative);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(line)?;
            file.sync_all()
        };
        write().map_err(TreeError::io("append to", &path))
    }

    /// Writes a file as a whole: readers see the old content or the new, never a part.
    pub fn write(&self, relative: &str, content: &[u8]) -> Result<(), TreeError> {
        let path = self.path(relative);
        let part = self.path(format!(".{relative}.part"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(TreeError::io("write", &path))
    }

    /// Seals the campaign: sums of its own files and of each run's sums.
    pub fn seal(&self) -> Result<String, TreeError> {
        let mut files: Vec<PathBuf> = ["campaign.yaml", "decisions.jsonl", "plan.json", "summary.json"]
            .into_iter()
            .filter(|name| self.path(name).exists())
            .map(PathBuf::from)
            .collect();
        for run in self.committed()? {
            files.push(Path::new("runs").join(run.run.attempt_path(run.attempt)).join(SUMS_FILE));
        }
        files.sort();
        write_sums(&self.root, &files)?;
        let path = self.path(SUMS_FILE);
        let sums = fs::read_to_string(&path).map_err(TreeError::io("read", &path))?;
        let campaign = self.root.file_name().unwrap_or_default().to_string_lossy();
        let statement = statement(&campaign, &sums).expect("sums that were just written are sums");
        self.write(STATEMENT_FILE, &statement)?;
        Ok(sha256_hex(sums.as_bytes()))
    }
}

/// Cuts a file that is longer than its complete part.
fn cut(path: &Path, complete: usize, length: usize) -> Result<(), TreeError> {
    if complete == length {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path).map_err(TreeError::io("open", path))?;
    file.set_len(complete as u64).map_err(TreeError::io("mend", path))
}

fn find_inputs(dir: &Path, found: &mut Vec<(RunInputs, PathBuf)>) -> Result<(), TreeError> {
    let path = dir.join(INPUTS_FILE);
    if path.exists() {
        let text = fs::read(&path).map_err(TreeError::io("read", &path))?;
        match serde_json::from_slice(&text) {
            Ok(inputs) => found.push((inputs, dir.to_owned())),
            // Cut off while it was written: nothing was done with it.
            Err(_) => fs::remove_dir_all(dir).map_err(TreeError::io("clear", dir))?,
        }
        return Ok(());
    }
    for child in directories(dir)? {
        find_inputs(&child, found)?;
    }
    Ok(())
}

/// The directories in a directory; none where it is not there.
fn directories(dir: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TreeError::io("list", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(TreeError::io("list", dir))?;
        if entry.file_type().map_err(TreeError::io("list", dir))?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn parse<T: DeserializeOwned>(path: &Path, what: &'static str, text: &[u8]) -> Result<T, TreeError> {
    serde_json::from_slice(text).map_err(|source| TreeError::Malformed { path: path.to_owned(), what, source })
}

fn collect(dir: &Path, found: &mut Vec<RunFile>) -> Result<(), TreeError> {
    if dir.join(SUMS_FILE).exists() {
        let path = dir.join("run.json");
        let text = fs::read(&path).map_err(TreeError::io("read", &path))?;
        found.push(parse(&path, "a run", &text)?);
        return Ok(());
    }
    for child in directories(dir)? {
        collect(&child, found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn tree(dir: &Path) -> Tree {
        let file = File::create(dir.join(".lock")).unwrap();
        Tree { root: dir.to_owned(), _lock: Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap() }
    }

    #[test]
    fn a_line_that_a_crash_cut_short_counts_as_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        tree.append_line("decisions.jsonl", &serde_json::json!({"a": 1})).unwrap();
        fs::write(tree.path("decisions.jsonl"), "{\"a\":1}\n{\"a\":").unwrap();

        let lines: Vec<Value> = tree.read_lines("decisions.jsonl", "decisions").unwrap();
        tree.append_line("decisions.jsonl", &serde_json::json!({"a": 2})).unwrap();

        assert_eq!(lines.len(), 1);
        assert_eq!(fs::read_to_string(tree.path("decisions.jsonl")).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
    }

    #[test]
    fn a_whole_line_that_is_not_ours_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        fs::write(tree.path("decisions.jsonl"), "not json\n").unwrap();

        let error = tree.read_lines::<Value>("decisions.jsonl", "decisions").unwrap_err();

        assert!(error.to_string().contains("decisions.jsonl"), "{error}");
    }
}
