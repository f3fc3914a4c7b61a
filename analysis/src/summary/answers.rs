//! The question, and its answers in one sentence each.

use teebench_api::{
    campaign::{Factor, Tee},
    plan::Plan,
};

use super::{
    Answer, AnswerKind, CellName, ConditionSummary, Contrast, ContrastKind, Difference, ExperimentSummary, Figures,
    contrasts::{arm_pairs, baseline_router},
    format::{counted, listed, number, percent_interval},
};
use crate::{metrics::Measure, stats::Margin};

/// What the campaign asks, in a sentence.
pub fn question(plan: &Plan) -> String {
    let models: Vec<&str> = plan.spec.models.iter().map(teebench_api::campaign::Model::display_name).collect();
    let models = listed(&models);
    let arms: Vec<String> = plan.spec.arms.iter().map(|arm| arm.name.clone()).collect();
    let routers: Vec<String> = plan.spec.routers.iter().map(|router| router.name.clone()).collect();
    let baseline = baseline_router(plan, &routers);
    let others: Vec<&String> = routers.iter().filter(|router| Some(*router) != baseline).collect();
    let cost = arm_pairs(plan, &arms).first().map(|(top, bottom)| match factor(plan) {
        Factor::Tee => format!("what does confidential computing cost {models} ({} against {})", top.name, bottom.name),
        Factor::Engine => format!("what does engine {} change for {models} against {}", top.name, bottom.name),
        Factor::NodePool => format!("what do the machines of {} change for {models} against {}", top.name, bottom.name),
    });
    let gain = baseline.filter(|_| !others.is_empty()).map(|baseline| {
        let verb = if cost.is_some() { "win back" } else { "gain" };
        format!("what does routing by {} {verb} against {baseline}", listed(&others))
    });
    let asked: Vec<String> = [cost, gain].into_iter().flatten().collect();
    match asked.join(", and ") {
        nothing if nothing.is_empty() => format!("How does {models} perform?"),
        asked => {
            let mut characters = asked.chars();
            let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
            format!("{first}{}?", characters.as_str())
        }
    }
}

fn factor(plan: &Plan) -> Factor {
    plan.spec.comparison.map(|comparison| comparison.factor).unwrap_or_default()
}

/// Where the answers come from: the headline experiment's first condition with comparisons, else the first of all.
pub fn headline_condition<'a>(
    headline: Option<&str>,
    experiments: &'a [ExperimentSummary],
) -> Option<(&'a ExperimentSummary, &'a ConditionSummary)> {
    let named = |experiment: &&ExperimentSummary| Some(experiment.name.as_str()) == headline;
    experiments
        .iter()
        .filter(named)
        .chain(experiments.iter().filter(|experiment| !named(experiment)))
        .flat_map(|experiment| experiment.conditions.iter().map(move |condition| (experiment, condition)))
        .find(|(_, condition)| !condition.contrasts.is_empty())
}

/// The answers; of each kind, that with the greatest output throughput first.
pub fn answers(plan: &Plan, experiments: &[ExperimentSummary], margin: Margin) -> Vec<Answer> {
    let headline = plan.spec.headline.as_ref().map(|headline| headline.experiment.as_str());
    let Some((experiment, condition)) = headline_condition(headline, experiments) else {
        return vec![Answer { kind: AnswerKind::None, text: nothing_to_compare(experiments) }];
    };
    let overloaded = condition.cells.iter().any(|cell| cell.overloaded_runs > 0);
    let warning = if overloaded { "; overload: latencies grow with the length of the run" } else { "" };
    let place = format!("{}, {}{warning}", experiment.name, condition.name);
    let baseline = baseline_of(plan, condition);
    let mut contrasts: Vec<&Contrast> = condition
        .contrasts
        .iter()
        .filter(|contrast| contrast.kind != ContrastKind::Arms || Some(&contrast.numerator.router) == baseline.as_ref())
        .collect();
    let ratio = |contrast: &Contrast| figures(contrast, Measure::OutputThroughput).map_or(0.0, |figures| figures.ratio);
    contrasts.sort_by(|left, right| {
        let kinds = left.kind.cmp(&right.kind);
        if left.kind == ContrastKind::Arms { kinds } else { kinds.then(ratio(right).total_cmp(&ratio(left))) }
    });
    contrasts.into_iter().filter_map(|contrast| answer(plan, experiments, contrast, &place, margin)).collect()
}

fn baseline_of(plan: &Plan, condition: &ConditionSummary) -> Option<String> {
    let mut routers: Vec<String> = Vec::new();
    for cell in &condition.cells {
        if !routers.contains(&cell.name.router) {
            routers.push(cell.name.router.clone());
        }
    }
    baseline_router(plan, &routers).cloned()
}

fn nothing_to_compare(experiments: &[ExperimentSummary]) -> String {
    let measured =
        experiments.iter().flat_map(|experiment| &experiment.conditions).flat_map(|condition| &condition.cells);
    if measured.into_iter().any(|cell| cell.runs > 0) {
        "There is nothing to compare: only one arm with one router has valid runs.".to_owned()
    } else {
        "There is no answer: no run is valid.".to_owned()
    }
}

