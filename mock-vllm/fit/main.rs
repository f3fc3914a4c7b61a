//! Fits the profiles: `H200` by running the simulator's engine, in virtual time, under the measured loads.
//!
//! `cargo run --release -p teebench-mock-vllm --example fit` prints tables and writes `fit/residuals-h200.json`. What the
//! GPU computes is fitted to the 8B points; what the host does is fitted to the 1B points, since only a small model keeps
//! a host busy, with the GPU's costs being those of 8B scaled by the shape. The profile has both. What is judged are
//! points left out: each 8B point once, the 1B points in five folds. The cost is the mean squared logarithm of simulated
//! to measured; starting points and numbers of evaluations are fixed, so the same data give the same coefficients.
//! `H100Nvl` follows from them and from published ratios. `-- predict` fits nothing: it prints what the profile as it
//! stands gives for every measured point.

mod publication;
mod simplex;
mod variables;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, anyhow};
use teebench_mock_vllm::engine::StepCost;
use teebench_mock_vllm::fit::{
    Coefficients, CrossValidation, ErrorSummary, Fold, GpuCoefficients, HostCoefficients, MeasuredPoints, Point,
    Prediction, Residuals,
};
use teebench_mock_vllm::profile::{ModelSize, Profile};

use crate::variables::Variables;

/// What the GPU's costs are fitted to.
const FITTED: (ModelSize, &str) = (ModelSize::B8, include_str!("data/h200-8b.json"));
/// What the host's costs are fitted to.
const OTHER: (ModelSize, &str) = (ModelSize::B1, include_str!("data/h200-1b.json"));

/// Evaluations of each of the two descents; the second starts anew from where the first ended.
const EVALUATIONS: usize = 250;

/// Where every fit starts: round figures of the right order.
const START: Coefficients = Coefficients {
    gpu: GpuCoefficients { base_us: 4500.0, per_decode_sequence_us: 20.0, per_prefill_token_us: 22.0 },
    host: HostCoefficients {
        wait_per_request_us: 8000.0,
        launch_us: 15_000.0,
        schedule_us: 1000.0,
        schedule_per_sequence_us: 20.0,
        schedule_per_new_request_us: 500.0,
        work_per_request_us: 1500.0,
        work_per_prompt_token_us: 0.3,
        work_per_output_token_us: 10.0,
        work_per_chunk_us: 40.0,
    },
};

/// Where fits of the host start: as above, and with a cost of tokens and chunks that lies beyond the ridge between an API
/// server that keeps up with 64 streams and one that does not.
const HOST_STARTS: [HostCoefficients; 2] =
    [START.host, HostCoefficients { work_per_output_token_us: 22.0, work_per_chunk_us: 32.0, ..START.host }];

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("predict") {
        return [FITTED, OTHER].into_iter().try_for_each(|(size, data)| predict(size, data));
    }
    let residuals = residuals(&read(FITTED.1)?, &read(OTHER.1)?)?;
    for CrossValidation { source, folds, summary } in [&residuals.fitted, &residuals.other] {
        println!("{source}: each point left out of the fit once");
        print(folds.iter().flat_map(|fold| &fold.left_out), summary);
    }
    println!("H200: {:#?}", residuals.profile);
    let (cost, confidential) = publication::solve(&residuals.profile)?;
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
    print(&predictions, &ErrorSummary::of_predictions(&predictions));
    Ok(())
}

fn predictions(measured: &MeasuredPoints, points: &[&Point], cost: StepCost) -> anyhow::Result<Vec<Prediction>> {
    let predict = |point: &&Point| Prediction::of(point, measured.config(), cost);
    points.iter().map(|point| predict(point).context("the engine does not take a point")).collect()
}

/// All fits, and the points that each leaves out.
fn residuals(fitted: &MeasuredPoints, other: &MeasuredPoints) -> anyhow::Result<Residuals> {
    let gpu = fit(Variables::OfFittedModel, FITTED.0, fitted, &[], &[START]).gpu;
    let starts = HOST_STARTS.map(|host| Coefficients { gpu, host });
    let mut left_out: Vec<Vec<&Point>> = other.folds().into();
    // Nothing is left out of the profile's own fit, which takes the same way.
    left_out.push(Vec::new());
    let mut others = in_parallel(&left_out, |left_out| {
        let coefficients = fit(Variables::OfHost, OTHER.0, other, left_out, &starts);
        let left_out = predictions(other, left_out, coefficients.scaled_to(OTHER.0))?;
        Ok(Fold { coefficients, left_out })
    })?;
    let profile = others.pop().context("the profile's fit was the last")?.coefficients;
    let start = Coefficients { gpu: START.gpu, ..profile };
    let folds = in_parallel(&fitted.points, |point| {
        let coefficients = fit(Variables::OfFittedModel, FITTED.0, fitted, &[point], &[start]);
        let left_out = predictions(fitted, &[point], coefficients.scaled_to(FITTED.0))?;
        Ok(Fold { coefficients, left_out })
    })?;
    Ok(Residuals {
        profile,
        fitted: CrossValidation::of(fitted.source.clone(), folds),
        other: CrossValidation::of(other.source.clone(), others),
    })
}

/// The coefficients that meet the points not `left_out` best, those that do not vary being as in the start from which
/// they were reached. Each start ends in a minimum of its own; the points that were fitted choose between them.
fn fit(
    variables: Variables,
    size: ModelSize,
    measured: &MeasuredPoints,
    left_out: &[&Point],
    starts: &[Coefficients],
) -> Coefficients {
    let points: Vec<&Point> = measured.points.iter().filter(|point| !left_out.contains(point)).collect();
    let descend = |start: &Coefficients| {
        let cost = |logarithms: &[f64]| {
            distance(measured, &points, variables.with_logarithms(*start, logarithms).scaled_to(size))
        };
        let (first, _) = simplex::minimise(&variables.logarithms(*start), 0.3, EVALUATIONS, cost);
        let (best, distance) = simplex::minimise(&first, 0.1, EVALUATIONS, cost);
        (variables.rounded(variables.with_logarithms(*start, &best)), distance)
    };
    let ends = starts.iter().map(descend);
    ends.min_by(|(_, left), (_, right)| left.total_cmp(right)).map_or(START, |(coefficients, _)| coefficients)
}

/// Does `work` for each item, on as many threads as the machine has cores, and returns the results in the items' order.
fn in_parallel<I: Sync, R: Send>(items: &[I], work: impl Fn(&I) -> anyhow::Result<R> + Sync) -> anyhow::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let indices = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        indices.map_while(|index| Some((index, work(items.get(index)?)))).collect::<Vec<_>>()
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut results = Vec::with_capacity(items.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores.min(items.len())).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            results.extend(worker.join().map_err(|_| anyhow!("a fit has panicked"))?);
        }
        anyhow::Ok(())
    })?;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
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
