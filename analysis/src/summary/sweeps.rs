//! What a sweep of conditions shows: the knee of throughput over requests in flight, the max-num-seqs that a calibration
//! chooses.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use teebench_api::{
    campaign::{DatasetKind, dataset::Reuse},
    plan::{Condition, Plan},
};

use super::{
    Bounds, Cell, CellName, ConditionSummary, ContrastKind,
    contrasts::{arm_pairs, baseline_router},
    money,
};
use crate::{
    metrics::Measure,
    stats::{self, Interval, LoadLevel, knee::CALIBRATION_SHARE},
};

/// Fewest levels of load that make a sweep.
pub const LEAST_LEVELS: usize = 3;

/// The settings in which conditions of one experiment may differ.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Most sequences that the engine decodes at once, where it is set.
    pub max_num_seqs: Option<u32>,
    /// Most requests in flight; absent where nothing bounds them.
    pub max_concurrency: Option<u32>,
    /// Requests per 1,000 seconds; absent of a closed loop.
    pub request_rate_milli: Option<u32>,
    /// Tokens of each prompt, where the data set says them.
    pub input_tokens: Option<u32>,
    /// Tokens of each output, where they are set.
    pub output_tokens: Option<u32>,
    /// Whether no two prompts share anything, so that routing can gain nothing by it: the control of a routing experiment.
    pub without_reuse: bool,
}

/// A knee of one arm and router for one model.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct KneeSummary {
    /// The model, for people.
    pub model: String,
    /// Arm and router.
    #[serde(flatten)]
    pub name: CellName,
    /// The least concurrency whose median output throughput is within 5 % of the best one's.
    pub concurrency: f64,
    /// Where resampled runs have it; absent where a level has fewer than two runs.
    pub interval: Option<Bounds>,
    /// Median output throughput there, in tokens per second.
    pub output_throughput: f64,
    /// Whether the sweep goes on beyond it; else the knee may lie further out.
    pub bracketed: bool,
    /// Cost for each million output tokens there, when the arm has a price.
    #[schemars(with = "Option<String>")]
    pub per_million_output_tokens: Option<Decimal>,
    /// Currency of that cost.
    pub currency: Option<String>,
}

/// Two arms with one router, each at its own knee.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct KneeContrast {
    /// The model, for people.
    pub model: String,
    /// The router of both.
    pub router: String,
    /// The arm above the line of the ratio.
    pub numerator: String,
    /// The arm below it.
    pub denominator: String,
    /// Output throughput at the numerator's knee over that at the denominator's.
    pub ratio: f64,
    /// Its 95 % interval from resampled runs.
    pub interval: Option<Bounds>,
    /// The denominator's knee, at which both are compared at equal load.
    pub equal_load: f64,
    /// The ratio there, with its 95 % interval.
    pub at_equal_load: Option<(f64, Option<Bounds>)>,
}

/// What a calibration chooses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Choice {
    /// The model, for people.
    pub model: String,
    /// Arm and router.
    #[serde(flatten)]
    pub name: CellName,
    /// The least max-num-seqs whose median output throughput is within 2 % of the best one's.
    pub max_num_seqs: u32,
    /// Values that were tried.
    pub tried: Vec<u32>,
}

impl Settings {
    /// Those of a planned condition.
    pub(super) fn of(condition: &Condition) -> Self {
        Self {
            max_num_seqs: condition.engine.max_num_seqs,
            max_concurrency: condition.load.max_concurrency,
            request_rate_milli: condition.load.request_rate_milli,
            input_tokens: condition.input_tokens,
            output_tokens: condition.output_tokens,
            without_reuse: matches!(condition.dataset.kind(), Some(DatasetKind::Toolbench(set)) if set.reuse == Reuse::None),
        }
    }
}

/// Conditions that differ in the load alone, in ascending order of requests in flight.
pub struct LoadSweep<'a> {
    /// The conditions.
    pub conditions: Vec<&'a ConditionSummary>,
}

