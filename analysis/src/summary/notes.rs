//! What a reader must know beside the figures.

use teebench_api::{
    campaign::Restart,
    plan::{Condition, Plan},
};

use super::{
    Cell, Contrast, Note, NoteCode, ValidityCounts,
    format::{counted, listed, number, signed_percent},
    model::{RunEntry, RunState, Source},
};
use crate::{metrics::Measure, stats::effect::MINIMUM_PAIRS};

/// Repetitions after which the stopping rule looks.
const LOOKS: [u32; 4] = [6, 8, 10, 12];

/// Level under which a trend over repetitions is named: stricter than 0.05, as every cell is tested.
const DRIFT_LEVEL: f64 = 0.01;

fn note(code: NoteCode, text: String) -> Note {
    Note { code, text }
}

/// Notes on a whole campaign.
pub fn of_campaign(
    plan: &Plan,
    simulated: bool,
    sources: &[Source],
    validity: &ValidityCounts,
    runs: &[RunEntry],
) -> Vec<Note> {
    let mut notes = Vec::new();
    if simulated {
        let text = "Every figure of this campaign comes from the simulator of a vLLM server. Nothing was measured.";
        notes.push(note(NoteCode::Simulated, text.to_owned()));
    }
    if sources.len() > 1 {
        let parts: Vec<String> =
            sources.iter().map(|source| format!("{} ({})", source.label, listed(&source.arms))).collect();
        let text = format!(
            "The runs come from {} directories and are reported together: {}. Arms that no directory ran side by side are compared unpaired.",
            sources.len(),
            listed(&parts)
        );
        notes.push(note(NoteCode::NotInterleaved, text));
    }
    if plan.spec.engine.restart == Restart::Campaign {
        let text = "Servers were started once and kept through all repetitions: boots are not replicated, so the intervals leave out what differs from boot to boot.";
        notes.push(note(NoteCode::BootsNotReplicated, text.to_owned()));
    }
    let settled = runs.iter().filter(|run| run.state == RunState::Valid).count();
    if (settled as u64) < u64::from(validity.planned) {
        let text = format!("{settled} of {} planned runs are valid.", validity.planned);
        notes.push(note(NoteCode::Incomplete, text));
    }
    let mut currencies: Vec<&str> =
        plan.spec.arms.iter().filter_map(|arm| arm.price.as_ref()).map(|price| price.currency.as_str()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    if currencies.len() > 1 {
        let text =
            format!("Prices are in {}: costs of arms in different currencies are not compared.", listed(&currencies));
        notes.push(note(NoteCode::Currencies, text));
    }
    notes
}

/// Notes on one condition.
pub fn of_condition(plan: &Plan, condition: &Condition, cells: &[Cell], contrasts: &[Contrast]) -> Vec<Note> {
    let mut notes = Vec::new();
    notes.extend(parity(contrasts));
    notes.extend(few_pairs(contrasts));
    notes.extend(not_interleaved(contrasts));
    notes.extend(overload(cells));
    notes.extend(lock_step(cells));
    notes.extend(absent(cells));
    notes.extend(failed_requests(cells));
    notes.extend(drift(cells));
    notes.extend(looks(plan, condition, cells));
    notes
}

fn parity(contrasts: &[Contrast]) -> Option<Note> {
    let contrast = contrasts.iter().find(|contrast| !contrast.parity_broken.is_empty())?;
    let text = format!(
        "{} and {} differ in {}: their comparison is inconclusive unless parity.allow names it.",
        contrast.numerator.arm,
        contrast.denominator.arm,
        listed(&contrast.parity_broken)
    );
    Some(note(NoteCode::ParityBroken, text))
}

fn few_pairs(contrasts: &[Contrast]) -> Option<Note> {
    let fewest = contrasts
        .iter()
        .filter(|contrast| contrast.paired)
        .flat_map(|contrast| &contrast.effects)
        // A metric that some runs lack, as energy of a short window, has fewer pairs of its own and its own note.
        .filter(|effect| Measure::LEADING.contains(&effect.metric))
        .filter_map(|effect| effect.figures.as_ref())
        .min_by_key(|figures| figures.n)?;
    if fewest.n as usize >= MINIMUM_PAIRS {
        return None;
    }
    let text = format!(
        "With {} the least p-value that can be reached is {}; under {MINIMUM_PAIRS} pairs no p-value reaches 0.05 and every comparison stays inconclusive.",
        counted(fewest.n, "pair"),
        number(fewest.least_p.unwrap_or(1.0))
    );
    Some(note(NoteCode::FewPairs, text))
}

fn not_interleaved(contrasts: &[Contrast]) -> Option<Note> {
    let contrast = contrasts.iter().find(|contrast| !contrast.paired)?;
    let text = format!(
        "{} and {} were not run interleaved: their ratios are unpaired, with the wider interval, and whatever changed between the two times or hosts is part of them.",
        contrast.numerator.arm, contrast.denominator.arm
    );
    Some(note(NoteCode::NotInterleaved, text))
}

fn overload(cells: &[Cell]) -> Option<Note> {
    let overloaded: Vec<String> =
        cells.iter().filter(|cell| cell.overloaded_runs > 0).map(|cell| cell.name.to_string()).collect();
    if overloaded.is_empty() {
        return None;
    }
    let growth = cells.iter().filter_map(|cell| cell.latency_growth).fold(0.0, f64::max);
    let text = format!(
        "Overload: arrivals outrun completions on {}, so latency grows with the length of the run (up to {} times from the first to the last quarter of a run) and says more about the run's length than about the service.",
        listed(&overloaded),
        number(growth)
    );
    Some(note(NoteCode::Overload, text))
}

fn lock_step(cells: &[Cell]) -> Option<Note> {
    let waves: Vec<String> = cells
        .iter()
        .filter(|cell| cell.lock_step_runs > 0)
        .map(|cell| format!("{} of {} on {}", cell.lock_step_runs, counted(cell.runs, "run"), cell.name))
        .collect();
    let text = format!(
        "Lock-step: requests that take equally long start and end together, wave after wave ({}). Their time to first token is that of a whole wave's prompts, and their percentiles describe few waves rather than many requests.",
        listed(&waves)
    );
    (!waves.is_empty()).then(|| note(NoteCode::LockStep, text))
}

fn absent(cells: &[Cell]) -> Vec<Note> {
    let mut reasons: Vec<(String, Vec<Measure>)> = Vec::new();
    for (reason, metric) in
        cells.iter().flat_map(|cell| &cell.metrics).filter_map(|metric| Some((metric.absent.as_ref()?, metric.metric)))
    {
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, metrics)) if metrics.contains(&metric) => {}
            Some((_, metrics)) => metrics.push(metric),
            None => reasons.push((reason.clone(), vec![metric])),
        }
    }
    reasons
        .into_iter()
        .map(|(reason, metrics)| {
            let names: Vec<&str> = metrics.into_iter().map(Measure::title).collect();
            note(NoteCode::Absent, format!("Absent: {} ({reason}).", listed(&names)))
        })
        .collect()
}

