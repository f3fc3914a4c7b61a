//! Fits the profiles: `H200` by running the simulator's engine, in virtual time, under the measured loads.
//!
//! `cargo run --release -p teebench-mock-vllm --example fit` prints tables and writes `fit/residuals-h200.json`. What the
//! GPU computes is fitted to the 8B points, each of which is also left out once and predicted by the others. What the
//! host does is fitted to half of the 1B points, since only a small model keeps an API server busy; the GPU's costs are
//! then those of 8B scaled by the shape, and the other 1B points are predicted, which neither fit has seen. The cost is the
//! mean squared logarithm of simulated to measured; starting points and numbers of evaluations are fixed, so the same
//! data give the same coefficients. `H100Nvl` follows from them and from published ratios. `-- predict` fits nothing: it
//! prints what the profile as it stands gives for every measured point.

mod publication;
mod simplex;
mod variables;

use std::path::Path;

use anyhow::Context;
use teebench_mock_vllm::engine::StepCost;
use teebench_mock_vllm::fit::{
    Coefficients, ErrorSummary, Fold, GpuCoefficients, HalfLeftOut, HostCoefficients, MeasuredPoints, Point,
    Prediction, Residuals,
};
use teebench_mock_vllm::profile::{ModelSize, Profile};

use crate::variables::Variables;

/// What the GPU's costs are fitted to.
const FITTED: (ModelSize, &str) = (ModelSize::B8, include_str!("data/h200-8b.json"));
/// What the host's costs are fitted to in one half, and judged by in the other.
const OTHER: (ModelSize, &str) = (ModelSize::B1, include_str!("data/h200-1b.json"));

/// Evaluations of each of the two descents; the second starts anew from where the first ended.
const EVALUATIONS: usize = 250;
/// Times that both fits take turns, as each needs what the other finds.
const ROUNDS: usize = 2;

/// Where every fit starts: round figures of the right order.
const START: Coefficients = Coefficients {
    gpu: GpuCoefficients {
        base_us: 4500.0,
        per_decode_sequence_us: 20.0,
        per_prefill_token_us: 22.0,
        per_kv_token_us: 0.015,
    },
    host: HostCoefficients {
        wait_per_request_us: 8000.0,
        launch_us: 15_000.0,
        schedule_us: 1000.0,
        schedule_per_sequence_us: 20.0,
        work_per_request_us: 1500.0,
        work_per_prompt_token_us: 0.3,
        work_per_output_token_us: 10.0,
        work_per_chunk_us: 40.0,
    },
};

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("predict") {
        return [FITTED, OTHER].into_iter().try_for_each(|(size, data)| predict(size, data));
    }
    let residuals = residuals(&read(FITTED.1)?, &read(OTHER.1)?)?;
    println!("{}: each point left out of the fit once", residuals.source);
    print(residuals.folds.iter().map(|fold| &fold.left_out), &residuals.summary);
    for half in &residuals.halves {
        println!("{}: points left out of the host's fit to {}", residuals.other_source, half.calibrated_on.join(", "));
        print(&half.left_out, &half.summary);
        println!("{:#?}", half.coefficients);
    }
    let (cost, confidential) = publication::solve(&residuals.halves[0].coefficients)?;
    println!("H100Nvl: {cost:#?}\n{confidential:#?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fit/residuals-h200.json");
    let text = serde_json::to_string_pretty(&residuals)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn read(data: &str) -> anyhow::Result<MeasuredPoints> {
    serde_json::from_str(data).context("the measurements do not read")
}

/// Prints what the profile gives for every point of a model: for other sizes than the fitted one, scaled by their shape.
fn predict(size: ModelSize, data: &str) -> anyhow::Result<()> {
    let measured = read(data)?;
    let cost = Profile::H200.figures().of_model(size).step_cost(false);
    println!("profile H200, {size:?}");
    let points: Vec<&Point> = measured.points.iter().collect();
    let predictions = predictions(&measured, &points, cost)?;
    print(&predictions, &summary(&predictions));
    Ok(())
}

fn predictions(measured: &MeasuredPoints, points: &[&Point], cost: StepCost) -> anyhow::Result<Vec<Prediction>> {
    let predict = |point: &&Point| Prediction::of(point, measured.config(), cost);
    points.iter().map(|point| predict(point).context("the engine does not take a point")).collect()
}