impl<'a> LoadSweep<'a> {
    /// The sweeps among conditions: those of at least three levels.
    pub fn among(conditions: &'a [ConditionSummary]) -> Vec<Self> {
        let load_aside = |condition: &'a ConditionSummary| {
            (&condition.model, Settings { max_concurrency: None, ..condition.settings.clone() })
        };
        let mut sweeps = grouped(conditions.iter().filter(|each| each.settings.max_concurrency.is_some()), load_aside);
        sweeps.retain(|sweep| sweep.len() >= LEAST_LEVELS);
        for sweep in &mut sweeps {
            sweep.sort_by_key(|condition| condition.settings.max_concurrency);
        }
        sweeps.into_iter().map(|conditions| Self { conditions }).collect()
    }

    /// The model of all of them.
    pub fn model(&self) -> &'a str {
        self.conditions.first().map_or("", |condition| &condition.model)
    }

    /// Arms and routers of all of them.
    pub fn cells(&self) -> Vec<&'a CellName> {
        let mut names: Vec<&CellName> = Vec::new();
        for name in self.conditions.iter().flat_map(|condition| &condition.cells).map(|cell| &cell.name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// (requests in flight, cell) of one arm and router.
    pub fn levels<'b>(&'b self, name: &'b CellName) -> impl Iterator<Item = (f64, &'a Cell)> + 'b {
        self.conditions.iter().filter_map(move |condition| {
            let cell = condition.cells.iter().find(|cell| cell.name == *name && cell.runs > 0)?;
            Some((f64::from(condition.settings.max_concurrency?), cell))
        })
    }

    fn throughputs(&self, name: &CellName) -> Vec<LoadLevel> {
        let of = |cell: &Cell| {
            let metric = cell.metrics.iter().find(|metric| metric.metric == Measure::OutputThroughput)?;
            (!metric.values.is_empty()).then(|| metric.values.clone())
        };
        self.levels(name)
            .filter_map(|(concurrency, cell)| Some(LoadLevel { concurrency, throughputs: of(cell)? }))
            .collect()
    }
}

/// The knees of an experiment's sweeps.
pub fn knees(plan: &Plan, conditions: &[ConditionSummary]) -> Vec<KneeSummary> {
    let sweeps = LoadSweep::among(conditions);
    let of_sweep = |sweep: &LoadSweep<'_>| {
        let knee = |name: &CellName| {
            let levels = sweep.throughputs(name);
            let found = stats::knee(&levels, plan.seed).filter(|_| levels.len() >= LEAST_LEVELS)?;
            let price = plan.arm(&name.arm).and_then(|arm| arm.price.as_ref());
            let cost = price.and_then(|price| money::per_million(price, plan.replicas(), found.throughput));
            Some(KneeSummary {
                model: sweep.model().to_owned(),
                name: name.clone(),
                concurrency: found.concurrency,
                interval: found.interval.map(bounds),
                output_throughput: found.throughput,
                bracketed: found.bracketed,
                currency: cost.and(price).map(|price| price.currency.clone()),
                per_million_output_tokens: cost,
            })
        };
        sweep.cells().into_iter().filter_map(knee).collect::<Vec<_>>()
    };
    sweeps.iter().flat_map(of_sweep).collect()
}

/// Pairs of arms at their knees, with the router that others are compared with and with the others.
pub fn knee_contrasts(plan: &Plan, conditions: &[ConditionSummary]) -> Vec<KneeContrast> {
    let mut found = Vec::new();
    for sweep in LoadSweep::among(conditions) {
        let cells = sweep.cells();
        let mut arms: Vec<String> = cells.iter().map(|name| name.arm.clone()).collect();
        arms.dedup();
        let mut routers: Vec<String> = Vec::new();
        for router in cells.iter().map(|name| &name.router).filter(|router| !router.is_empty()) {
            if !routers.contains(router) {
                routers.push(router.clone());
            }
        }
        let baseline = baseline_router(plan, &routers).cloned();
        routers.sort_by_key(|router| Some(router) != baseline.as_ref());
        for (top, bottom) in arm_pairs(plan, &arms) {
            for router in &routers {
                found.extend(knee_contrast(plan, &sweep, &top.name, &bottom.name, router));
            }
        }
    }
    found
}

