//! A tree as campaigns: in memory for a report, on disk by `teebench import`.
//!
//! Nothing in a tree says that the two modes ran side by side, so each becomes a campaign of its own of one plan. A
//! report merges the two and compares them unpaired, as it does with arms that were run apart.

mod plan;
mod write;

use std::path::Path;

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use teebench_api::{
    campaign::Tee,
    files::{
        energy::{EnergyFile, EnergyVerdict},
        evidence::EvidenceLevel,
        run::{RunFile, Validity, Verdict},
    },
    plan::{Plan, RouterTarget, RunId},
};

use self::plan::{ROUTER, arm_name, plan_of};
pub use self::write::{ImportError, import};
pub(super) use self::write::{ORIGIN, Origin};
use super::{
    run::Run,
    tree::{Experiment, Tree},
};
use crate::{
    metrics::measure_surroundings,
    read::{Attempt, Campaign, ReadRun, StoredRun},
};

/// Power that was recorded once a second is one method only, and nothing says where in the file the run lies.
const ONE_METHOD: &str = "energy comes from power recorded once a second over the whole power file: one method alone, and longer than the run";

/// A run of the tree with its place in the campaign.
struct Placed<'a> {
    run: &'a Run,
    file: RunFile,
    energy: Option<EnergyFile>,
}

/// The tree's campaigns, one for each mode that has a run.
#[must_use]
pub fn campaigns(tree: &Tree) -> Vec<Campaign> {
    let plan = plan_of(tree);
    let stored = |placed: Placed<'_>| {
        let mut metrics = placed.run.metrics.clone();
        measure_surroundings(&mut metrics, &placed.file.servers, None, placed.energy.as_ref());
        StoredRun {
            id: placed.file.run.clone(),
            attempt: placed.file.attempt,
            path: relative(&placed.run.path, &tree.root),
            content: Attempt::Read(Box::new(ReadRun {
                file: placed.file,
                metrics: Some(metrics),
                energy: placed.energy,
            })),
        }
    };
    modes(tree)
        .into_iter()
        .map(|tee| {
            let runs = placed(tree, &plan, tee).into_iter().map(stored).collect();
            Campaign::assemble(tree.root.clone(), &plan, &[], runs)
        })
        .collect()
}

/// Modes that have a run.
fn modes(tree: &Tree) -> Vec<Tee> {
    let has = |tee: &Tee| tree.experiments.iter().flat_map(Experiment::runs).any(|run| run.tee == *tee);
    [Tee::Disabled, Tee::Enabled, Tee::Undeclared].into_iter().filter(has).collect()
}

/// The runs of one mode in the plan's order of conditions.
fn placed<'a>(tree: &'a Tree, plan: &Plan, tee: Tee) -> Vec<Placed<'a>> {
    let plan_sha256 = plan.digest();
    let conditions = tree.experiments.iter().flat_map(|experiment| &experiment.conditions);
    let runs = plan
        .conditions
        .iter()
        .enumerate()
        .zip(conditions)
        .flat_map(|(planned, condition)| condition.of(tee).map(move |run| (planned, run)));
    runs.zip(1_u64..)
        .filter_map(|(((index, planned), run), epoch)| {
            let block =
                plan.blocks.iter().position(|block| block.condition == index && block.repetition == run.repetition)?;
            let boot = plan.blocks[block].runs.iter().find(|planned| planned.arm == arm_name(tee))?.boot;
            let finished_at = finished_at(run);
            let started_at = SignedDuration::try_from_secs_f64(run.bench.duration)
                .ok()
                .and_then(|duration| finished_at.checked_sub(duration).ok())
                .unwrap_or(finished_at);
            let file = RunFile {
                schema_version: 1,
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
                campaign: plan.campaign.clone(),
                plan_sha256: plan_sha256.clone(),
                run: RunId {
                    experiment: planned.experiment.clone(),
                    condition: planned.slug.clone(),
                    arm: arm_name(tee).to_owned(),
                    router: ROUTER.to_owned(),
                    repetition: run.repetition,
                },
                attempt: 1,
                epoch,
                block,
                boot,
                boot_generation: 1,
                seed: 0,
                dataset_sha256: None,
                simulated: run.bench.account.simulated,
                tee,
                target: RouterTarget::Direct { max_in_flight_per_server: 0 },
                started_at,
                finished_at,
                window: None,
                servers: Vec::new(),
                evidence_level: Some(EvidenceLevel::Declared),
                validity: Validity { validity: Verdict::Valid, reasons: Vec::new() },
                log_tail: Vec::new(),
            };
            Some(Placed { run, file, energy: energy(run) })
        })
        .collect()
}

/// The file's date is local and names no zone; it is taken for UTC. The Unix epoch where there is none.
fn finished_at(run: &Run) -> Timestamp {
    run.bench
        .account
        .date
        .as_deref()
        .and_then(|date| DateTime::strptime("%Y%m%d-%H%M%S", date).ok())
        .and_then(|local| local.to_zoned(TimeZone::UTC).ok())
        .map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

/// The run's energy, which is one method's alone and therefore degraded; `None` where there is no power file.
fn energy(run: &Run) -> Option<EnergyFile> {
    run.power.as_ref()?;
    let joules = run.energy_joules();
    let per = |count: u64| joules.as_ref().ok().filter(|_| count > 0).map(|joules| joules / count as f64);
    Some(EnergyFile {
        cpu_packages: Vec::new(),
        schema_version: 1,
        simulated: run.bench.account.simulated,
        scope: "gpu_board".to_owned(),
        window_seconds: run.bench.duration,
        verdict: if joules.is_ok() { EnergyVerdict::Degraded } else { EnergyVerdict::Absent },
        reasons: vec![joules.as_ref().err().cloned().unwrap_or_else(|| ONE_METHOD.to_owned())],
        counter_joules: None,
        integral_joules: joules.as_ref().ok().copied(),
        idle_watts: None,
        idle_joules: None,
        net_joules: None,
        joules_per_output_token: per(run.bench.total_output_tokens),
        joules_per_total_token: per(run.bench.total_input_tokens + run.bench.total_output_tokens),
        joules_per_request: per(run.bench.completed),
        power_cap_share: None,
        gpus: Vec::new(),
    })
}

/// A path below the root, with slashes.
fn relative(path: &Path, root: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
