//! Comparisons of cells: arms with each router, routers on each arm, and both together.

use teebench_api::{
    campaign::{Arm, Tee},
    plan::{Plan, RouterTarget},
    policy::RouterMode,
};

use super::{
    Bounds, Contrast, ContrastKind, Difference, EffectSummary, Figures, PMethod,
    cells::{CellRuns, count},
    counted::CountedRun,
    money,
};
use crate::{
    metrics::Measure,
    stats::{self, Effect, Observations, Options, PValue, Single, effect::Pair},
};

/// The router that others are compared with: the first that takes servers in turn, directly or by policy; else the
/// first.
pub fn baseline_router<'a>(plan: &Plan, routers: &'a [String]) -> Option<&'a String> {
    let takes_turns = |router: &&String| match plan.router_target(router) {
        Some(RouterTarget::Direct { .. }) => true,
        Some(RouterTarget::Policy(policy)) => policy.mode == RouterMode::RoundRobin,
        Some(RouterTarget::Foreign { .. }) | None => false,
    };
    routers.iter().find(takes_turns).or(routers.first())
}

/// Pairs of arms as (numerator, denominator): the TEE on over the TEE off, else the later over the earlier.
pub fn arm_pairs<'a>(plan: &'a Plan, arms: &[String]) -> Vec<(&'a Arm, &'a Arm)> {
    let arms: Vec<&Arm> = arms.iter().filter_map(|name| plan.spec.arms.iter().find(|arm| arm.name == *name)).collect();
    arms.iter()
        .enumerate()
        .flat_map(|(position, earlier)| arms[position + 1..].iter().map(move |later| (*later, *earlier)))
        .map(|(later, earlier)| match (later.tee, earlier.tee) {
            (Tee::Disabled, Tee::Enabled) => (earlier, later),
            _ => (later, earlier),
        })
        .collect()
}

/// All comparisons of one condition. `parity_broken` tells in what two arms differ that breaks their comparison.
pub fn contrasts(
    plan: &Plan,
    arms: &[String],
    routers: &[String],
    cells: &[CellRuns<'_>],
    options: Options<'_>,
    parity_broken: impl Fn(&str, &str) -> Vec<String>,
) -> Vec<Contrast> {
    let baseline = baseline_router(plan, routers);
    let servers = plan.replicas();
    let compare = |kind, numerator: (&Arm, &String), denominator: (&Arm, &String)| {
        let find = |(arm, router): (&Arm, &String)| {
            cells.iter().find(|cell| cell.name.arm == arm.name && cell.name.router == *router)
        };
        let parity = parity_broken(&numerator.0.name, &denominator.0.name);
        let mut contrast = contrast(kind, find(numerator)?, find(denominator)?, parity, options)?;
        contrast.cost = contrast
            .effects
            .iter()
            .find(|effect| effect.metric == Measure::OutputThroughput)
            .and_then(|effect| effect.figures.as_ref())
            .and_then(|figures| money::cost_change(numerator.0, denominator.0, servers, figures));
        Some(contrast)
    };
    let pairs = arm_pairs(plan, arms);
    let others = || routers.iter().filter(|router| Some(*router) != baseline);
    let by_arms = pairs.iter().flat_map(|&(top, bottom)| {
        routers.iter().map(move |router| (ContrastKind::Arms, (top, router), (bottom, router)))
    });
    let by_routers =
        arms.iter().filter_map(|name| plan.spec.arms.iter().find(|arm| arm.name == *name)).flat_map(|arm| {
            others().filter_map(move |router| Some((ContrastKind::Routers, (arm, router), (arm, baseline?))))
        });
    let by_both = pairs.iter().flat_map(|&(top, bottom)| {
        others().filter_map(move |router| Some((ContrastKind::WinBack, (top, router), (bottom, baseline?))))
    });
    by_arms.chain(by_routers).chain(by_both).filter_map(|(kind, top, bottom)| compare(kind, top, bottom)).collect()
}

/// One comparison; `None` when either cell has no run.
fn contrast(
    kind: ContrastKind,
    numerator: &CellRuns<'_>,
    denominator: &CellRuns<'_>,
    parity_broken: Vec<String>,
    options: Options<'_>,
) -> Option<Contrast> {
    if numerator.runs.is_empty() || denominator.runs.is_empty() {
        return None;
    }
    let pairs = pairs_of(numerator, denominator);
    let effects = Measure::ALL
        .into_iter()
        .filter(|measure| measure.is_compared())
        .filter_map(|measure| {
            let observations = observations(&pairs, numerator, denominator, measure);
            effect(measure, &observations, numerator, denominator, options, parity_broken.is_empty())
        })
        .collect();
    Some(Contrast {
        kind,
        numerator: numerator.name.clone(),
        denominator: denominator.name.clone(),
        paired: !pairs.is_empty(),
        effects,
        cost: None,
        parity_broken,
    })
}

/// Runs of the same block: same directory, same repetition.
fn pairs_of<'a>(numerator: &CellRuns<'a>, denominator: &CellRuns<'a>) -> Vec<(CountedRun<'a>, CountedRun<'a>)> {
    numerator
        .runs
        .iter()
        .filter_map(|top| {
            let bottom = denominator
                .runs
                .iter()
                .find(|bottom| bottom.source == top.source && bottom.id.repetition == top.id.repetition)?;
            Some((*top, *bottom))
        })
        .collect()
}

