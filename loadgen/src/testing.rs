//! Records made by hand for unit tests.

use crate::record::RequestRecord;

/// A success that began at `start_s` without lateness; no usage, so that tokens are chunks.
pub(crate) fn success(start_s: f64, ttft_s: f64, itls_s: &[f64], latency_s: f64) -> RequestRecord {
    RequestRecord {
        index: 0,
        target: 0,
        expected_prompt_tokens: 1,
        usage: None,
        intended_s: start_s,
        start_s,
        queue_s: 0.0,
        lateness_s: 0.0,
        ttft_first_chunk_s: Some(ttft_s),
        ttft_s: Some(ttft_s),
        itls_s: itls_s.to_vec(),
        latency_s,
        end_s: start_s + latency_s,
        text: String::new(),
        error: None,
    }
}
