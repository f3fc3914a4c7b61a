//! The coefficients that a fit varies, as logarithms: all are positive, so they are varied by factors.

use teebench_mock_vllm::fit::{Coefficients, GpuCoefficients, HostCoefficients};

/// Which coefficients a fit varies.
#[derive(Clone, Copy, Debug)]
pub enum Variables {
    /// The GPU's, and what the host takes a request and a launch: the API server's other work does not show in those loads.
    OfFittedModel,
    /// The host's.
    OfHost,
}

impl Variables {
    fn select(self, coefficients: &mut Coefficients) -> Vec<&mut f64> {
        let Coefficients { gpu, host } = coefficients;
        let GpuCoefficients { base_us, per_decode_sequence_us, per_prefill_token_us } = gpu;
        let HostCoefficients {
            wait_per_request_us,
            launch_us,
            schedule_us,
            schedule_per_sequence_us,
            schedule_per_new_request_us,
            work_per_request_us,
            work_per_prompt_token_us,
            work_per_output_token_us,
            work_per_chunk_us,
        } = host;
        match self {
            Self::OfFittedModel => vec![
                wait_per_request_us,
                work_per_request_us,
                base_us,
                per_decode_sequence_us,
                per_prefill_token_us,
                launch_us,
            ],
            Self::OfHost => vec![
                wait_per_request_us,
                work_per_request_us,
                work_per_prompt_token_us,
                work_per_output_token_us,
                work_per_chunk_us,
                launch_us,
                schedule_us,
                schedule_per_sequence_us,
                schedule_per_new_request_us,
            ],
        }
    }

    /// Logarithms of what varies.
    pub fn logarithms(self, mut coefficients: Coefficients) -> Vec<f64> {
        self.select(&mut coefficients).into_iter().map(|value| value.ln()).collect()
    }

    /// `coefficients` with other values of what varies.
    pub fn with_logarithms(self, mut coefficients: Coefficients, logarithms: &[f64]) -> Coefficients {
        for (value, logarithm) in self.select(&mut coefficients).into_iter().zip(logarithms) {
            *value = logarithm.exp();
        }
        coefficients
    }

    /// `coefficients` with four significant digits of what varies: more than the data tell.
    pub fn rounded(self, mut coefficients: Coefficients) -> Coefficients {
        for value in self.select(&mut coefficients) {
            let scale = 10_f64.powi(3 - value.log10().floor() as i32);
            *value = (*value * scale).round() / scale;
        }
        coefficients
    }
}
