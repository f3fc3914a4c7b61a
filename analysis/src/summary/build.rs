//! Puts a summary together: groups of campaigns, their experiments, conditions, cells and comparisons.

use teebench_api::{
    campaign::{Arm, Dataset, DatasetKind},
    plan::{Condition, LoadPoint, Plan},
};

use super::{
    ArmSummary, CampaignSummary, CellName, ConditionSummary, ContrastKind, EvidenceCount, ExperimentSummary, RunEntry,
    RunState, Source, Summary, answers,
    cells::{cell_runs, count, summarise_cell},
    contrasts::{baseline_router, contrasts},
    counted::{CountedRun, Group, Judged, counted, groups, judge, validity},
    money, notes, parity,
    rules::Rules,
    sweeps::{self, Settings},
    versus::versus,
};
use crate::{
    metrics::Measure,
    read::{Attempt, Campaign},
    stats::{self, Bootstrap, Options, bootstrap::RESAMPLES},
};

/// Sums campaigns up. Those of one plan are merged: arms that were run apart are then compared, unpaired. Those of
/// different plans are compared with the first.
#[must_use]
pub fn summarise(campaigns: &[Campaign]) -> Summary {
    summarise_by(campaigns, &Rules::default())
}

/// Sums campaigns up by a reader's choices.
#[must_use]
pub fn summarise_by(campaigns: &[Campaign], rules: &Rules) -> Summary {
    let groups = groups(campaigns);
    let campaigns: Vec<CampaignSummary> = groups.iter().map(|group| summarise_group(group, rules)).collect();
    let bootstrap = Bootstrap::new(RESAMPLES, groups.first().map_or(0, |group| group.plan.seed));
    Summary {
        schema_version: Summary::SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        simulated: campaigns.iter().any(|campaign| campaign.simulated),
        versus: versus(&groups, &campaigns, &bootstrap),
        campaigns,
    }
}

fn summarise_group(group: &Group<'_>, rules: &Rules) -> CampaignSummary {
    let plan = group.plan;
    let judged = judge(group);
    let runs = counted(&judged);
    let read = || {
        judged.iter().filter_map(|judged| match &judged.run.content {
            Attempt::Read(read) => Some(&read.file),
            Attempt::Uncommitted | Attempt::Unusable { .. } => None,
        })
    };
    let arm_names: Vec<String> = plan.spec.arms.iter().map(|arm| arm.name.clone()).collect();
    let router_names: Vec<String> = plan.spec.routers.iter().map(|router| router.name.clone()).collect();
    let bootstrap = Bootstrap::new(RESAMPLES, plan.seed);
    let options = Options { margin: rules.margin, seed: plan.seed, bootstrap: &bootstrap };
    let experiments: Vec<ExperimentSummary> = plan
        .spec
        .experiments
        .iter()
        .map(|experiment| summarise_experiment(plan, &experiment.name, &runs, rules, options))
        .collect();
    let validity = validity(plan, &judged);
    let sources: Vec<Source> = sources(group, &arm_names);
    let entries: Vec<RunEntry> = judged.iter().map(entry).collect();
    let simulated = plan.simulated() || read().any(|file| file.simulated);
    CampaignSummary {
        name: plan.campaign.clone(),
        plan_sha256: group.plan_sha256.to_owned(),
        simulated,
        started_at: read().map(|file| file.started_at).min().map(|at| at.to_string()),
        finished_at: read().map(|file| file.finished_at).max().map(|at| at.to_string()),
        headline: plan.spec.headline.as_ref().map(|headline| headline.experiment.clone()),
        question: answers::question(plan),
        answers: answers::answers(plan, &experiments, rules.margin),
        baseline_router: baseline_router(plan, &router_names).cloned(),
        equivalence_margin: rules.margin.0,
        arms: plan.spec.arms.iter().map(|arm| summarise_arm(group, arm, &runs)).collect(),
        parity: parity::rows(&plan.spec, &arm_names, &runs),
        notes: notes::of_campaign(plan, simulated, &sources, &validity, &entries),
        sources,
        validity,
        experiments,
        runs: entries,
    }
}

fn sources(group: &Group<'_>, arms: &[String]) -> Vec<Source> {
    group
        .sources
        .iter()
        .map(|campaign| Source {
            label: campaign.label(),
            arms: arms.iter().filter(|arm| campaign.runs.iter().any(|run| run.id.arm == **arm)).cloned().collect(),
        })
        .collect()
}

