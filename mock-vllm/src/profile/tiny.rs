//! `Tiny`: a fictional model on a fictional GPU, for quick samples and tests.
//!
//! Fitted to nothing. The figures are chosen so that effects show within seconds: a prompt of 1,500 tokens takes about
//! 50 ms, a decoding step of four sequences about 3.5 ms, so that a server with `--max-num-seqs 4` and 128 output
//! tokens is saturated at about 6 requests a second, and its cache holds about 40 such prompts.

use std::time::Duration;

use super::ProfileFigures;
use crate::engine::{ApiServerCost, ConfidentialCost, StepCost};
use crate::gpu::Board;

pub(super) const FIGURES: ProfileFigures = ProfileFigures {
    cost: StepCost {
        per_request_us: 800.0,
        api_server: ApiServerCost::NONE,
        base_us: 2900.0,
        per_decode_sequence_us: 120.0,
        per_prefill_token_us: 30.0,
        per_kv_token_us: 0.02,
        prefill_tile_tokens: 20.0,
        launch_us: 0.0,
        schedule_us: 0.0,
        schedule_per_sequence_us: 0.0,
        schedule_per_new_request_us: 0.0,
        confidential: None,
    },
    step_fixed_us: 900.0,
    confidential: ConfidentialCost {
        per_request_us: 2500.0,
        per_step_us: 180.0,
        per_prefill_token_us: 1.5,
        per_output_token_us: 60.0,
        load_factor: 1.6,
    },
    load_time: Duration::from_millis(300),
    num_gpu_blocks: 4096,
    board: Board {
        name: "Simulated Tiny",
        vbios_version: "00.00.00.00.01",
        memory_total_mib: 16_384,
        idle_watts: 30.0,
        limit_watts: 200.0,
        decode_intensity: 0.6,
        intensity_saturation_tokens: 16.0,
        decode_memory_percent: 80.0,
        prefill_memory_percent: 30.0,
        ambient_celsius: 35.0,
        celsius_per_watt: 0.15,
        temperature_time_constant: Duration::from_secs(2),
        clock_graphics_mhz: 1500,
        clock_graphics_capped_mhz: 1200,
        clock_memory_mhz: 2000,
    },
    source: "fictional: fitted to nothing",
};