fn failed_requests(cells: &[Cell]) -> Option<Note> {
    let failing: Vec<String> = cells
        .iter()
        .filter_map(|cell| {
            let failed: f64 =
                cell.metrics.iter().find(|metric| metric.metric == Measure::FailedRequests)?.values.iter().sum();
            (failed > 0.0).then(|| format!("{} on {}", number(failed), cell.name))
        })
        .collect();
    let text = format!("Requests failed and are left out of latencies: {}.", listed(&failing));
    (!failing.is_empty()).then(|| note(NoteCode::FailedRequests, text))
}

fn drift(cells: &[Cell]) -> Option<Note> {
    let drifting: Vec<String> = cells
        .iter()
        .filter_map(|cell| {
            let drift = cell.drift.filter(|drift| drift.p < DRIFT_LEVEL)?;
            Some(format!("{} on {}", signed_percent(drift.percent_per_repetition), cell.name))
        })
        .collect();
    let text = format!("Output throughput drifts from one repetition to the next: {}.", listed(&drifting));
    (!drifting.is_empty()).then(|| note(NoteCode::Drift, text))
}

fn looks(plan: &Plan, condition: &Condition, cells: &[Cell]) -> Option<Note> {
    let until = plan.experiment(&condition.experiment)?.repetitions.until?;
    let repetitions = cells.iter().map(|cell| cell.runs).max().unwrap_or(0);
    let looked = LOOKS.iter().filter(|look| **look <= repetitions).count();
    let text = format!(
        "Repetitions stop when the 95 % interval of the ratio of {:?} is within ±{} ‰. The rule looks after 6, 8, 10 and 12 repetitions only; it looked {looked} times, which intervals do not account for.",
        until.metric, until.ratio_half_width_permille
    );
    Some(note(NoteCode::Looks, text))
}