fn summarise_arm(group: &Group<'_>, arm: &Arm, runs: &[CountedRun<'_>]) -> ArmSummary {
    let of_arm = || runs.iter().filter(|run| run.id.arm == arm.name);
    let mut levels: Vec<_> = of_arm().map(|run| run.file.evidence_level).collect();
    levels.sort_unstable();
    levels.dedup();
    let evidence = levels
        .into_iter()
        .map(|level| EvidenceCount {
            level,
            runs: count(of_arm().filter(|run| run.file.evidence_level == level).count()),
        })
        .collect();
    let distinct = |mut values: Vec<String>| {
        values.sort_unstable();
        values.dedup();
        values
    };
    let servers = || of_arm().flat_map(|run| &run.file.servers);
    ArmSummary {
        name: arm.name.clone(),
        tee: arm.tee,
        evidence,
        simulated: of_arm().any(|run| run.file.simulated),
        gpus: distinct(servers().flat_map(|server| &server.environment.gpus).map(|gpu| gpu.name.clone()).collect()),
        engines: distinct(servers().filter_map(|server| server.engine.clone()).collect()),
        occupied: money::occupied(arm, group.plan.replicas(), &group.sources, runs),
    }
}

fn summarise_experiment(
    plan: &Plan,
    name: &str,
    runs: &[CountedRun<'_>],
    rules: &Rules,
    options: Options<'_>,
) -> ExperimentSummary {
    let mut conditions: Vec<ConditionSummary> = plan
        .conditions
        .iter()
        .filter(|condition| condition.experiment == name)
        .map(|condition| summarise_condition(plan, condition, runs, rules, options))
        .collect();
    let primary_family = correct_primary_family(plan, &mut conditions);
    ExperimentSummary {
        name: name.to_owned(),
        primary_family,
        until: plan.experiment(name).and_then(|experiment| experiment.repetitions.until),
        knees: sweeps::knees(plan, &conditions),
        knee_contrasts: sweeps::knee_contrasts(plan, &conditions),
        choices: sweeps::choices(&conditions),
        conditions,
    }
}

fn summarise_condition(
    plan: &Plan,
    condition: &Condition,
    runs: &[CountedRun<'_>],
    rules: &Rules,
    options: Options<'_>,
) -> ConditionSummary {
    let Condition { experiment, slug, name, model, arms, routers, .. } = condition;
    let of_cells = cell_runs(runs, experiment, slug, arms, routers);
    let cells: Vec<_> =
        of_cells.iter().map(|cell| summarise_cell(cell, plan.arm(&cell.name.arm), plan.replicas(), rules)).collect();
    let of_condition: Vec<CountedRun<'_>> = of_cells.iter().flat_map(|cell| cell.runs.iter().copied()).collect();
    let broken = |top: &str, bottom: &str| {
        parity::broken(&parity::rows(&plan.spec, &[top.to_owned(), bottom.to_owned()], &of_condition))
    };
    let contrasts = contrasts(plan, arms, routers, &of_cells, options, broken);
    ConditionSummary {
        slug: slug.clone(),
        name: name.clone(),
        model: plan.model(model).map_or(model.as_str(), |model| model.display_name()).to_owned(),
        load: load_in_words(condition),
        settings: Settings::of(condition),
        notes: notes::of_condition(plan, condition, &cells, &contrasts),
        cells,
        contrasts,
    }
}

/// Marks the declared primary family of an experiment, corrects its p-values, and gives its size. The family is output
/// throughput, one comparison for each pair of arms and condition, with the baseline router; where there is one arm
/// only, one for each router against the baseline.
fn correct_primary_family(plan: &Plan, conditions: &mut [ConditionSummary]) -> u32 {
    let arms_are_compared = conditions
        .iter()
        .flat_map(|condition| &condition.contrasts)
        .any(|contrast| contrast.kind == ContrastKind::Arms);
    let mut family: Vec<&mut super::EffectSummary> = Vec::new();
    for condition in conditions.iter_mut() {
        let mut routers: Vec<String> = Vec::new();
        for cell in &condition.cells {
            if !routers.contains(&cell.name.router) {
                routers.push(cell.name.router.clone());
            }
        }
        let baseline = baseline_router(plan, &routers).cloned();
        for contrast in &mut condition.contrasts {
            let belongs = if arms_are_compared {
                contrast.kind == ContrastKind::Arms && Some(&contrast.numerator.router) == baseline.as_ref()
            } else {
                contrast.kind == ContrastKind::Routers
            };
            if belongs {
                family.extend(contrast.effects.iter_mut().filter(|effect| effect.metric == Measure::OutputThroughput));
            }
        }
    }
    for effect in &mut family {
        effect.primary = true;
    }
    let mut tested: Vec<&mut super::Figures> =
        family.iter_mut().filter_map(|effect| effect.figures.as_mut()).filter(|figures| figures.p.is_some()).collect();
    let adjusted = stats::holm(&tested.iter().filter_map(|figures| figures.p).collect::<Vec<f64>>());
    for (figures, holm_p) in tested.iter_mut().zip(adjusted) {
        figures.holm_p = Some(holm_p);
        // In the declared family it is the corrected p-value that must reach 0.05.
        if figures.verdict == super::Difference::Different && holm_p > stats::ALPHA {
            figures.verdict = super::Difference::Inconclusive;
        }
    }
    count(family.len())
}

fn load_in_words(condition: &Condition) -> String {
    let Condition { dataset, load, input_tokens, output_tokens, .. } = condition;
    let LoadPoint { request_rate_milli, burstiness_milli, max_concurrency } = load;
    let rate = request_rate_milli.map(|milli| {
        let shape = match burstiness_milli {
            1000 => "Poisson".to_owned(),
            milli => format!("burstiness {}", f64::from(*milli) / 1e3),
        };
        format!("{} req/s, {shape}", f64::from(milli) / 1e3)
    });
    let concurrency = max_concurrency.map(|limit| format!("at most {limit} in flight"));
    let lengths = match (input_tokens, output_tokens) {
        (Some(input), Some(output)) => format!("{input} tokens in, {output} out"),
        (None, Some(output)) => format!("{output} tokens out"),
        (_, None) => "outputs as long as recorded".to_owned(),
    };
    let prompts = prompts_in_words(dataset);
    [rate, concurrency, Some(prompts), Some(lengths)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn prompts_in_words(dataset: &Dataset) -> String {
    let prompts = dataset.prompts();
    match dataset.kind() {
        Some(DatasetKind::Toolbench(_)) => format!("{prompts} ToolBench-like prompts"),
        Some(DatasetKind::ToolbenchFile(_)) => format!("{prompts} ToolBench prompts"),
        Some(DatasetKind::Random(_)) => format!("{prompts} random prompts"),
        Some(DatasetKind::PrefixRepetition(set)) => {
            format!("{prompts} random prompts with {} shared prefixes", set.prefixes)
        }
        Some(DatasetKind::Sharegpt(_)) => format!("{prompts} ShareGPT conversations"),
        Some(DatasetKind::Custom(_)) => format!("{prompts} prompts of a file"),
        Some(DatasetKind::Trace(set)) if set.speed_milli == 1000 => format!("{prompts} requests of a trace"),
        Some(DatasetKind::Trace(set)) => {
            format!("{prompts} requests of a trace at {} times its speed", f64::from(set.speed_milli) / 1e3)
        }
        None => "prompts".to_owned(),
    }
}

fn entry(judged: &Judged<'_>) -> RunEntry {
    let id = &judged.run.id;
    let read = match &judged.run.content {
        Attempt::Read(read) => Some(read),
        Attempt::Uncommitted | Attempt::Unusable { .. } => None,
    };
    RunEntry {
        source: judged.source,
        path: judged.run.path.clone(),
        experiment: id.experiment.clone(),
        condition: id.condition.clone(),
        cell: CellName { arm: id.arm.clone(), router: id.router.clone() },
        repetition: id.repetition,
        attempt: judged.run.attempt,
        state: judged.state,
        reasons: judged.reasons.clone(),
        simulated: read.is_some_and(|read| read.file.simulated),
        evidence: read.and_then(|read| read.file.evidence_level),
        output_throughput: read
            .filter(|_| judged.state == RunState::Valid)
            .and_then(|read| read.metrics.as_ref()?.values.get(&Measure::OutputThroughput).copied()),
    }
}

/// The sources of each campaign of a summary, in its order.
#[must_use]
pub fn sources_by_group(campaigns: &[Campaign]) -> Vec<Vec<&Campaign>> {
    groups(campaigns).into_iter().map(|group| group.sources).collect()
}
