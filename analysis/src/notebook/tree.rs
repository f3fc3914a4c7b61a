//! Reads the notebook's tree, `<root>/<experiment>/<condition>/<tee_on or tee_off>/*repetition_<n>.json`, and plain
//! directories of result files.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use teebench_api::campaign::Tee;

use super::{
    names::{Kind, Label, Order},
    plain,
    run::{Run, power_files_of},
};
use crate::read::{ReadError, read_bench, subdirectories};

/// Directories of the two modes.
pub(super) const MODES: [(&str, Tee); 2] = [("tee_off", Tee::Disabled), ("tee_on", Tee::Enabled)];

/// A tree of result files.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Where it was read.
    pub root: PathBuf,
    /// How its files lie.
    pub layout: Layout,
    /// Its experiments, in natural order.
    pub experiments: Vec<Experiment>,
    /// Files that cannot be used. Unless they are to be skipped, there is no report.
    pub bad: Vec<Fault>,
    /// What is missing or does not match; what is sound is reported all the same.
    pub notes: Vec<Fault>,
}

/// How result files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `<experiment>/<condition>/<tee_on or tee_off>/`.
    Notebook,
    /// In one directory; their own fields say what they are.
    Plain,
}

/// One experiment's directory.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its whole name.
    pub name: String,
    /// What it asks.
    pub kind: Kind,
    /// Its conditions, in natural order.
    pub conditions: Vec<Condition>,
}

/// One condition's directory.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its whole name.
    pub name: String,
    /// What the name says.
    pub label: Label,
    /// Its runs by mode and repetition.
    pub runs: Vec<Run>,
}

/// What is wrong with a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl Fault {
    pub(super) fn of(path: &Path, error: &ReadError) -> Self {
        let text = error.in_one_line();
        // The error names its file, and so does the fault.
        let reason = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned();
        Self { path: path.to_owned(), reason }
    }
}

impl Tree {
    /// Reads the tree at `root`; `None` when there is none.
    ///
    /// # Errors
    /// When a directory cannot be read. Files that cannot be used are in [`Tree::bad`].
    pub fn read(root: &Path) -> Result<Option<Self>, ReadError> {
        if root.is_file() {
            return plain::read(root, &[root.to_owned()]);
        }
        let mut tree = Self {
            root: root.to_owned(),
            layout: Layout::Notebook,
            experiments: Vec::new(),
            bad: Vec::new(),
            notes: Vec::new(),
        };
        for directory in subdirectories(root)? {
            if let Some(experiment) = tree.experiment(&directory)? {
                tree.experiments.push(experiment);
            }
        }
        tree.experiments.sort_by(|left, right| Order::Natural.compare(&left.name, &right.name));
        if tree.experiments.is_empty() && tree.bad.is_empty() {
            return plain::read(root, &plain::result_files(root)?);
        }
        Ok(Some(tree))
    }

    /// The experiment of this name.
    #[must_use]
    pub fn experiment_named(&self, name: &str) -> Option<&Experiment> {
        self.experiments.iter().find(|experiment| experiment.name == name)
    }

    fn experiment(&mut self, directory: &Path) -> Result<Option<Experiment>, ReadError> {
        let Some(name) = name_of(directory) else { return Ok(None) };
        let kind = Kind::of(&name);
        let mut conditions = Vec::new();
        for below in subdirectories(directory)? {
            let modes: Vec<(PathBuf, Tee)> = MODES
                .into_iter()
                .map(|(mode, tee)| (below.join(mode), tee))
                .filter(|(directory, _)| directory.is_dir())
                .collect();
            let Some(condition) = name_of(&below).filter(|_| !modes.is_empty()) else { continue };
            match Label::parse(kind, &condition) {
                Ok(label) => {
                    let runs = self.runs(&below, &modes, kind)?;
                    conditions.push(Condition { name: condition, label, runs });
                }
                Err(form) => {
                    let reason = format!("the name of a condition of {name} is {form}; rename the directory");
                    self.bad.push(Fault { path: below, reason });
                }
            }
        }
        conditions.sort_by(|left, right| Order::Natural.compare(&left.name, &right.name));
        Ok((!conditions.is_empty()).then_some(Experiment { name, kind, conditions }))
    }

