//! `H200`: an 8B Llama shape on one H200, fitted to measurements of vLLM 0.25.1.
//!
//! Data, method, residuals and the points left out are in `fit/` and in this crate's README; the example `fit` writes
//! the coefficients that stand here, and a test holds that they are the same. The GPU's come from an 8B model, the host's
//! from a 1B model, which alone keeps the host busy. Attention in a prefill follows from the shape. Of the base, what
//! reading the weights at 83 % of 4.8 TB/s does not explain is fixed; the cache is read at the same rate.
//!
//! Board: nvidia-smi at 1 Hz around the same runs, and NVML's answers at idle and under a full load.
//!
//! No confidential run on this GPU is available: its cost is that of [`super::h100_nvl`], whose mechanism it shares.

use std::time::Duration;

use super::{ProfileFigures, h100_nvl};
use crate::engine::{ApiServerCost, StepCost};
use crate::gpu::Board;

pub(super) const FIGURES: ProfileFigures = ProfileFigures {
    cost: StepCost {
        per_request_us: 7788.0,
        api_server: ApiServerCost {
            per_request_us: 870.7,
            per_prompt_token_us: 0.3443,
            per_output_token_us: 13.64,
            per_chunk_us: 41.83,
        },
        base_us: 4612.0,
        per_decode_sequence_us: 14.93,
        per_prefill_token_us: 23.29,
        per_kv_token_us: 0.032_41,
        prefill_tile_tokens: 37.06,
        launch_us: 14_400.0,
        schedule_us: 1013.0,
        schedule_per_sequence_us: 21.91,
        schedule_per_new_request_us: 556.8,
        confidential: None,
    },
    step_fixed_us: 900.0,
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
