//! What the fitted profiles give, against what they were fitted to and what they had not seen.

use std::collections::BTreeSet;

use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::{EngineConfig, StepCost};
use teebench_mock_vllm::fit::{
    CrossValidation, ErrorSummary, Fold, MeasuredPoints, Point, Prediction, Residuals, closed_loop, steady_throughput,
};
use teebench_mock_vllm::profile::ModelSize;

use crate::virtual_time::{LARGE, engine};

fn measured() -> MeasuredPoints {
    serde_json::from_str(include_str!("../../fit/data/h200-8b.json")).unwrap()
}

fn measured_other() -> MeasuredPoints {
    serde_json::from_str(include_str!("../../fit/data/h200-1b.json")).unwrap()
}

fn residuals() -> Residuals {
    serde_json::from_str(include_str!("../../fit/residuals-h200.json")).unwrap()
}

fn close(what: &str, left: f64, right: f64, tolerance: f64) {
    assert!((left / right - 1.0).abs() <= tolerance, "{what}: {left} against {right}");
}

#[test]
fn the_h200_profile_has_the_coefficients_of_the_fit_to_all_points() {
    let fitted = residuals().profile.step_cost(&ModelSize::B8.shape());
    let cost = Profile::H200.figures().cost;
    for (what, profile, fitted) in [
        ("per_request_us", cost.per_request_us, fitted.per_request_us),
        ("api_server.per_request_us", cost.api_server.per_request_us, fitted.api_server.per_request_us),
        ("api_server.per_prompt_token_us", cost.api_server.per_prompt_token_us, fitted.api_server.per_prompt_token_us),
        ("api_server.per_output_token_us", cost.api_server.per_output_token_us, fitted.api_server.per_output_token_us),
        ("api_server.per_chunk_us", cost.api_server.per_chunk_us, fitted.api_server.per_chunk_us),
        ("base_us", cost.base_us, fitted.base_us),
        ("per_decode_sequence_us", cost.per_decode_sequence_us, fitted.per_decode_sequence_us),
        ("per_prefill_token_us", cost.per_prefill_token_us, fitted.per_prefill_token_us),
        ("per_kv_token_us", cost.per_kv_token_us, fitted.per_kv_token_us),
        ("prefill_tile_tokens", cost.prefill_tile_tokens, fitted.prefill_tile_tokens),
        ("launch_us", cost.launch_us, fitted.launch_us),
        ("schedule_us", cost.schedule_us, fitted.schedule_us),
        ("schedule_per_sequence_us", cost.schedule_per_sequence_us, fitted.schedule_per_sequence_us),
        ("schedule_per_new_request_us", cost.schedule_per_new_request_us, fitted.schedule_per_new_request_us),
    ] {
        close(what, profile, fitted, 1e-3);
    }
}

/// Errors of a prediction, which the engine makes anew: so the file cannot say what the engine does not do.
fn errors_made_anew(measured: &MeasuredPoints, recorded: &Prediction, cost: StepCost) -> [f64; 3] {
    let point = measured.points.iter().find(|point| point.name() == recorded.point).unwrap();
    let again = Prediction::of(point, measured.config(), cost).unwrap();
    for ((figure, now), (_, then)) in again.predicted.named().into_iter().zip(recorded.predicted.named()) {
        close(&format!("{figure} of {}: run the example `fit` again", again.point), now, then, 1e-6);
    }
    again.errors().map(|(_, error)| error)
}

/// The bars that the simulator promises: a median error under 10 %, a 90th percentile under 25 %, no lean to one side.
fn within_the_bars(what: &str, errors: &[f64]) {
    let summary = ErrorSummary::of(errors);
    assert!(summary.median < 0.10 && summary.p90 < 0.25 && summary.sign_test_p > 0.05, "{what}: {summary:?}");
    for figure in 0..3 {
        let of_figure: Vec<f64> = errors.iter().skip(figure).step_by(3).copied().collect();
        let summary = ErrorSummary::of(&of_figure);
        assert!(summary.p90 < 0.25 && summary.sign_test_p > 0.05, "{what}, figure {figure}: {summary:?}");
    }
}

