//! `H200`: an 8B Llama shape on one H200, fitted to measurements of vLLM 0.25.1.
//!
//! Data: `vllm bench serve` against a real server (CUDA graphs, `max-num-seqs` 128, random prompts), reduced to
//! medians in `tests/data/h200-8b-medians.json`. Method: least squares on relative errors.
//! - Decode: TPOT at concurrency 1 and ITL at 4, 16 and 64 against (1, sequences, KV tokens read) gives `base_us`,
//!   `per_decode_sequence_us`, `per_kv_token_us`; residuals under 1.3 %.
//! - Prefill: TTFT at concurrency 1 for 128, 512, 2,048 and 8,192 tokens against (1, n, n^2 / 2); the constant less
//!   the base is `per_request_us`, the last coefficient is `per_kv_token_us / prefill_tile_tokens`. Residuals are
//!   6, -16, 8 and -1 %: the measured TTFT of the short prompts is not linear.
//! - Board: nvidia-smi at 1 Hz around the same runs, and NVML's answers at idle and under a full load.
//!
//! No confidential run on this GPU is available: its cost is that of [`super::h100_nvl`], whose mechanism it shares.

use std::time::Duration;

use super::{ProfileFigures, h100_nvl};
use crate::engine::StepCost;
use crate::gpu::Board;

pub(super) const FIGURES: ProfileFigures = ProfileFigures {
    cost: StepCost {
        per_request_us: 10_580.0,
        base_us: 4646.6,
        per_decode_sequence_us: 19.9,
        per_prefill_token_us: 24.1,
        per_kv_token_us: 0.012_97,
        prefill_tile_tokens: 21.6,
        confidential: None,
    },
    confidential: h100_nvl::CONFIDENTIAL,
    load_time: Duration::from_secs(30),
    num_gpu_blocks: 53_317,
    board: Board {
        name: "Simulated H200",
        vbios_version: "96.00.A5.00.1A",
        memory_total_mib: 143_771,
        idle_watts: 122.0,
        limit_watts: 700.0,
        decode_intensity: 0.64,
        intensity_saturation_tokens: 40.0,
        decode_memory_percent: 81.0,
        prefill_memory_percent: 28.0,
        ambient_celsius: 36.0,
        celsius_per_watt: 0.042,
        temperature_time_constant: Duration::from_millis(600),
        clock_graphics_mhz: 1980,
        clock_graphics_capped_mhz: 1455,
        clock_memory_mhz: 3201,
    },
    source: "fitted to vLLM 0.25.1 with an 8B Llama shape on one H200; confidential cost taken from H100Nvl",
};
