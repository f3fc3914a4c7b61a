//! A2 and A3 the board during calibration, A14 joules for each token.

use super::{At, Figure, MODES, Row, by_size, change_percent, deviation, median, number, values};
use crate::{
    notebook::{run::Run, tree::Experiment},
    read::power::Sample,
    stats::numpy,
};

/// The board's power limit that the notebook has for every board, in watts.
const NOTEBOOK_LIMIT_WATTS: f64 = 700.0;

/// Series of one run's board that the notebook plots, over the index of samples: power in percent of 700 W, shares of
/// time of GPU and memory in percent, temperature in degrees Celsius.
const SERIES: [Series; 4] = [
    Series { name: "power", unit: "% of 700 W", read: |sample| Some(sample.power_w? / NOTEBOOK_LIMIT_WATTS * 100.0) },
    Series { name: "GPU utilisation", unit: "%", read: |sample| sample.gpu_percent },
    Series { name: "memory utilisation", unit: "%", read: |sample| sample.memory_percent },
    Series { name: "temperature", unit: "°C", read: |sample| sample.temperature_celsius },
];

/// One of them.
struct Series {
    name: &'static str,
    unit: &'static str,
    read: fn(&Sample) -> Option<f64>,
}

/// A2 and A3: mean and peak of each series.
pub(super) fn board(experiment: &Experiment) -> Vec<Row> {
    let mut rows = Vec::new();
    for (condition, tee) in experiment.conditions.iter().flat_map(|condition| MODES.map(|tee| (condition, tee))) {
        for run in condition.of(tee) {
            let at = At { analysis: "A3", experiment: &experiment.name, condition: &condition.name, tee: Some(tee) };
            rows.extend(SERIES.iter().flat_map(|series| series_rows(at, run, series)));
        }
    }
    rows
}

fn series_rows(at: At<'_>, run: &Run, series: &Series) -> Vec<Row> {
    let Series { name, unit, read } = *series;
    let Some(power) = &run.power else { return Vec::new() };
    let values: Vec<f64> = power.devices.iter().flat_map(|device| &device.samples).filter_map(read).collect();
    let mean = (!values.is_empty()).then(|| number(numpy::sum(&values) / values.len() as f64, unit));
    let peak = values.iter().copied().reduce(f64::max).map(|peak| number(peak, unit));
    let watts = name == "power";
    let corrected = |figure: &Option<Figure>| match figure {
        Some(Figure::Number { value, .. }) if watts => Some(number(value * NOTEBOOK_LIMIT_WATTS / 100.0, "W")),
        other => other.clone(),
    };
    let reason = if watts { "700 W is the limit of one product; a share needs the board's own limit" } else { "" };
    let called = |what: &str| format!("repetition {}: {what} {name}", run.repetition);
    vec![
        at.row(called("mean"), mean.clone(), corrected(&mean), reason),
        at.row(called("peak"), peak.clone(), corrected(&peak), reason),
    ]
}

/// A14.
pub(super) fn per_token(experiment: &Experiment) -> Vec<Row> {
    let mut rows = Vec::new();
    for condition in by_size(experiment) {
        let at = At { analysis: "A14", experiment: &experiment.name, condition: &condition.name, tee: None };
        let each = |tee, of: fn(&Run) -> u64| {
            values(condition, tee, |run| {
                let count = of(run);
                (count > 0).then_some(run.energy_joules().ok()? / count as f64)
            })
        };
        for tee in MODES {
            let at = At { tee: Some(tee), ..at };
            let notebook = values(condition, tee, notebook_joules_per_token);
            let joules = each(tee, |run| run.bench.total_output_tokens);
            if notebook.is_empty() && joules.is_empty() {
                continue;
            }
            let reason = "samples are not one second apart; their own timestamps count, and all GPUs of the file";
            rows.push(at.row("joules per output token", median(&notebook, "J"), median(&joules, "J"), reason));
            rows.push(at.row(
                "standard deviation of joules per output token",
                deviation(&notebook, 0, "J"),
                deviation(&joules, 1, "J"),
                reason,
            ));
            let total = each(tee, |run| run.bench.total_input_tokens + run.bench.total_output_tokens);
            rows.push(at.row("joules per total token", None, median(&total, "J"), "not in the notebook"));
            let requests = each(tee, |run| run.bench.completed);
            rows.push(at.row("joules per request", None, median(&requests, "J"), "not in the notebook"));
        }
        let of = |tee| each(tee, |run| run.bench.total_output_tokens);
        let change = change_percent(&of(MODES[0]), &of(MODES[1]));
        rows.push(at.row("change of joules per output token", None, change, "the notebook shows no effect"));
    }
    rows
}

/// The notebook's energy: trapezoids of power with a step of 1 over all rows, whatever their times, by output tokens.
fn notebook_joules_per_token(run: &Run) -> Option<f64> {
    let power = run.power.as_ref()?;
    let watts: Vec<f64> =
        power.devices.iter().flat_map(|device| &device.samples).filter_map(|sample| sample.power_w).collect();
    let tokens = run.bench.total_output_tokens;
    (tokens > 0).then(|| numpy::trapezoid_of_unit_steps(&watts) / tokens as f64)
}
