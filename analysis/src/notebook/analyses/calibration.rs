//! A4: seconds per prompt for each max-num-seqs, and the rule that chooses one.

use std::collections::BTreeMap;

use super::{At, Figure, MODES, Row, median, number, values};
use crate::{
    notebook::{
        names::{Label, Order},
        tree::{Condition, Experiment},
    },
    stats::{knee::CALIBRATION_SHARE, least_within, numpy},
};

/// A4.
pub(super) fn calibration(experiment: &Experiment) -> Vec<Row> {
    let mut rows = Vec::new();
    for condition in &experiment.conditions {
        for tee in MODES {
            let seconds = values(condition, tee, |run| {
                (run.bench.num_prompts > 0).then(|| run.bench.duration / run.bench.num_prompts as f64)
            });
            let at = At { analysis: "A4", experiment: &experiment.name, condition: &condition.name, tee: Some(tee) };
            if !seconds.is_empty() {
                rows.push(at.same("seconds per prompt", median(&seconds, "s")));
            }
        }
    }
    let mut models: BTreeMap<String, Vec<(u32, &Condition)>> = BTreeMap::new();
    for condition in &experiment.conditions {
        if let Label::MaxNumSeqs { model, max_num_seqs } = &condition.label {
            models.entry(model.clone()).or_default().push((*max_num_seqs, condition));
        }
    }
    let mut names: Vec<&String> = models.keys().collect();
    names.sort_by(|left, right| Order::ModelSize.compare(left, right));
    for (name, tee) in names.into_iter().flat_map(|name| MODES.map(|tee| (name, tee))) {
        let tried: Vec<(f64, f64)> = models[name]
            .iter()
            .filter_map(|(size, condition)| {
                let rates = values(condition, tee, |run| Some(run.bench.output_throughput));
                Some((f64::from(*size), numpy::median(&rates)?))
            })
            .collect();
        let Some(chosen) = choose(tried) else { continue };
        let at = At { analysis: "A4", experiment: &experiment.name, condition: name, tee: Some(tee) };
        rows.push(at.row(
            "max-num-seqs",
            Some(Figure::Words("chosen by eye".to_owned())),
            Some(number(chosen, "")),
            "the rule: the least max-num-seqs within 2 % of the best median output throughput",
        ));
    }
    rows
}

/// The least max-num-seqs within [`CALIBRATION_SHARE`] of the best throughput.
fn choose(mut tried: Vec<(f64, f64)>) -> Option<f64> {
    tried.sort_by(|left, right| left.0.total_cmp(&right.0));
    least_within(CALIBRATION_SHARE, &tried).map(|chosen| chosen.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_the_least_max_num_seqs_within_two_percent_is_chosen() {
        assert_eq!(choose(vec![(1024.0, 1000.0), (512.0, 985.0), (256.0, 970.0)]), Some(512.0));
        assert_eq!(choose(Vec::new()), None);
    }
}
