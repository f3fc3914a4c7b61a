//! Two campaigns of different plans: what changed between them, and what that changed in the figures.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use teebench_api::{campaign::Restart, plan::Plan};

use super::{
    Bounds, CampaignSummary, CellName, ConditionSummary, Contrast, ContrastKind, Difference, EffectSummary,
    cells::{CellRuns, cell_runs},
    contrasts::{figures, singles},
    counted::{CountedRun, Group, counted, judge},
};
use crate::{
    metrics::Measure,
    stats::{self, Bootstrap, Estimate, Observations, Options, student},
};

/// Most settings that are listed: of two campaigns that have little in common, more would say nothing.
const MOST_SETTINGS: usize = 60;

/// A later campaign against an earlier one, in the order in which they were given.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Versus {
    /// Index of the campaign that the other is compared with.
    pub earlier: usize,
    /// Index of the campaign that is compared.
    pub later: usize,
    /// Properties of the machines and engines that changed.
    pub environment: Vec<Changed>,
    /// Settings of the campaign that changed.
    pub settings: Vec<Changed>,
    /// What both measured.
    pub conditions: Vec<VersusCondition>,
    /// How the effect of the arms or routers itself changed.
    pub effects: Vec<ChangedEffect>,
    /// What else a change may come from.
    #[serde(default)]
    pub cautions: Vec<String>,
    /// What is not compared, and why.
    pub not_compared: Vec<String>,
}

/// A property or setting with another value.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What it is.
    pub name: String,
    /// The arm; absent of what belongs to the whole campaign.
    pub arm: Option<String>,
    /// What it was; absent where it was not there.
    pub before: Option<String>,
    /// What it is; absent where it is not there any more.
    pub after: Option<String>,
}

/// A condition that both campaigns measured.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct VersusCondition {
    /// Name of the experiment.
    pub experiment: String,
    /// The condition's name.
    pub name: String,
    /// The change of each arm and router: later over earlier, unpaired.
    pub cells: Vec<VersusCell>,
}

/// The change of one arm and router.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct VersusCell {
    /// Which.
    #[serde(flatten)]
    pub name: CellName,
    /// The change of each metric.
    pub effects: Vec<EffectSummary>,
}

/// How an effect changed, for instance what the TEE costs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct ChangedEffect {
    /// Name of the experiment.
    pub experiment: String,
    /// The condition's name.
    pub condition: String,
    /// What differs between the two sides of the effect.
    pub kind: ContrastKind,
    /// Above the line of the ratio.
    pub numerator: CellName,
    /// Below it.
    pub denominator: CellName,
    /// The metric.
    pub metric: Measure,
    /// The ratio then, with its interval.
    pub before: (f64, Option<Bounds>),
    /// The ratio now, with its interval.
    pub after: (f64, Option<Bounds>),
    /// The ratio now over the ratio then.
    pub change: f64,
    /// Its 95 % interval; absent where either ratio has none.
    pub interval: Option<Bounds>,
    /// Whether that interval excludes no change.
    pub verdict: Difference,
}

/// Compares each further campaign with the first.
pub fn versus(groups: &[Group<'_>], campaigns: &[CampaignSummary], bootstrap: &Bootstrap) -> Vec<Versus> {
    let Some((first, others)) =
        groups.iter().zip(campaigns).collect::<Vec<_>>().split_first().map(|(first, others)| (*first, others.to_vec()))
    else {
        return Vec::new();
    };
    others.into_iter().enumerate().map(|(index, other)| one(first, other, index + 1, bootstrap)).collect()
}

/// A campaign's plan with what it found.
type Told<'a> = (&'a Group<'a>, &'a CampaignSummary);

fn one(before: Told<'_>, after: Told<'_>, later: usize, bootstrap: &Bootstrap) -> Versus {
    let mut not_compared = Vec::new();
    let mut conditions = Vec::new();
    let mut effects = Vec::new();
    let comparable = before.1.simulated == after.1.simulated;
    if !comparable {
        not_compared.push(
            "one campaign is simulated and the other measured: no difference between them means anything".to_owned(),
        );
    }
    let options = Options { margin: stats::Margin(after.1.equivalence_margin), seed: after.0.plan.seed, bootstrap };
    let (earlier_runs, later_runs) = (counted(&judge(before.0)), counted(&judge(after.0)));
    for experiment in &after.1.experiments {
        let Some(known) = before.1.experiments.iter().find(|known| known.name == experiment.name) else {
            not_compared.push(format!("experiment {}: only the later campaign has it", experiment.name));
            continue;
        };
        for condition in &experiment.conditions {
            let place = format!("{}, {}", experiment.name, condition.name);
            match known.conditions.iter().find(|other| other.slug == condition.slug) {
                None => not_compared.push(format!("{place}: only the later campaign has it")),
                Some(other) if other.settings != condition.settings || other.load != condition.load => not_compared
                    .push(format!(
                        "{place}: the load or the engine's settings differ ({} then, {} now)",
                        other.load, condition.load
                    )),
                Some(other) => {
                    let cells = cells(
                        &runs_of(&earlier_runs, &known.name, other),
                        &runs_of(&later_runs, &experiment.name, condition),
                        options,
                        comparable,
                    );
                    if cells.is_empty() {
                        not_compared.push(format!("{place}: no arm and router has valid runs in both"));
                    } else {
                        conditions.push(VersusCondition {
                            experiment: experiment.name.clone(),
                            name: condition.name.clone(),
                            cells,
                        });
                    }
                    effects.extend(changed_effects(&experiment.name, other, condition));
                }
            }
        }
    }
    for known in &before.1.experiments {
        let Some(experiment) = after.1.experiments.iter().find(|experiment| experiment.name == known.name) else {
            not_compared.push(format!("experiment {}: only the earlier campaign has it", known.name));
            continue;
        };
        let gone = |other: &&ConditionSummary| experiment.conditions.iter().all(|each| each.slug != other.slug);
        not_compared.extend(
            known
                .conditions
                .iter()
                .filter(gone)
                .map(|other| format!("{}, {}: only the earlier campaign has it", known.name, other.name)),
        );
    }
    Versus {
        earlier: 0,
        later,
        environment: environment(before.1, after.1),
        settings: settings(before.0.plan, after.0.plan),
        conditions,
        effects,
        cautions: cautions(before, after),
        not_compared,
    }
}