fn answer(
    plan: &Plan,
    experiments: &[ExperimentSummary],
    contrast: &Contrast,
    place: &str,
    margin: Margin,
) -> Option<Answer> {
    let Contrast { kind, numerator, denominator, .. } = contrast;
    let throughput = figures(contrast, Measure::OutputThroughput)?;
    let subject = match kind {
        ContrastKind::Arms => factor_subject(plan, numerator, denominator),
        ContrastKind::Routers => {
            format!("On {}, {} in place of {} changes", numerator.arm, numerator.router, denominator.router)
        }
        ContrastKind::WinBack => format!(
            "With {}, {} comes to {:.0} % of the output throughput of {} with {}: it differs by",
            numerator.router,
            numerator.arm,
            100.0 * throughput.ratio,
            denominator.arm,
            denominator.router
        ),
    };
    let clauses: Vec<String> =
        Measure::LEADING.into_iter().filter_map(|measure| clause(contrast, measure, *kind, margin)).collect();
    let certainty = if nothing_is_certain(contrast) { "all inconclusive; " } else { "" };
    let text = format!(
        "{subject} {} ({certainty}{}; {place}).{}",
        listed(&clauses),
        basis(contrast, throughput),
        control(experiments, contrast)
    );
    let kind = match kind {
        ContrastKind::Arms => AnswerKind::Factor,
        ContrastKind::Routers => AnswerKind::Routing,
        ContrastKind::WinBack => AnswerKind::WinBack,
    };
    Some(Answer { kind, text })
}

/// What the same routers change under the control load, in which no two prompts share anything: what is left there is no
/// gain of reuse. Empty where the campaign has no such load.
fn control(experiments: &[ExperimentSummary], contrast: &Contrast) -> String {
    let controls =
        experiments.iter().flat_map(|experiment| &experiment.conditions).filter(|each| each.settings.without_reuse);
    let same = |other: &&Contrast| {
        contrast.kind == ContrastKind::Routers
            && (other.kind, &other.numerator, &other.denominator)
                == (contrast.kind, &contrast.numerator, &contrast.denominator)
    };
    let found = controls.flat_map(|condition| &condition.contrasts).find(same);
    found.and_then(|found| figures(found, Measure::OutputThroughput)).map_or_else(String::new, |figures| {
        format!(
            " Of prompts that share nothing (the control) it changes {} by {}.",
            Measure::OutputThroughput,
            percent_interval(figures)
        )
    })
}

fn factor_subject(plan: &Plan, numerator: &CellName, denominator: &CellName) -> String {
    let tee = |name: &CellName| plan.arm(&name.arm).map(|arm| arm.tee);
    let turned_on = (tee(numerator), tee(denominator)) == (Some(Tee::Enabled), Some(Tee::Disabled));
    let versus = format!("{} against {}, router {}", numerator.arm, denominator.arm, numerator.router);
    match factor(plan) {
        Factor::Tee if turned_on => format!("Turning the TEE on ({versus}) changes"),
        Factor::Tee | Factor::Engine | Factor::NodePool => format!("The other arm ({versus}) changes"),
    }
}

fn figures(contrast: &Contrast, measure: Measure) -> Option<&Figures> {
    contrast.effects.iter().find(|effect| effect.metric == measure)?.figures.as_ref()
}

/// One metric's change; of a win-back the throughput's ratio already stands in the sentence.
fn clause(contrast: &Contrast, measure: Measure, kind: ContrastKind, margin: Margin) -> Option<String> {
    let figures = figures(contrast, measure)?;
    let verb = if kind == ContrastKind::WinBack { "in" } else { "by" };
    let change = percent_interval(figures);
    let said = match figures.verdict {
        Difference::Different => String::new(),
        Difference::Equivalent => {
            format!(", equal within {}\u{202f}%", number(100.0 * margin.0))
        }
        Difference::Inconclusive if nothing_is_certain(contrast) => String::new(),
        Difference::Inconclusive => ", inconclusive".to_owned(),
    };
    Some(match kind {
        ContrastKind::WinBack => format!("{change} {verb} {measure}{said}"),
        ContrastKind::Arms | ContrastKind::Routers => format!("{measure} {verb} {change}{said}"),
    })
}

/// Whether all that a sentence names is inconclusive, which is then said once.
fn nothing_is_certain(contrast: &Contrast) -> bool {
    Measure::LEADING
        .into_iter()
        .filter_map(|measure| figures(contrast, measure))
        .all(|figures| figures.verdict == Difference::Inconclusive)
}

/// On how many units the sentence rests.
fn basis(contrast: &Contrast, figures: &Figures) -> String {
    if contrast.paired {
        format!("95 % intervals, {}", counted(figures.n, "pair"))
    } else {
        format!("95 % intervals, {} a side, not interleaved", counted(figures.n, "run"))
    }
}
