//! Solves the profile `H100Nvl` from the published ratios, one unknown after the other.
//!
//! Source: "Confidential AI: what's the catch?", Llama 3.1 8B on one H100 NVL. What the publication does not give is
//! taken from the H200's fit, scaled by memory bandwidth and by arithmetic rate; launching and the API server run on
//! the host and stay as they are.

use anyhow::Context;
use teebench_mock_vllm::engine::{ConfidentialCost, Engine, EngineConfig, StepCost};
use teebench_mock_vllm::fit::{Coefficients, closed_loop, steady_throughput};
use teebench_mock_vllm::profile::ModelSize;

/// Memory bandwidth of an H200 over that of an H100 NVL: 4.8 and 3.9 TB/s.
const BANDWIDTH_RATIO: f64 = 4.8 / 3.9;
/// Dense bfloat16 rate of an H200 over that of an H100 NVL: 989 and 835 Tflop/s.
const COMPUTE_RATIO: f64 = 989.0 / 835.0;

const TOKENS_PER_SECOND: f64 = 132.0;
const LOSS_OF_ONE_SEQUENCE: f64 = 0.069;
const GAIN_OF_TTFT: f64 = 0.19;
const LOSS_AT_SATURATION: f64 = 0.15;

/// Bytes of a token id on its way to the GPU weigh little beside the rest.
const PER_PREFILL_TOKEN_US: f64 = 0.5;

const CONFIG: EngineConfig = EngineConfig {
    max_num_seqs: 128,
    max_num_batched_tokens: 2048,
    max_model_len: 16_384,
    num_gpu_blocks: 32_700,
    enable_prefix_caching: true,
    enforce_eager: false,
};

/// The cost without confidential computing, and what it adds.
pub fn solve(h200: &Coefficients) -> anyhow::Result<(StepCost, ConfidentialCost)> {
    let shape = ModelSize::B8.shape();
    let mut cost = h200.step_cost(&shape);
    cost.per_kv_token_us *= BANDWIDTH_RATIO;
    cost.per_prefill_token_us *= COMPUTE_RATIO;
    cost.prefill_tile_tokens = shape.prefill_tile_tokens(cost.per_kv_token_us, cost.per_prefill_token_us);
    let (_, gap_us) = one_sequence(cost)?;
    cost.base_us += 1e6 / TOKENS_PER_SECOND - gap_us;
    let (ttft_us, gap_us) = one_sequence(cost)?;

    let step_us = gap_us / (1.0 - LOSS_OF_ONE_SEQUENCE) - gap_us;
    let with = |per_output_token_us: f64| ConfidentialCost {
        per_request_us: 0.0,
        per_step_us: step_us - per_output_token_us,
        per_prefill_token_us: PER_PREFILL_TOKEN_US,
        per_output_token_us,
        load_factor: 1.0,
    };
    let saturated = throughput(cost)?;
    let (mut low, mut high) = (0.0, step_us);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        let loss = 1.0 - throughput(StepCost { confidential: Some(with(middle)), ..cost })? / saturated;
        if loss < LOSS_AT_SATURATION { low = middle } else { high = middle }
    }
    let mut confidential = with(low);
    let (ttft_on_us, _) = one_sequence(StepCost { confidential: Some(confidential), ..cost })?;
    confidential.per_request_us = ttft_us * (1.0 + GAIN_OF_TTFT) - ttft_on_us;
    Ok((cost, confidential))
}

/// Time to the first token after 512 tokens, and the mean gap of the 127 that follow, in microseconds.
fn one_sequence(cost: StepCost) -> anyhow::Result<(f64, f64)> {
    let served = closed_loop(Engine::new(CONFIG, cost)?, 1, 1, 512, 128)?;
    let ttft_ms = served[0].ttft_ms().context("the request had no token")?;
    Ok((ttft_ms * 1e3, served[0].itls_ms().sum::<f64>() * 1e3 / 127.0))
}

/// Output tokens a second in the middle of a closed loop of 128 requests of 512 tokens in and 128 out.
fn throughput(cost: StepCost) -> anyhow::Result<f64> {
    let served = closed_loop(Engine::new(CONFIG, cost)?, 128, 768, 512, 128)?;
    Ok(steady_throughput(&served))
}
