//! `teebench export`: a campaign's runs as the notebook's tree.

mod power;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use teebench_api::{
    campaign::{Arm, Tee},
    plan::{Plan, next::ConditionId},
};

use super::{
    import::{ORIGIN, Origin},
    tree::MODES,
};
use crate::{
    read::{Attempt, Campaign, ReadError, StoredRun, read_bench, read_json},
    summary::baseline_router,
};

/// Which arms stand for the two modes, where a campaign has more than one of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmChoice {
    /// The arm with the TEE on.
    pub on: Option<String>,
    /// The arm with the TEE off.
    pub off: Option<String>,
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Runs written.
    pub runs: usize,
    /// Runs that were left out, with their reasons.
    pub left_out: Vec<String>,
}

/// Why a campaign cannot be exported.
#[derive(thiserror::Error, Debug)]
pub enum ExportError {
    /// Several arms have one state.
    #[error("campaign {campaign} has {count} arms with tee {state}; name one by --{flag}")]
    SeveralArms {
        /// Name of the campaign.
        campaign: String,
        /// How many.
        count: usize,
        /// Which state.
        state: &'static str,
        /// The flag that chooses.
        flag: &'static str,
    },
    /// The named arm is none of the campaign's.
    #[error("campaign {campaign} has no arm {arm}; it has {known}")]
    UnknownArm {
        /// Name of the campaign.
        campaign: String,
        /// What was named.
        arm: String,
        /// Names of its arms.
        known: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
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

/// Writes every run that counts to the tree under `out`: each with one result file and one power file. The baseline
/// router's conditions have their plain names, the others' end in `@<router>`. Runs that were imported from a tree get
/// their own files back.
///
/// # Errors
/// When a mode has no one arm, a file cannot be read, or one is there already.
pub fn export(campaigns: &[Campaign], arms: &ArmChoice, out: &Path) -> Result<Exported, ExportError> {
    let mut exported = Exported::default();
    for campaign in campaigns {
        let modes = modes(&campaign.plan, arms)?;
        for run in campaign.runs.iter().filter(|run| campaign.counts(run)) {
            let Some(mode) = modes.get(run.id.arm.as_str()) else {
                exported.left_out.push(format!("{}: arm {} stands for no mode", run.path, run.id.arm));
                continue;
            };
            match files_of(campaign, run, mode)? {
                Ok(files) => {
                    for (path, bytes) in files {
                        write(&out.join(path), &bytes)?;
                    }
                    exported.runs += 1;
                }
                Err(reason) => exported.left_out.push(format!("{}: {reason}", run.path)),
            }
        }
    }
    Ok(exported)
}

/// Directories of the modes by the arms that stand for them.
fn modes<'a>(plan: &'a Plan, arms: &ArmChoice) -> Result<BTreeMap<&'a str, &'static str>, ExportError> {
    let mut modes = BTreeMap::new();
    for (directory, tee) in MODES {
        let (named, flag) = if tee == Tee::Enabled { (&arms.on, "on") } else { (&arms.off, "off") };
        let of_state: Vec<&Arm> = plan.spec.arms.iter().filter(|arm| arm.tee == tee).collect();
        let arm = match (named, of_state.as_slice()) {
            (Some(name), _) => Some(plan.arm(name).ok_or_else(|| ExportError::UnknownArm {
                campaign: plan.campaign.clone(),
                arm: name.clone(),
                known: plan.spec.arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(", "),
            })?),
            (None, [arm]) => Some(*arm),
            (None, []) => None,
            (None, several) => {
                return Err(ExportError::SeveralArms {
                    campaign: plan.campaign.clone(),
                    count: several.len(),
                    state: tee.name(),
                    flag,
                });
            }
        };
        modes.extend(arm.map(|arm| (arm.name.as_str(), directory)));
    }
    Ok(modes)
}

/// A run's files by their paths in the tree, or why it has none.
type Files = Result<Vec<(PathBuf, Vec<u8>)>, String>;

fn files_of(campaign: &Campaign, run: &StoredRun, mode: &str) -> Result<Files, ExportError> {
    let directory = campaign.directory.join(&run.path);
    let origin = directory.join(ORIGIN);
    if origin.is_file() {
        return of_import(&directory, &read_json(&origin, "origin of an imported run")?).map(Ok);
    }
    let power = match power::merged(&directory)? {
        Ok(power) => power,
        Err(reason) => return Ok(Err(reason)),
    };
    let id = ConditionId { experiment: run.id.experiment.clone(), condition: run.id.condition.clone() };
    let plan = &campaign.plan;
    let name = plan.condition_index(&id).map_or(run.id.condition.as_str(), |index| &plan.conditions[index].name);
    let experiment = plan.experiment(&run.id.experiment).and_then(|experiment| experiment.directory.as_deref());
    let experiment = experiment.unwrap_or(&run.id.experiment);
    let routers: Vec<String> = plan.spec.routers.iter().map(|router| router.name.clone()).collect();
    let condition = if baseline_router(plan, &routers).is_some_and(|baseline| *baseline == run.id.router) {
        name.to_owned()
    } else {
        format!("{name}@{}", run.id.router)
    };
    let stem = format!("{}_repetition_{}", run.id.condition, run.id.repetition);
    let below = Path::new(experiment).join(condition).join(mode);
    let mut bench = read(&directory.join("bench.json"))?;
    if matches!(&run.content, Attempt::Read(read) if read.file.simulated) {
        bench = marked_as_simulated(bench, &directory)?;
    }
    Ok(Ok(vec![
        (below.join(format!("{stem}.json")), bench),
        (below.join(format!("{stem}_power_metrics.csv")), power.into_bytes()),
    ]))
}

fn of_import(directory: &Path, origin: &Origin) -> Result<Vec<(PathBuf, Vec<u8>)>, ExportError> {
    let result = PathBuf::from(&origin.result);
    let mut files = Vec::new();
    for name in &origin.power {
        files.push((result.with_file_name(name), read(&directory.join("servers/0").join(name))?));
    }
    files.push((result, read(&directory.join("bench.json"))?));
    Ok(files)
}

/// A result of the simulator must not pass for a measurement once it has left its campaign.
fn marked_as_simulated(mut bench: Vec<u8>, directory: &Path) -> Result<Vec<u8>, ReadError> {
    let said = read_bench(&directory.join("bench.json"))?.account.simulated;
    if let Some(end) = bench.iter().rposition(|byte| *byte == b'}').filter(|_| !said) {
        bench.splice(end..end, *b", \"simulated\": \"true\"");
    }
    Ok(bench)
}

fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let at = |source| ExportError::Io { path: path.to_owned(), source };
    if path.exists() {
        return Err(ExportError::Occupied(path.to_owned()));
    }
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(at)?;
    fs::write(path, bytes).map_err(at)
}