/// Two campaigns differ in more than what changed on purpose: what the intervals leave out is told.
fn cautions(before: Told<'_>, after: Told<'_>) -> Vec<String> {
    let once: Vec<&str> = [("the earlier campaign", before), ("the later campaign", after)]
        .into_iter()
        .filter(|(_, (group, _))| group.plan.spec.engine.restart == Restart::Campaign)
        .map(|(name, _)| name)
        .collect();
    if once.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "servers were started once and kept through all repetitions in {}: a change may be that of another start, which no interval here has in it",
        once.join(" and ")
    )]
}

/// Runs of a condition by arm and router.
fn runs_of<'a>(runs: &[CountedRun<'a>], experiment: &str, condition: &ConditionSummary) -> Vec<CellRuns<'a>> {
    let named = |name: fn(&CellName) -> &String| {
        let mut names: Vec<String> = Vec::new();
        for cell in &condition.cells {
            if !names.contains(name(&cell.name)) {
                names.push(name(&cell.name).clone());
            }
        }
        names
    };
    let (arms, routers) = (named(|cell| &cell.arm), named(|cell| &cell.router));
    cell_runs(runs, experiment, &condition.slug, &arms, &routers)
}

fn cells(before: &[CellRuns<'_>], after: &[CellRuns<'_>], options: Options<'_>, comparable: bool) -> Vec<VersusCell> {
    let both = after.iter().filter_map(|cell| Some((before.iter().find(|old| old.name == cell.name)?, cell)));
    both.filter(|(old, new)| !old.runs.is_empty() && !new.runs.is_empty())
        .map(|(old, new)| VersusCell { name: new.name.clone(), effects: effects_of(old, new, options, comparable) })
        .collect()
}

/// A block has one run of each arm and router, so that a cell's units are its blocks, or boots where several of its runs
/// share one.
fn effects_of(
    before: &CellRuns<'_>,
    after: &CellRuns<'_>,
    options: Options<'_>,
    comparable: bool,
) -> Vec<EffectSummary> {
    Measure::ALL
        .into_iter()
        .filter(|measure| measure.is_compared())
        .filter_map(|measure| {
            let (numerator, denominator) = (singles(&after.runs, measure), singles(&before.runs, measure));
            if numerator.is_empty() && denominator.is_empty() {
                return None;
            }
            let found = stats::estimate(&Observations::Unpaired { numerator, denominator }, options);
            let (figures, absent) = match found {
                Ok(effect) => (Some(figures(&effect, comparable)), None),
                Err(reason) => (None, Some(reason.to_string())),
            };
            Some(EffectSummary { metric: measure, primary: false, figures, absent })
        })
        .collect()
}

fn changed_effects(experiment: &str, before: &ConditionSummary, after: &ConditionSummary) -> Vec<ChangedEffect> {
    let same = |left: &Contrast, right: &Contrast| {
        (left.kind, &left.numerator, &left.denominator) == (right.kind, &right.numerator, &right.denominator)
    };
    let both =
        after.contrasts.iter().filter_map(|new| Some((before.contrasts.iter().find(|old| same(old, new))?, new)));
    both.flat_map(|(old, new)| {
        Measure::LEADING.into_iter().filter_map(move |metric| {
            let of = |contrast: &Contrast| {
                let effect = contrast.effects.iter().find(|effect| effect.metric == metric)?;
                let figures = effect.figures.as_ref()?;
                Some((figures.n, figures.ratio, figures.interval))
            };
            let (then, now) = (of(old)?, of(new)?);
            let change = now.1 / then.1;
            let interval = difference(now, then);
            let excludes = interval.is_some_and(|bounds| bounds.low > 1.0 || bounds.high < 1.0);
            Some(ChangedEffect {
                experiment: experiment.to_owned(),
                condition: after.name.clone(),
                kind: new.kind,
                numerator: new.numerator.clone(),
                denominator: new.denominator.clone(),
                metric,
                before: (then.1, then.2),
                after: (now.1, now.2),
                change,
                interval,
                verdict: if excludes { Difference::Different } else { Difference::Inconclusive },
            })
        })
    })
    .collect()
}