fn observations(
    pairs: &[(CountedRun<'_>, CountedRun<'_>)],
    numerator: &CellRuns<'_>,
    denominator: &CellRuns<'_>,
    measure: Measure,
) -> Observations {
    let value = |run: &CountedRun<'_>| run.metrics.values.get(&measure).copied();
    if pairs.is_empty() {
        return Observations::Unpaired {
            numerator: singles(&numerator.runs, measure),
            denominator: singles(&denominator.runs, measure),
        };
    }
    let boots = |(top, bottom): &(CountedRun<'_>, CountedRun<'_>)| {
        (top.source, top.file.boot, top.file.boot_generation, bottom.file.boot, bottom.file.boot_generation)
    };
    let mut known = Vec::new();
    Observations::Paired(
        pairs
            .iter()
            .filter_map(|pair| {
                let (numerator, denominator) = (value(&pair.0)?, value(&pair.1)?);
                let boots = boots(pair);
                let index = known.iter().position(|known| *known == boots).unwrap_or_else(|| {
                    known.push(boots);
                    known.len() - 1
                });
                Some(Pair { numerator, denominator, boots: index as u64 })
            })
            .collect(),
    )
}

/// A cell's runs for an unpaired comparison, each with the boot that it ran on.
pub fn singles(runs: &[CountedRun<'_>], measure: Measure) -> Vec<Single> {
    let mut known = Vec::new();
    runs.iter()
        .filter_map(|run| {
            let value = *run.metrics.values.get(&measure)?;
            let boot = (run.source, run.file.boot, run.file.boot_generation);
            let index = known.iter().position(|known| *known == boot).unwrap_or_else(|| {
                known.push(boot);
                known.len() - 1
            });
            Some(Single { value, boot: index as u64 })
        })
        .collect()
}

/// The effect on one metric; `None` when neither cell knows the metric at all.
fn effect(
    measure: Measure,
    observations: &Observations,
    numerator: &CellRuns<'_>,
    denominator: &CellRuns<'_>,
    options: Options<'_>,
    comparable: bool,
) -> Option<EffectSummary> {
    let known = |cell: &CellRuns<'_>| cell.runs.iter().any(|run| run.metrics.values.contains_key(&measure));
    if !known(numerator) && !known(denominator) {
        return None;
    }
    let (figures, absent) = match stats::estimate(observations, options) {
        Ok(effect) => (Some(figures(&effect, comparable)), None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    Some(EffectSummary { metric: measure, primary: false, figures, absent })
}

/// An effect as `summary.json` has it; of what cannot be compared the verdict says nothing.
pub fn figures(effect: &Effect, comparable: bool) -> Figures {
    let bounds =
        |interval: stats::Interval| Bounds { low: interval.low, high: interval.high, confidence: stats::CONFIDENCE };
    Figures {
        n: count(effect.n),
        ratio: effect.ratio,
        interval: effect.interval.map(bounds),
        change_percent: 100.0 * (effect.ratio - 1.0),
        bootstrap: effect.bootstrap.map(bounds),
        p: effect.p.map(PValue::value),
        p_method: if effect.paired { PMethod::SignFlip } else { PMethod::Welch },
        least_p: effect.paired.then(|| stats::least_sign_flip_p(effect.n)),
        holm_p: None,
        equivalence_p: effect.equivalence_p,
        cliffs_delta: effect.cliffs_delta,
        verdict: match effect.verdict {
            _ if !comparable => Difference::Inconclusive,
            stats::Verdict::Equivalent => Difference::Equivalent,
            stats::Verdict::Different => Difference::Different,
            stats::Verdict::Inconclusive => Difference::Inconclusive,
        },
    }
}
