//! A plan for people: what `teebench plan FILE` prints.

use std::fmt::{self, Display, Formatter};

use super::{
    estimate::{self, Figures},
    model::{Condition, DatasetFile, Plan, Range},
    names, repetitions,
};
use crate::campaign::{Arm, Experiment, Restart, Router};

/// Blocks beyond so many are counted, not listed.
const LISTED_BLOCKS: usize = 12;

/// Conditions of one experiment beyond so many are counted, not listed.
const LISTED_CONDITIONS: usize = 4;

/// Fewer pairs than this cannot reach p = 0.05 by permutation: the least p of n pairs is 2 / 2^n.
const PAIRS_FOR_SIGNIFICANCE: u32 = 6;

/// The plan for people: campaign, arms, routers, conditions, order with seeds, expected time and money, and what is
/// to be thought of before it is started.
#[must_use]
pub fn text(plan: &Plan) -> String {
    Text(plan).to_string()
}

struct Text<'a>(&'a Plan);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        head(f, plan)?;
        for arm in &plan.spec.arms {
            writeln!(f, "  {}", arm_line(plan, arm))?;
        }
        writeln!(f, "routers")?;
        for router in &plan.spec.routers {
            writeln!(f, "  {}", router_line(plan, router))?;
        }
        writeln!(f, "experiments ({})", count(plan.conditions.len(), "condition"))?;
        for experiment in &plan.spec.experiments {
            experiment_lines(f, plan, experiment)?;
        }
        order(f, plan)?;
        expectation(f, plan)?;
        let warnings = warnings(plan);
        if !warnings.is_empty() {
            writeln!(f, "warnings")?;
        }
        warnings.iter().try_for_each(|warning| writeln!(f, "  {warning}"))
    }
}

fn head(f: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    writeln!(f, "campaign {}, seed {}", plan.campaign, plan.seed)?;
    let engine = match &plan.spec.engine.simulator {
        Some(simulator) => {
            format!("simulator, profile {}: no figure of this campaign is measured", simulator.profile.name())
        }
        None => String::from("vLLM"),
    };
    let restart = match plan.spec.engine.restart {
        Restart::Repetition => "for every repetition",
        Restart::Campaign => "once: boots are not replicated",
        Restart::Run => "before every run",
    };
    writeln!(f, "engine {engine}; {} an arm, started {restart}", count(plan.replicas() as usize, "server"))?;
    writeln!(f, "arms")
}

fn arm_line(plan: &Plan, arm: &Arm) -> String {
    let price = arm.price.as_ref().map_or_else(
        || String::from("no price"),
        |price| {
            let machines = count(price.machines.unwrap_or(plan.replicas()) as usize, "machine");
            format!("{machines} at {} {} an hour", price.per_machine_hour, price.currency)
        },
    );
    format!("{}  tee {}, {price}", arm.name, arm.tee.name())
}

fn router_line(plan: &Plan, router: &Router) -> String {
    let what = match (&router.policy_ref, &router.service_ref) {
        (Some(policy), _) => plan.policies.get(&policy.name).map_or_else(
            || format!("policy {}", policy.name),
            |known| {
                let balancing = known.hash_radix_tree.as_ref().map(|tree| tree.load_balancing);
                let balancing = balancing.map_or_else(String::new, |by| format!(", loadBalancing {by:?}"));
                format!("policy {}, mode {:?}{balancing}", policy.name, known.mode)
            },
        ),
        (None, Some(service)) => format!("service {}:{}", service.name, service.port),
        (None, None) => String::from("no proxy: the load generator takes the servers in turn"),
    };
    format!("{}  {what}", router.name)
}

fn experiment_lines(f: &mut Formatter<'_>, plan: &Plan, experiment: &Experiment) -> fmt::Result {
    let (planned, maximum) =
        (repetitions::planned(experiment.repetitions), repetitions::maximum(experiment.repetitions));
    let repetitions = if planned < maximum {
        format!("{planned} to {maximum} repetitions")
    } else {
        count(planned as usize, "repetition")
    };
    let conditions: Vec<&Condition> =
        plan.conditions.iter().filter(|condition| condition.experiment == experiment.name).collect();
    let requests = || conditions.iter().map(|condition| condition.prompts());
    let (fewest, most) = (requests().min().unwrap_or(0), requests().max().unwrap_or(0));
    let requests = if fewest < most { format!("{fewest} to {most} requests") } else { count(most as usize, "request") };
    writeln!(f, "  {}: {}, {repetitions}, {requests} a run", experiment.name, count(conditions.len(), "condition"))?;
    if let Some(file) = plan.dataset_files.get(&experiment.name) {
        let DatasetFile { sha256, requests, mean_prompt_tokens, mean_output_tokens, .. } = file;
        let out = mean_output_tokens.map_or_else(String::new, |tokens| format!(" and {tokens} out"));
        let digest = &sha256[..sha256.len().min(12)];
        writeln!(f, "    file sha256 {digest}…: {requests} requests, on average {mean_prompt_tokens} tokens in{out}")?;
    }
    for condition in conditions.iter().take(LISTED_CONDITIONS) {
        writeln!(f, "    {}", condition_line(experiment, condition))?;
    }
    match conditions.len().saturating_sub(LISTED_CONDITIONS) {
        0 => Ok(()),
        more => writeln!(f, "    and {more} more"),
    }
}