fn summary<'a>(predictions: impl IntoIterator<Item = &'a Prediction>) -> ErrorSummary {
    let errors: Vec<f64> = predictions.into_iter().flat_map(Prediction::errors).map(|(_, error)| error).collect();
    ErrorSummary::of(&errors)
}

/// All fits, and the points that each leaves out.
fn residuals(fitted: &MeasuredPoints, other: &MeasuredPoints) -> anyhow::Result<Residuals> {
    let all: Vec<&Point> = fitted.points.iter().collect();
    let (even, odd) = other.checkerboard();
    let halves = [half_left_out(fitted, other, &even, &odd)?, half_left_out(fitted, other, &odd, &even)?];
    let start = Coefficients { gpu: START.gpu, ..halves[0].coefficients };
    let mut folds = Vec::new();
    for index in 0..all.len() {
        let mut others = all.clone();
        let point = others.remove(index);
        let coefficients = fit(Variables::OfFittedModel, FITTED.0, fitted, &others, start);
        let left_out = predictions(fitted, &[point], coefficients.scaled_to(FITTED.0))?.remove(0);
        folds.push(Fold { coefficients, left_out });
    }
    Ok(Residuals {
        source: fitted.source.clone(),
        summary: summary(folds.iter().map(|fold| &fold.left_out)),
        folds,
        other_source: other.source.clone(),
        halves,
    })
}

/// The GPU's costs from all points of the fitted model, the host's from `calibration`, and `left_out` predicted.
fn half_left_out(
    fitted: &MeasuredPoints,
    other: &MeasuredPoints,
    calibration: &[&Point],
    left_out: &[&Point],
) -> anyhow::Result<HalfLeftOut> {
    let all: Vec<&Point> = fitted.points.iter().collect();
    let mut coefficients = START;
    for _ in 0..ROUNDS {
        let start = Coefficients { gpu: START.gpu, ..coefficients };
        coefficients.gpu = fit(Variables::OfFittedModel, FITTED.0, fitted, &all, start).gpu;
        let start = Coefficients { host: START.host, ..coefficients };
        coefficients.host = fit(Variables::OfHost, OTHER.0, other, calibration, start).host;
    }
    let left_out = predictions(other, left_out, coefficients.scaled_to(OTHER.0))?;
    Ok(HalfLeftOut {
        calibrated_on: calibration.iter().map(|point| point.name()).collect(),
        coefficients,
        summary: summary(&left_out),
        left_out,
    })
}

/// The coefficients that meet `points` best, those that do not vary being as in `start`.
fn fit(
    variables: Variables,
    size: ModelSize,
    measured: &MeasuredPoints,
    points: &[&Point],
    start: Coefficients,
) -> Coefficients {
    let cost =
        |logarithms: &[f64]| distance(measured, points, variables.with_logarithms(start, logarithms).scaled_to(size));
    let (first, _) = simplex::minimise(&variables.logarithms(start), 0.3, EVALUATIONS, cost);
    let (best, _) = simplex::minimise(&first, 0.1, EVALUATIONS, cost);
    variables.rounded(variables.with_logarithms(start, &best))
}

/// Mean squared logarithm of simulated to measured figures.
fn distance(measured: &MeasuredPoints, points: &[&Point], cost: StepCost) -> f64 {
    let squares: Vec<f64> = points
        .iter()
        .flat_map(|point| match Prediction::of(point, measured.config(), cost) {
            Some(prediction) => prediction.errors().map(|(_, error)| (1.0 + error).ln().powi(2)),
            None => [f64::INFINITY; 3],
        })
        .collect();
    squares.iter().sum::<f64>() / squares.len() as f64
}

fn print<'a>(predictions: impl IntoIterator<Item = &'a Prediction>, summary: &ErrorSummary) {
    println!("{:<16} {:<12} {:>10} {:>10} {:>8}", "point", "figure", "measured", "predicted", "error");
    for prediction in predictions {
        let figures = prediction.measured.named().into_iter().zip(prediction.predicted.named());
        for (((name, measured), (_, predicted)), (_, error)) in figures.zip(prediction.errors()) {
            println!("{:<16} {name:<12} {measured:>10.2} {predicted:>10.2} {:>7.1}%", prediction.point, error * 100.0);
        }
    }
    let ErrorSummary { errors, above, median, p90, sign_test_p } = *summary;
    println!(
        "median {:.1} %, 90th percentile {:.1} %, {above} of {errors} above (sign test p = {sign_test_p:.2})",
        median * 100.0,
        p90 * 100.0
    );
}
