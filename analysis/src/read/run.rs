//! One attempt's directory.

use std::path::Path;

use teebench_api::{
    files::{
        client::ClientFile,
        energy::EnergyFile,
        run::{RunFile, Verdict},
    },
    plan::{Plan, RunId, next::ConditionId},
};

use super::{
    ReadError,
    bench::read_bench,
    json::{read_json, read_json_if_present},
};
use crate::metrics::{RunMetrics, measure_run};

/// One attempt of a run, as it lies in the tree.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// The run, by its path.
    pub id: RunId,
    /// Number of the attempt, by its path.
    pub attempt: u32,
    /// Path of its directory, or of its result file in a notebook's tree, relative to the campaign's directory.
    pub path: String,
    /// What was found.
    pub content: Attempt,
}

/// What was found of an attempt.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// `SHA256SUMS` does not stand: the run is under way, or was cut off.
    Uncommitted,
    /// The files cannot be used.
    Unusable {
        /// Why, with path and line.
        reason: String,
    },
    /// The files were read.
    Read(Box<ReadRun>),
}

/// An attempt's files.
#[derive(Clone, Debug)]
pub struct ReadRun {
    /// Identity, servers, validity.
    pub file: RunFile,
    /// What it measured; absent for an attempt that does not count.
    pub metrics: Option<RunMetrics>,
    /// Its energy.
    pub energy: Option<EnergyFile>,
}

impl StoredRun {
    pub(super) fn read(id: RunId, attempt: u32, directory: &Path, plan: &Plan, plan_sha256: &str) -> Self {
        let content = if directory.join("SHA256SUMS").is_file() {
            match ReadRun::read(&id, attempt, directory, plan, plan_sha256) {
                Ok(run) => Attempt::Read(Box::new(run)),
                Err(error) => Attempt::Unusable { reason: error.in_one_line() },
            }
        } else {
            Attempt::Uncommitted
        };
        let path = format!("runs/{}", id.attempt_path(attempt));
        Self { id, attempt, path, content }
    }
}

impl ReadRun {
    fn read(id: &RunId, attempt: u32, directory: &Path, plan: &Plan, plan_sha256: &str) -> Result<Self, ReadError> {
        let run_path = directory.join("run.json");
        let file: RunFile = read_json(&run_path, "run file")?;
        let foreign = |reason| ReadError::Contradiction { path: run_path.clone(), reason };
        if file.run != *id || file.attempt != attempt {
            return Err(foreign(format!("is of {}, which does not belong here", file.run.attempt_path(file.attempt))));
        }
        if file.plan_sha256 != plan_sha256 {
            return Err(foreign(format!(
                "belongs to the plan with SHA-256 {}, not to this campaign's, {plan_sha256}",
                file.plan_sha256
            )));
        }
        let condition_id = ConditionId { experiment: id.experiment.clone(), condition: id.condition.clone() };
        let Some(condition) = plan.condition_index(&condition_id).and_then(|index| plan.conditions.get(index)) else {
            return Err(foreign("the plan and its decisions have no such condition".to_owned()));
        };
        if file.validity.validity != Verdict::Valid {
            return Ok(Self { file, metrics: None, energy: None });
        }
        let energy: Option<EnergyFile> = read_json_if_present(&directory.join("energy.json"), "energy file")?;
        let client: Option<ClientFile> = read_json_if_present(&directory.join("client.json"), "client file")?;
        let bench = read_bench(&directory.join("bench.json"))?;
        let metrics =
            Some(measure_run(&bench, condition.slo.as_ref(), &file.servers, client.as_ref(), energy.as_ref()));
        Ok(Self { file, metrics, energy })
    }
}
