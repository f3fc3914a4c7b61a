//! Fits the profiles: `H200` by running the simulator's engine, in virtual time, under the measured loads.
//!
//! `cargo run --release -p teebench-mock-vllm --example fit` prints a table and writes `fit/residuals-h200.json`:
//! the coefficients of all points together, which the profile takes over, and of each fold, which leaves one point
//! out and predicts it. The cost is the mean squared logarithm of simulated to measured; starting points and the
//! number of evaluations are fixed, so the same data give the same coefficients. `H100Nvl` follows from it and from
//! published ratios. `-- predict` fits nothing: it prints what the profile as it stands gives for every measured point,
//! those of a model among them that no fit has seen.

mod publication;
mod simplex;

use std::path::Path;

use anyhow::Context;
use teebench_mock_vllm::engine::EngineConfig;
use teebench_mock_vllm::fit::{Coefficients, ErrorSummary, Fold, MeasuredPoints, Point, Residuals};
use teebench_mock_vllm::profile::{ModelShape, ModelSize, Profile};

/// What the profile is fitted to.
const FITTED: (ModelSize, &str) = (ModelSize::B8, include_str!("data/h200-8b.json"));
/// What was measured of another model, which the profile predicts by its shape alone.
const UNSEEN: (ModelSize, &str) = (ModelSize::B1, include_str!("data/h200-1b.json"));

/// Evaluations of each of the two descents; the second starts anew from where the first ended.
const EVALUATIONS: usize = 250;

/// Where every fit starts: round figures of the right order.
const START: Coefficients = Coefficients {
    per_request_us: 9000.0,
    frontend_us: 2000.0,
    base_us: 4500.0,
    per_decode_sequence_us: 20.0,
    per_prefill_token_us: 22.0,
    per_kv_token_us: 0.015,
    launch_us: 18_000.0,
};

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("predict") {
        return [FITTED, UNSEEN].into_iter().try_for_each(|(size, data)| predict(size, data));
    }
    let (size, data) = FITTED;
    let residuals = residuals(size, data)?;
    print(&residuals);
    let (cost, confidential) = publication::solve(&residuals.coefficients)?;
    println!("H100Nvl: {cost:#?}\n{confidential:#?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fit/residuals-h200.json");
    let text = serde_json::to_string_pretty(&residuals)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints what the profile gives for every point of a model: for other sizes than the fitted one, scaled by their shape.
fn predict(size: ModelSize, data: &str) -> anyhow::Result<()> {
    let measured: MeasuredPoints = serde_json::from_str(data).context("the measurements do not read")?;
    let cost = Profile::H200.figures().of_model(size).step_cost(false);
    println!("profile H200, {size:?}");
    let mut errors = Vec::new();
    for point in &measured.points {
        let predicted = point.simulated(measured.config(), cost).context("the engine does not take a point")?;
        for ((name, measured), (_, predicted)) in point.measured().named().into_iter().zip(predicted.named()) {
            let error = predicted / measured - 1.0;
            println!("{:<16} {name:<12} {measured:>10.2} {predicted:>10.2} {:>7.1}%", point.name(), error * 100.0);
            errors.push(error);
        }
    }
    print_summary(&ErrorSummary::of(&errors));
    Ok(())
}

/// The fit to all points, and each point predicted by the others.
fn residuals(size: ModelSize, data: &str) -> anyhow::Result<Residuals> {
    let measured: MeasuredPoints = serde_json::from_str(data).context("the measurements do not read")?;
    let (config, shape) = (measured.config(), size.shape());
    let points: Vec<&Point> = measured.points.iter().collect();
    let mut folds = Vec::new();
    for left_out in 0..points.len() {
        let mut others = points.clone();
        let point = others.remove(left_out);
        let coefficients = fit(config, &shape, &others);
        folds.push(Fold::predict(point, coefficients, config, &shape).context("the engine does not take a point")?);
    }
    let errors: Vec<f64> = folds.iter().flat_map(Fold::errors).map(|(_, error)| error).collect();
    Ok(Residuals {
        source: measured.source.clone(),
        coefficients: fit(config, &shape, &points),
        folds,
        summary: ErrorSummary::of(&errors),
    })
}