/// The interval of the ratio of two independent ratios, each with its interval by Student's t: the standard errors are
/// taken back from the intervals, and the degrees of freedom are Welch's (B. L. Welch, *Biometrika* 34 (1947)).
fn difference(now: (u32, f64, Option<Bounds>), then: (u32, f64, Option<Bounds>)) -> Option<Bounds> {
    let error = |(n, _, bounds): (u32, f64, Option<Bounds>)| {
        let degrees = f64::from(n.checked_sub(1)?);
        let bounds = bounds.filter(|bounds| bounds.low > 0.0 && degrees > 0.0)?;
        let half_width = (bounds.high.ln() - bounds.low.ln()) / 2.0;
        Some(((half_width / student::quantile(0.5 + stats::CONFIDENCE / 2.0, degrees)).powi(2), degrees))
    };
    let ((left, left_degrees), (right, right_degrees)) = (error(now)?, error(then)?);
    let variance = left + right;
    if variance <= 0.0 {
        return None;
    }
    let degrees = variance.powi(2) / (left.powi(2) / left_degrees + right.powi(2) / right_degrees);
    let interval = Estimate::by_student(now.1.ln() - then.1.ln(), variance.sqrt(), degrees).interval;
    Some(Bounds { low: interval.low.exp(), high: interval.high.exp(), confidence: stats::CONFIDENCE })
}

/// What the servers of each arm reported, where it is not the same in both.
fn environment(before: &CampaignSummary, after: &CampaignSummary) -> Vec<Changed> {
    let told = |campaign: &CampaignSummary, property: &str, arm: &str| {
        let row = campaign.parity.iter().find(|row| row.property == property)?;
        let values = &row.arms.iter().find(|values| values.arm == arm)?.values;
        (!values.is_empty()).then(|| values.join(", "))
    };
    let mut properties: Vec<&str> = Vec::new();
    for row in before.parity.iter().chain(&after.parity) {
        if !properties.contains(&row.property.as_str()) {
            properties.push(&row.property);
        }
    }
    let arms: Vec<&str> = after.arms.iter().map(|arm| arm.name.as_str()).collect();
    let both = |arm: &&str| before.arms.iter().any(|known| known.name == **arm);
    properties
        .into_iter()
        .flat_map(|property| arms.iter().copied().filter(both).map(move |arm| (property, arm)))
        .map(|(property, arm)| Changed {
            name: property.to_owned(),
            arm: Some(arm.to_owned()),
            before: told(before, property, arm),
            after: told(after, property, arm),
        })
        .filter(|changed| changed.before != changed.after)
        .collect()
}

/// Fields of the two specs and policies that differ, by their paths.
fn settings(before: &Plan, after: &Plan) -> Vec<Changed> {
    let value = |plan: &Plan| {
        let spec = serde_json::to_value(&plan.spec).unwrap_or_default();
        let policies = serde_json::to_value(&plan.policies).unwrap_or_default();
        let mut leaves = Vec::new();
        collect("spec", &spec, &mut leaves);
        collect("policies", &policies, &mut leaves);
        leaves
    };
    let (old, new) = (value(before), value(after));
    let find = |leaves: &[(String, String)], path: &str| {
        leaves.iter().find(|(known, _)| known == path).map(|(_, value)| value.clone())
    };
    let paths: BTreeSet<&String> = old.iter().chain(&new).map(|(path, _)| path).collect();
    paths
        .into_iter()
        .map(|path| Changed { name: path.clone(), arm: None, before: find(&old, path), after: find(&new, path) })
        .filter(|changed| changed.before != changed.after)
        .take(MOST_SETTINGS)
        .collect()
}

fn collect(path: &str, value: &Value, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| collect(&format!("{path}.{key}"), value, leaves));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                // Arms, models, experiments and routers are known by their names, wherever they stand in their list.
                let key = item.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                collect(&format!("{path}[{key}]"), item, leaves);
            }
        }
        Value::Null => {}
        Value::String(text) => leaves.push((path.to_owned(), text.clone())),
        other => leaves.push((path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_changed_effect_comes_from_the_intervals_of_both() {
        let bounds = Some(Bounds { low: 0.92, high: 0.94, confidence: 0.95 });
        let found = difference((6, 0.93, bounds), (6, 0.93, bounds)).unwrap();
        // ln(0.94/0.92)/2 over t(0.975, 5) = 2.5706 is one standard error; twice its square on 10 degrees of freedom.
        assert!((found.high.ln() - 0.013_178).abs() < 1e-5 && (found.low.ln() + 0.013_178).abs() < 1e-5, "{found:?}");
        assert_eq!(difference((1, 0.93, bounds), (6, 0.93, bounds)), None);
    }
}