    fn runs(&mut self, condition: &Path, modes: &[(PathBuf, Tee)], kind: Kind) -> Result<Vec<Run>, ReadError> {
        let mut runs = Vec::new();
        for (directory, tee) in modes {
            let files = repetitions(directory)?;
            let read: Vec<Result<(Run, Vec<Fault>), Fault>> = files
                .par_iter()
                .map(|(repetition, path)| {
                    let bench = read_bench(path).map_err(|error| Fault::of(path, &error))?;
                    Ok(Run::new(*tee, *repetition, path, bench))
                })
                .collect();
            for run in read {
                match run {
                    Ok((run, faults)) => {
                        let notes = run.notes().into_iter().map(|reason| Fault { path: run.path.clone(), reason });
                        self.notes.extend(notes);
                        runs.push(run);
                        self.bad.extend(faults);
                    }
                    Err(fault) => self.bad.push(fault),
                }
            }
            self.orphans(directory, &files)?;
        }
        self.mode_notes(condition, &runs, kind);
        Ok(runs)
    }

    /// Power files that no result file, a bad one either, has beside it.
    fn orphans(&mut self, directory: &Path, results: &[(u32, PathBuf)]) -> Result<(), ReadError> {
        let mut orphans = csv_files(directory)?;
        orphans.retain(|path| !results.iter().any(|(_, result)| power_files_of(result).any(|known| known == *path)));
        let reason = "a power file that belongs to no result file";
        self.notes.extend(orphans.into_iter().map(|path| Fault { path, reason: reason.to_owned() }));
        Ok(())
    }

    fn mode_notes(&mut self, condition: &Path, runs: &[Run], kind: Kind) {
        let count = |tee: Tee| runs.iter().filter(|run| run.tee == tee).count();
        let (off, on) = (count(Tee::Disabled), count(Tee::Enabled));
        let reason = match (off, on) {
            (0, 0) => "has no run".to_owned(),
            // The calibration is made with the TEE on alone.
            (0, _) if kind == Kind::Calibration => return,
            (0, _) => "has no run with the TEE off; nothing is compared".to_owned(),
            (_, 0) => "has no run with the TEE on; nothing is compared".to_owned(),
            (off, on) if off != on => format!("has {off} runs with the TEE off and {on} with it on"),
            _ => return,
        };
        self.notes.push(Fault { path: condition.to_owned(), reason });
    }
}

impl Condition {
    /// Its runs of one mode, by repetition.
    pub fn of(&self, tee: Tee) -> impl Iterator<Item = &Run> + Clone {
        self.runs.iter().filter(move |run| run.tee == tee)
    }
}

impl Experiment {
    /// The condition of this name.
    #[must_use]
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.name == name)
    }

    /// All its runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.conditions.iter().flat_map(|condition| &condition.runs)
    }
}

/// `<experiment>: <n> conditions, <n> runs (<off> off, <on> on)`.
impl fmt::Display for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |tee| self.runs().filter(|run| run.tee == tee).count();
        write!(
            f,
            "{}: {} conditions, {} runs ({} TEE off, {} TEE on)",
            self.name,
            self.conditions.len(),
            self.runs().count(),
            of(Tee::Disabled),
            of(Tee::Enabled)
        )
    }
}

/// Result files of a mode's directory by the number of their repetition: 10 comes after 9.
fn repetitions(directory: &Path) -> Result<Vec<(u32, PathBuf)>, ReadError> {
    let mut found: BTreeMap<(u32, PathBuf), ()> = BTreeMap::new();
    for path in plain::files(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.strip_suffix(".json").and_then(|stem| stem.rsplit_once("repetition_"));
        if let Some(repetition) = number.and_then(|(_, digits)| digits.parse().ok()) {
            found.insert((repetition, path), ());
        }
    }
    Ok(found.into_keys().collect())
}

fn csv_files(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = plain::files(directory)?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "csv"));
    Ok(files)
}

fn name_of(directory: &Path) -> Option<String> {
    directory.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}