/// The coefficients that meet `points` best.
fn fit(config: EngineConfig, shape: &ModelShape, points: &[&Point]) -> Coefficients {
    let cost = |logarithms: &[f64]| distance(config, shape, points, &from_logarithms(logarithms));
    let (first, _) = simplex::minimise(&to_logarithms(&START), 0.3, EVALUATIONS, cost);
    let (best, _) = simplex::minimise(&first, 0.1, EVALUATIONS, cost);
    rounded(from_logarithms(&best))
}

/// Mean squared logarithm of simulated to measured figures.
fn distance(config: EngineConfig, shape: &ModelShape, points: &[&Point], coefficients: &Coefficients) -> f64 {
    let squares: Vec<f64> = points
        .iter()
        .flat_map(|point| match Fold::predict(point, *coefficients, config, shape) {
            Some(fold) => fold.errors().map(|(_, error)| (1.0 + error).ln().powi(2)),
            None => [f64::INFINITY; 3],
        })
        .collect();
    squares.iter().sum::<f64>() / squares.len() as f64
}

/// Coefficients are positive, so they are varied by factors.
fn to_logarithms(coefficients: &Coefficients) -> Vec<f64> {
    let Coefficients {
        per_request_us,
        frontend_us,
        base_us,
        per_decode_sequence_us,
        per_prefill_token_us,
        per_kv_token_us,
        launch_us,
    } = *coefficients;
    [per_request_us, frontend_us, base_us, per_decode_sequence_us, per_prefill_token_us, per_kv_token_us, launch_us]
        .map(f64::ln)
        .to_vec()
}

fn from_logarithms(logarithms: &[f64]) -> Coefficients {
    let value = |index: usize| logarithms[index].exp();
    Coefficients {
        per_request_us: value(0),
        frontend_us: value(1),
        base_us: value(2),
        per_decode_sequence_us: value(3),
        per_prefill_token_us: value(4),
        per_kv_token_us: value(5),
        launch_us: value(6),
    }
}

/// Four significant digits: more than the data tell.
fn rounded(coefficients: Coefficients) -> Coefficients {
    let round = |value: f64| {
        let scale = 10_f64.powi(3 - value.log10().floor() as i32);
        (value * scale).round() / scale
    };
    let Coefficients {
        per_request_us,
        frontend_us,
        base_us,
        per_decode_sequence_us,
        per_prefill_token_us,
        per_kv_token_us,
        launch_us,
    } = coefficients;
    Coefficients {
        per_request_us: round(per_request_us),
        frontend_us: round(frontend_us),
        base_us: round(base_us),
        per_decode_sequence_us: round(per_decode_sequence_us),
        per_prefill_token_us: round(per_prefill_token_us),
        per_kv_token_us: round(per_kv_token_us),
        launch_us: round(launch_us),
    }
}

fn print(residuals: &Residuals) {
    println!("{:<16} {:<12} {:>10} {:>10} {:>8}", "left out", "figure", "measured", "predicted", "error");
    for fold in &residuals.folds {
        let figures = fold.measured.named().into_iter().zip(fold.predicted.named()).zip(fold.errors());
        for (((name, measured), (_, predicted)), (_, error)) in figures {
            println!("{:<16} {name:<12} {measured:>10.2} {predicted:>10.2} {:>7.1}%", fold.left_out, error * 100.0);
        }
    }
    print_summary(&residuals.summary);
    println!("{:#?}", residuals.coefficients);
}

fn print_summary(summary: &ErrorSummary) {
    let ErrorSummary { errors, above, median, p90, sign_test_p } = *summary;
    println!(
        "median {:.1} %, 90th percentile {:.1} %, {above} of {errors} above (sign test p = {sign_test_p:.2})",
        median * 100.0,
        p90 * 100.0
    );
}
