//! What the fitted profiles give, against what they were fitted to and what they had not seen.

use teebench_mock_vllm::Profile;
use teebench_mock_vllm::engine::EngineConfig;
use teebench_mock_vllm::fit::{ErrorSummary, Fold, MeasuredPoints, Residuals, closed_loop, steady_throughput};
use teebench_mock_vllm::profile::ModelSize;

use crate::virtual_time::{LARGE, engine};

fn measured() -> MeasuredPoints {
    serde_json::from_str(include_str!("../../fit/data/h200-8b.json")).unwrap()
}

fn residuals() -> Residuals {
    serde_json::from_str(include_str!("../../fit/residuals-h200.json")).unwrap()
}

fn close(what: &str, left: f64, right: f64, tolerance: f64) {
    assert!((left / right - 1.0).abs() <= tolerance, "{what}: {left} against {right}");
}

#[test]
fn the_h200_profile_has_the_coefficients_of_the_fit() {
    let fitted = residuals().coefficients.step_cost(&ModelSize::B8.shape());
    let cost = Profile::H200.figures().cost;
    for (what, profile, fitted) in [
        ("per_request_us", cost.per_request_us, fitted.per_request_us),
        ("frontend_us", cost.frontend_us, fitted.frontend_us),
        ("base_us", cost.base_us, fitted.base_us),
        ("per_decode_sequence_us", cost.per_decode_sequence_us, fitted.per_decode_sequence_us),
        ("per_prefill_token_us", cost.per_prefill_token_us, fitted.per_prefill_token_us),
        ("per_kv_token_us", cost.per_kv_token_us, fitted.per_kv_token_us),
        ("prefill_tile_tokens", cost.prefill_tile_tokens, fitted.prefill_tile_tokens),
        ("launch_us", cost.launch_us, fitted.launch_us),
    ] {
        close(what, profile, fitted, 1e-3);
    }
}

/// The engine is run anew with the coefficients of each fold, so the file cannot say what the engine does not do.
#[test]
fn points_left_out_of_the_fit_are_predicted_within_the_bars() {
    let measured = measured();
    let recorded = residuals();
    assert_eq!(recorded.folds.len(), measured.points.len());
    let mut errors = Vec::new();
    for (point, fold) in measured.points.iter().zip(&recorded.folds) {
        let again = Fold::predict(point, fold.coefficients, measured.config(), &ModelSize::B8.shape()).unwrap();
        for ((figure, now), (_, then)) in again.predicted.named().into_iter().zip(fold.predicted.named()) {
            close(&format!("{} of {}: run the example `fit` again", figure, again.left_out), now, then, 1e-6);
        }
        errors.extend(again.errors().map(|(_, error)| error));
    }
    let summary = ErrorSummary::of(&errors);
    assert!(summary.median < 0.10 && summary.p90 < 0.25 && summary.sign_test_p > 0.05, "{summary:?}");
    for figure in 0..3 {
        let of_figure: Vec<f64> = errors.iter().skip(figure).step_by(3).copied().collect();
        let summary = ErrorSummary::of(&of_figure);
        assert!(summary.median < 0.10 && summary.sign_test_p > 0.05, "figure {figure}: {summary:?}");
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
