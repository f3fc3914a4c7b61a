//! The plan of a campaign: everything that will be done, in order, decided from the file alone; and `next`, which says
//! what to do now.
//!
//! ```text
//! expand       experiments -> conditions    order     runs of a block, counterbalanced
//! names        names and slugs              seeds     what is random
//! arrange      blocks and boots             estimate  time and money
//! repetitions  how far they may go          file      bytes of plan.json, digest
//! dataset_files  what the files of data sets must hold
//! ```

mod arrange;
mod dataset_files;
mod error;
mod estimate;
mod expand;
mod file;
mod lookup;
mod model;
mod names;
pub mod next;
mod order;
mod repetitions;
mod seeds;
mod text;

use std::collections::BTreeMap;

pub use self::{
    error::{PlanError, PlanFileError},
    model::{Block, Boot, Condition, DatasetFile, Estimate, LoadPoint, Plan, PlannedRun, Range, RouterTarget, RunId},
    text::text,
};
use crate::{campaign::BenchmarkCampaignSpec, policy::RouterPolicySpec};

/// Version of the plan's format.
const SCHEMA_VERSION: u32 = 1;

/// More runs than this are refused: no campaign of that length ends.
const MOST_RUNS: usize = 20_000;

/// Plans a campaign. Equal campaigns give equal plans; what may change after the start (suspend, cancel, budget,
/// deadline, failure policy, time to live) is not part of one. A condition's runs, seeds and order do not depend on
/// other experiments.
///
/// # Errors
/// The campaign names what it does not define, gives two conditions one name, or comes to too many runs; the message
/// says how to mend it.
pub fn build(
    name: &str,
    spec: &BenchmarkCampaignSpec,
    policies: &BTreeMap<String, RouterPolicySpec>,
) -> Result<Plan, PlanError> {
    build_with_files(name, spec, policies, &BTreeMap::new())
}

/// Plans a campaign of whose data sets some files, by experiment, have been read.
///
/// # Errors
/// As [`build`], and when a file has too few requests, another digest than the campaign names, or sequences that are
/// longer than a model takes.
pub fn build_with_files(
    name: &str,
    spec: &BenchmarkCampaignSpec,
    policies: &BTreeMap<String, RouterPolicySpec>,
    dataset_files: &BTreeMap<String, DatasetFile>,
) -> Result<Plan, PlanError> {
    check(spec, policies)?;
    dataset_files::check(spec, dataset_files)?;
    let mut plan = Plan {
        schema_version: SCHEMA_VERSION,
        campaign: name.to_owned(),
        seed: u64::try_from(spec.seed).map_err(|_| PlanError::Seed(spec.seed))?,
        spec: file::frozen(spec),
        policies: file::used_policies(spec, policies),
        dataset_files: dataset_files.clone(),
        conditions: expand::conditions(spec)?,
        boots: Vec::new(),
        blocks: Vec::new(),
        estimate: Estimate { duration_seconds: Range { minimum: 0, maximum: 0 }, cost: None, currency: None },
    };
    dataset_files::check_lengths(&plan)?;
    check_size(&plan)?;
    let blocks = (0..plan.conditions.len()).flat_map(|condition| {
        let repetitions = plan.repetitions_of(condition).map_or(0, repetitions::planned);
        (1..=repetitions).map(move |repetition| (condition, repetition))
    });
    let blocks = blocks.collect();
    arrange::add_blocks(&mut plan, blocks);
    plan.estimate = estimate::estimate(&plan)?;
    Ok(plan)
}

fn check(spec: &BenchmarkCampaignSpec, policies: &BTreeMap<String, RouterPolicySpec>) -> Result<(), PlanError> {
    if spec.engine.vllm.is_some() == spec.engine.simulator.is_some() {
        return Err(PlanError::Engine);
    }
    for router in &spec.routers {
        match (&router.direct, &router.policy_ref, &router.service_ref) {
            (Some(_), None, None) | (None, None, Some(_)) => {}
            (None, Some(policy), None) if policies.contains_key(&policy.name) => {}
            (None, Some(policy), None) => {
                return Err(PlanError::UnknownPolicy { router: router.name.clone(), policy: policy.name.clone() });
            }
            _ => return Err(PlanError::Router(router.name.clone())),
        }
    }
    Ok(())
}

/// Refuses a campaign that may come to too many runs, with all repetitions and points of searches that it may decide.
fn check_size(plan: &Plan) -> Result<(), PlanError> {
    let mut runs: usize = 0;
    for (index, condition) in plan.conditions.iter().enumerate() {
        let experiment = plan.experiment(&condition.experiment);
        let points = experiment.and_then(|e| e.load.saturation).map_or(1, |s| repetitions::concurrencies(s).count());
        let repetitions = plan.repetitions_of(index).map_or(0, repetitions::maximum) as usize;
        let more = repetitions.saturating_mul(points).saturating_mul(condition.arms.len() * condition.routers.len());
        runs = runs.saturating_add(more);
        if runs > MOST_RUNS {
            return Err(PlanError::TooLarge { experiment: condition.experiment.clone(), limit: MOST_RUNS });
        }
    }
    Ok(())
}