/// Errors of all points, each predicted anew by the fit of its fold.
fn errors_left_out(measured: &MeasuredPoints, recorded: &CrossValidation, size: ModelSize) -> Vec<f64> {
    let judged: Vec<&str> = recorded.folds.iter().flat_map(|fold| &fold.left_out).map(|p| p.point.as_str()).collect();
    let names: BTreeSet<String> = measured.points.iter().map(Point::name).collect();
    assert_eq!(judged.len(), names.len(), "a point is judged twice or never");
    assert_eq!(judged.into_iter().map(String::from).collect::<BTreeSet<_>>(), names);
    let errors_of = |fold: &Fold| {
        let cost = fold.coefficients.scaled_to(size);
        fold.left_out.iter().flat_map(|prediction| errors_made_anew(measured, prediction, cost)).collect::<Vec<_>>()
    };
    recorded.folds.iter().flat_map(errors_of).collect()
}

#[test]
fn each_point_is_predicted_within_the_bars_by_a_fit_that_has_not_seen_it() {
    let measured = measured();
    within_the_bars("8B", &errors_left_out(&measured, &residuals().fitted, ModelSize::B8));
}

/// The GPU's costs follow from another model's by its shape; the host's were fitted to the other folds. The bar of the
/// typical error is met; that of the 90th percentile, 25 %, is missed, and this holds that it is no worse.
#[test]
fn each_point_of_another_model_is_predicted_with_a_typical_error_within_its_bar_by_a_fit_that_has_not_seen_it() {
    let (measured, recorded) = (measured_other(), residuals().other);
    for (left_out, fold) in measured.folds().iter().zip(&recorded.folds) {
        let names: Vec<String> = left_out.iter().map(|point| point.name()).collect();
        let judged: Vec<String> = fold.left_out.iter().map(|prediction| prediction.point.clone()).collect();
        assert_eq!(judged, names, "the division into folds is the rule's, not the file's");
    }
    let summary = ErrorSummary::of(&errors_left_out(&measured, &recorded, ModelSize::B1));
    assert!(summary.median < 0.10 && summary.p90 < 0.30 && summary.sign_test_p > 0.05, "{summary:?}");
}

#[test]
fn a_fold_leaves_out_each_prompt_length_once_and_no_concurrency_twice() {
    for fold in measured_other().folds() {
        let concurrencies: BTreeSet<usize> = fold.iter().map(|point| point.concurrency).collect();
        let input_tokens: BTreeSet<usize> = fold.iter().map(|point| point.input_tokens).collect();
        assert_eq!((concurrencies.len(), input_tokens.len(), fold.len()), (4, 4, 4));
    }
}

/// Output tokens a second over the middle of a closed loop of 128 requests, where the batch is full.
fn saturated_throughput(confidential: bool) -> f64 {
    let config = EngineConfig { max_num_batched_tokens: 2048, num_gpu_blocks: 32_700, ..LARGE };
    let served = closed_loop(engine(config, Profile::H100Nvl, confidential), 128, 768, 512, 128).unwrap();
    steady_throughput(&served)
}

/// Time to the first token in milliseconds, and tokens a second.
fn one_sequence(confidential: bool) -> (f64, f64) {
    let served = closed_loop(engine(LARGE, Profile::H100Nvl, confidential), 1, 1, 512, 128).unwrap();
    (served[0].ttft_ms().unwrap(), 127.0 * 1e3 / served[0].itls_ms().sum::<f64>())
}

#[test]
fn figures_of_the_publication_come_out_of_the_mechanism() {
    let (ttft_off, rate_off) = one_sequence(false);
    let (ttft_on, rate_on) = one_sequence(true);
    let loss = 1.0 - saturated_throughput(true) / saturated_throughput(false);
    let figures = [
        ("tokens a second", rate_off, 132.0, 0.3),
        ("loss of tokens a second", 1.0 - rate_on / rate_off, 0.069, 0.002),
        ("gain of TTFT", ttft_on / ttft_off - 1.0, 0.19, 0.005),
        ("loss at saturation", loss, 0.15, 0.005),
    ];
    for (what, simulated, published, tolerance) in figures {
        assert!((simulated - published).abs() <= tolerance, "{what}: {simulated:.4} against {published}; {figures:?}");
    }
}
