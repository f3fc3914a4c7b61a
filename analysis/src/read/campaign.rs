//! One campaign's directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use teebench_api::{
    files::{
        boots::{BOOTS_FILE, Entry},
        run::{RunFile, Verdict},
    },
    plan::{
        Plan, RunId,
        next::{AttemptOutcome, AttemptRef, Decision, Log, counted_attempts, effective},
    },
};

use super::{Attempt, ReadError, StoredRun, find::subdirectories, json::read_json};
use crate::metrics::planner_metrics;

/// A campaign's plan and its runs.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Its directory.
    pub directory: PathBuf,
    /// The plan as it stood at the end, all decisions applied.
    pub plan: Plan,
    /// SHA-256 of the plan as it was made, in hex.
    pub plan_sha256: String,
    /// Attempts in the order of their paths.
    pub runs: Vec<StoredRun>,
    /// When servers came and went; empty where nobody wrote it down.
    pub boots: Vec<Entry>,
    counted: BTreeSet<AttemptRef>,
}

impl Campaign {
    pub(super) fn read(directory: &Path) -> Result<Self, ReadError> {
        let planned: Plan = read_json(&directory.join("plan.json"), "plan")?;
        let plan_sha256 = planned.digest();
        let decisions = decisions(directory, &planned)?;
        let plan = effective(&planned, &decisions);
        let root = directory.join("runs");
        let attempts = if root.is_dir() { attempt_directories(&root)? } else { Vec::new() };
        let runs: Vec<StoredRun> = attempts
            .into_par_iter()
            .map(|(id, attempt, path)| StoredRun::read(id, attempt, &path, &plan, &plan_sha256))
            .collect();
        let boots = boots(directory)?;
        Ok(Self { boots, ..Self::assemble(directory.to_owned(), &planned, &decisions, runs) })
    }

    /// Puts a campaign together from its parts.
    pub(crate) fn assemble(directory: PathBuf, planned: &Plan, decisions: &[Decision], runs: Vec<StoredRun>) -> Self {
        let outcomes: Vec<AttemptOutcome> = runs.iter().filter_map(outcome).collect();
        let counted = counted_attempts(planned, decisions, &outcomes);
        Self {
            directory,
            plan: effective(planned, decisions),
            plan_sha256: planned.digest(),
            runs,
            boots: Vec::new(),
            counted,
        }
    }

    /// The name of its directory.
    #[must_use]
    pub fn label(&self) -> String {
        self.directory.file_name().unwrap_or(self.directory.as_os_str()).to_string_lossy().into_owned()
    }

    /// Whether an attempt enters numbers, by the planner's own rule: a block that was repeated whole counts once.
    #[must_use]
    pub fn counts(&self, run: &StoredRun) -> bool {
        self.counted.contains(&AttemptRef { run: run.id.clone(), attempt: run.attempt })
    }
}

/// What was decided while the campaign ran; nothing when the file is not there.
fn decisions(directory: &Path, plan: &Plan) -> Result<Vec<Decision>, ReadError> {
    let path = directory.join("decisions.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(&path).map_err(|source| ReadError::Io { path: path.clone(), source })?;
    let log = Log::read(plan, &bytes).map_err(|source| ReadError::Decisions { path, source })?;
    Ok(log.decisions)
}

/// The lines of `boots.jsonl`; nothing when the file is not there. A last line that was cut off is passed over.
fn boots(directory: &Path) -> Result<Vec<Entry>, ReadError> {
    let path = directory.join(BOOTS_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(|source| ReadError::Io { path: path.clone(), source })?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let read = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| ReadError::Contradiction {
            path: path.clone(),
            reason: format!("line {}: {error}", index + 1),
        })
    };
    whole.lines().enumerate().map(read).collect()
}

/// How an attempt ended, for the planner; `None` of one whose files cannot be used.
fn outcome(run: &StoredRun) -> Option<AttemptOutcome> {
    let Attempt::Read(read) = &run.content else { return None };
    let RunFile { epoch, boot, boot_generation, started_at, finished_at, validity, .. } = &read.file;
    Some(AttemptOutcome {
        id: AttemptRef { run: run.id.clone(), attempt: run.attempt },
        epoch: *epoch,
        boot: *boot,
        boot_generation: *boot_generation,
        verdict: validity.validity,
        reasons: validity.reasons.clone(),
        seconds: finished_at.duration_since(*started_at).as_secs_f64(),
        metrics: match (validity.validity, &read.metrics) {
            (Verdict::Valid, Some(metrics)) => planner_metrics(metrics),
            _ => BTreeMap::new(),
        },
    })
}

/// Directories of attempts, `<experiment>/<condition>/<arm>/<router>/r<repetition>a<attempt>`, ordered by path with
/// numbers as numbers. Other directories are none of ours and are passed over.
fn attempt_directories(root: &Path) -> Result<Vec<(RunId, u32, PathBuf)>, ReadError> {
    let mut level = vec![(Vec::new(), root.to_owned())];
    for _ in 0..5 {
        let mut next = Vec::new();
        for (names, directory) in level {
            for below in subdirectories(&directory)? {
                let Some(name) = below.file_name().and_then(|name| name.to_str()) else { continue };
                let mut names: Vec<String> = names.clone();
                names.push(name.to_owned());
                next.push((names, below));
            }
        }
        level = next;
    }
    let mut attempts: Vec<(RunId, u32, PathBuf)> = level
        .into_iter()
        .filter_map(|(names, path)| {
            let [experiment, condition, arm, router, attempt] = <[String; 5]>::try_from(names).ok()?;
            let (repetition, attempt) = attempt.strip_prefix('r')?.split_once('a')?;
            let (repetition, attempt) = (repetition.parse().ok()?, attempt.parse().ok()?);
            Some((RunId { experiment, condition, arm, router, repetition }, attempt, path))
        })
        .collect();
    attempts.sort();
    Ok(attempts)
}
