//! `H100Nvl`: an 8B model on one H100 NVL, solved from published ratios.
//!
//! Source: "Confidential AI: what's the catch?", Llama 3.1 8B on `Standard_NC40ads_H100_v5` against
//! `Standard_NCC40ads_H100_v5`: 132 tokens a second for one sequence; under confidential computing 6.9 % fewer, TTFT
//! 19 % longer, and about 15 % less throughput at saturation. The publication gives ratios, not the coefficients; how
//! they follow is in `fit/publication.rs`, and the test `figures_of_the_publication_come_out_of_the_mechanism` holds
//! all four. Loading under confidential computing is bound by encrypted copies; its factor is an assumption.

use std::time::Duration;

use super::ProfileFigures;
use crate::engine::{ApiServerCost, ConfidentialCost, StepCost};
use crate::gpu::Board;

/// Also the cost on other GPUs of this generation, for want of figures.
pub(super) const CONFIDENTIAL: ConfidentialCost = ConfidentialCost {
    per_request_us: 5013.0,
    per_step_us: 530.5,
    per_prefill_token_us: 0.5,
    per_output_token_us: 30.94,
    load_factor: 1.8,
};

pub(super) const FIGURES: ProfileFigures = ProfileFigures {
    cost: StepCost {
        per_request_us: 7788.0,
        api_server: ApiServerCost {
            per_request_us: 870.7,
            per_prompt_token_us: 0.3443,
            per_output_token_us: 13.64,
            per_chunk_us: 41.83,
        },
        base_us: 7538.0,
        per_decode_sequence_us: 14.93,
        per_prefill_token_us: 27.59,
        per_kv_token_us: 0.039_89,
        prefill_tile_tokens: 38.51,
        launch_us: 14_400.0,
        schedule_us: 1013.0,
        schedule_per_sequence_us: 21.91,
        schedule_per_new_request_us: 556.8,
        confidential: None,
    },
    step_fixed_us: 3010.0,
    confidential: CONFIDENTIAL,
    load_time: Duration::from_secs(40),
    num_gpu_blocks: 32_700,
    board: Board {
        name: "Simulated H100 NVL",
        vbios_version: "96.00.9F.00.04",
        memory_total_mib: 95_830,
        idle_watts: 60.0,
        limit_watts: 400.0,
        decode_intensity: 0.64,
        intensity_saturation_tokens: 40.0,
        decode_memory_percent: 81.0,
        prefill_memory_percent: 28.0,
        ambient_celsius: 34.0,
        celsius_per_watt: 0.09,
        temperature_time_constant: Duration::from_millis(900),
        clock_graphics_mhz: 1785,
        clock_graphics_capped_mhz: 1400,
        clock_memory_mhz: 2619,
    },
    source: "fitted to the published ratios of \"Confidential AI: what's the catch?\" for Llama 3.1 8B",
};