fn condition_line(experiment: &Experiment, condition: &Condition) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = condition.load.request_rate_milli {
        parts.push(format!("{} requests/s", names::per_second(rate)));
    }
    if let Some(trace) = &condition.dataset.trace {
        let speed = names::per_second(trace.speed_milli);
        parts.push(format!("at the times of its trace, {speed} times as fast"));
    }
    if let Some(concurrency) = condition.load.max_concurrency {
        parts.push(format!("concurrency {concurrency}"));
    }
    if let Some(search) = experiment.load.saturation {
        parts.push(format!("doubled while any arm and router gains, at most to {}", search.maximum_concurrency));
    }
    if experiment.points.iter().any(|point| point.prompts.is_some()) {
        parts.push(count(condition.prompts() as usize, "request"));
    }
    parts.extend(condition.input_tokens.map(|input| format!("{input} tokens in")));
    parts.push(match condition.output_tokens {
        Some(output) => format!("{output} tokens out"),
        None => "tokens out as the file says".to_owned(),
    });
    format!("{} \"{}\": {}", condition.slug, condition.name, parts.join(", "))
}

fn order(f: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let (boots, blocks) = (count(plan.boots.len(), "boot"), count(plan.blocks.len(), "block"));
    writeln!(f, "order ({boots}, {blocks}, {})", count(plan.run_count(), "run"))?;
    let mut listed_boot = None;
    for block in plan.blocks.iter().take(LISTED_BLOCKS) {
        let boot = block.runs.first().map(|run| run.boot);
        if plan.spec.engine.restart != Restart::Run && boot != listed_boot {
            boot_line(f, plan, boot)?;
            listed_boot = boot;
        }
        let condition = &plan.conditions[block.condition];
        write!(f, "    {}/{} r{} seed {}:", condition.experiment, condition.slug, block.repetition, block.seed)?;
        for run in &block.runs {
            write!(f, " {}/{}", run.arm, run.router)?;
        }
        writeln!(f)?;
    }
    match plan.blocks.len().saturating_sub(LISTED_BLOCKS) {
        0 => Ok(()),
        more => writeln!(f, "  and {} more; -o json lists them", count(more, "block")),
    }
}

fn boot_line(f: &mut Formatter<'_>, plan: &Plan, index: Option<usize>) -> fmt::Result {
    let Some((index, boot)) = index.and_then(|index| Some((index, plan.boots.get(index)?))) else { return Ok(()) };
    let settings = boot.engine.max_num_seqs.map_or_else(String::new, |n| format!(", max-num-seqs {n}"));
    writeln!(f, "  boot {index}: {}{settings}, on {}", boot.model, boot.arms.join(" "))
}

fn expectation(f: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let Range { minimum, maximum } = plan.estimate.duration_seconds;
    writeln!(f, "expected time   {} to {}", duration(minimum), duration(maximum))?;
    match (&plan.estimate.cost, &plan.estimate.currency) {
        (Some(cost), Some(currency)) => {
            let note = if plan.simulated() { ", were the machines real" } else { "" };
            writeln!(f, "expected money  {:.2} to {:.2} {currency}{note}", cost.minimum, cost.maximum)
        }
        _ => writeln!(f, "expected money  unknown: not every arm has a price in one currency"),
    }
}

/// What a person should think of before the campaign starts.
fn warnings(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    let compared = |experiment: &&Experiment| {
        plan.conditions.iter().any(|known| known.experiment == experiment.name && known.arms.len() > 1)
    };
    for experiment in plan.spec.experiments.iter().filter(compared) {
        let pairs = repetitions::maximum(experiment.repetitions);
        if pairs < PAIRS_FOR_SIGNIFICANCE {
            let least = 2.0 / f64::from(1_u32 << pairs);
            warnings.push(format!(
                "experiment {}: {} cannot reach a p-value under {least}; 6 are needed for 0.05",
                experiment.name,
                count(pairs as usize, "pair"),
            ));
        }
    }
    let figures = estimate::figures(plan);
    warnings.extend(plan.conditions.iter().filter_map(|condition| overload(plan, condition, &figures)));
    warnings.extend(short_windows(plan, &figures));
    warnings
}

fn overload(plan: &Plan, condition: &Condition, figures: &Range<Figures>) -> Option<String> {
    let rate = f64::from(condition.load.request_rate_milli?) / 1000.0;
    let (least, most) = (
        estimate::capacity_per_second(plan, condition, &figures.maximum),
        estimate::capacity_per_second(plan, condition, &figures.minimum),
    );
    let name = format!("{}/{}", condition.experiment, condition.slug);
    let growth = "latency grows with the length of the run";
    if rate > most {
        Some(format!("condition {name}: {rate} requests/s is more than the servers can complete: {growth}"))
    } else if rate > least {
        Some(format!(
            "condition {name}: whether {rate} requests/s is more than the servers complete is not known before; if it is, {growth}"
        ))
    } else {
        None
    }
}

fn short_windows(plan: &Plan, figures: &Range<Figures>) -> Option<String> {
    let needed = f64::from(plan.spec.energy.minimum_window_seconds);
    let short = |figures: &Figures| {
        plan.conditions.iter().filter(|condition| estimate::window_seconds(plan, condition, figures) < needed).count()
    };
    let (surely, perhaps) = (short(&figures.maximum), short(&figures.minimum));
    let short = if surely == perhaps { surely.to_string() } else { format!("{surely} to {perhaps}") };
    (perhaps > 0).then(|| {
        format!(
            "energy: windows under {needed} s carry no joules per token: by estimate {short} of {}; \
             more prompts make them longer",
            count(plan.conditions.len(), "condition"),
        )
    })
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