fn knee_contrast(
    plan: &Plan,
    sweep: &LoadSweep<'_>,
    numerator: &str,
    denominator: &str,
    router: &str,
) -> Option<KneeContrast> {
    let levels = |arm: &str| sweep.throughputs(&CellName { arm: arm.to_owned(), router: router.to_owned() });
    let (top, bottom) = (levels(numerator), levels(denominator));
    if top.len() < LEAST_LEVELS || bottom.len() < LEAST_LEVELS {
        return None;
    }
    let (ratio, interval) = stats::knee_ratio(&top, &bottom, plan.seed)?;
    let equal_load = stats::knee(&bottom, plan.seed)?.concurrency;
    let there =
        sweep.conditions.iter().find(|condition| condition.settings.max_concurrency.map(f64::from) == Some(equal_load));
    let contrast = there.and_then(|condition| {
        condition.contrasts.iter().find(|contrast| {
            contrast.kind == ContrastKind::Arms
                && contrast.numerator.arm == numerator
                && contrast.denominator.arm == denominator
                && contrast.numerator.router == router
        })
    });
    let effect = contrast.and_then(|contrast| {
        contrast.effects.iter().find(|effect| effect.metric == Measure::OutputThroughput)?.figures.as_ref()
    });
    Some(KneeContrast {
        model: sweep.model().to_owned(),
        router: router.to_owned(),
        numerator: numerator.to_owned(),
        denominator: denominator.to_owned(),
        ratio,
        interval: interval.map(bounds),
        equal_load,
        at_equal_load: effect.map(|figures| (figures.ratio, figures.interval)),
    })
}

/// What calibrations choose: conditions that differ in max-num-seqs alone.
pub fn choices(conditions: &[ConditionSummary]) -> Vec<Choice> {
    calibrations(conditions).iter().flat_map(|calibration| choices_of(calibration)).collect()
}

/// Conditions that differ in max-num-seqs alone, two values at least, in ascending order.
pub fn calibrations(conditions: &[ConditionSummary]) -> Vec<Vec<&ConditionSummary>> {
    let aside = |condition: &ConditionSummary| {
        (condition.model.clone(), Settings { max_num_seqs: None, ..condition.settings.clone() })
    };
    let mut found = grouped(conditions.iter().filter(|each| each.settings.max_num_seqs.is_some()), aside);
    for calibration in &mut found {
        calibration.sort_by_key(|condition| condition.settings.max_num_seqs);
    }
    found.retain(|calibration| calibration.len() > 1);
    found
}

fn choices_of(calibration: &[&ConditionSummary]) -> Vec<Choice> {
    let names = calibration.first().map(|condition| condition.cells.iter().map(|cell| &cell.name));
    names
        .into_iter()
        .flatten()
        .filter_map(|name| {
            let tried: Vec<(u32, f64)> = calibration
                .iter()
                .filter_map(|condition| {
                    let cell = condition.cells.iter().find(|cell| cell.name == *name)?;
                    let metric = cell.metrics.iter().find(|metric| metric.metric == Measure::OutputThroughput)?;
                    Some((condition.settings.max_num_seqs?, metric.median?))
                })
                .collect();
            let curve: Vec<(f64, f64)> = tried.iter().map(|(size, rate)| (f64::from(*size), *rate)).collect();
            let chosen = stats::least_within(CALIBRATION_SHARE, &curve)?.0;
            Some(Choice {
                model: calibration.first()?.model.clone(),
                name: name.clone(),
                max_num_seqs: tried.iter().map(|each| each.0).find(|size| f64::from(*size) == chosen)?,
                tried: tried.into_iter().map(|each| each.0).collect(),
            })
        })
        .collect()
}

/// Conditions by a key, in the order in which keys first appear.
pub fn grouped<'a, K: PartialEq>(
    conditions: impl Iterator<Item = &'a ConditionSummary>,
    key: impl Fn(&'a ConditionSummary) -> K,
) -> Vec<Vec<&'a ConditionSummary>> {
    let mut groups: Vec<(K, Vec<&ConditionSummary>)> = Vec::new();
    for condition in conditions {
        let of = key(condition);
        match groups.iter_mut().find(|(known, _)| *known == of) {
            Some((_, group)) => group.push(condition),
            None => groups.push((of, vec![condition])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn bounds(interval: Interval) -> Bounds {
    Bounds { low: interval.low, high: interval.high, confidence: stats::CONFIDENCE }
}
