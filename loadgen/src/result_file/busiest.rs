//! The busiest whole second by vLLM's count, kept with its quirks because files are compared under these names.
//!
//! Seconds are counted from the first start of a success. `max_output_tokens_per_s` counts *chunks*, not tokens;
//! `max_concurrent_requests` counts requests that *touch* a second, so that requests which follow each other within it
//! count together. The true figures are in `client.json`.

use crate::record::RequestRecord;

/// Counts of the busiest whole seconds, which need not be the same second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusiestSecond {
    /// Most chunks with output in a second (`max_output_tokens_per_s`).
    pub output_chunks: u64,
    /// Most requests that touch a second (`max_concurrent_requests`).
    pub touching_requests: u64,
}

/// Counts over succeeded requests.
pub(super) fn busiest_second(successes: &[&RequestRecord]) -> BusiestSecond {
    let Some(first_start_s) = successes.iter().map(|record| record.start_s).min_by(f64::total_cmp) else {
        return BusiestSecond::default();
    };
    let second_of = |instant_s: f64| (instant_s - first_start_s).max(0.0) as usize;
    let last = successes.iter().map(|record| second_of(last_instant_s(record))).max().unwrap_or(0);
    let mut chunks = vec![0_u64; last + 1];
    let mut touching = vec![0_u64; last + 1];
    for record in successes {
        if let Some(ttft_s) = record.ttft_s {
            // Summed gap by gap, as vLLM does: the rounding decides the second of a chunk on its edge.
            let mut instant_s = record.start_s + ttft_s;
            chunks[second_of(instant_s)] += 1;
            for itl_s in &record.itls_s {
                instant_s += itl_s;
                chunks[second_of(instant_s)] += 1;
            }
        }
        for count in &mut touching[second_of(record.start_s)..=second_of(record.start_s + record.latency_s)] {
            *count += 1;
        }
    }
    BusiestSecond {
        output_chunks: chunks.into_iter().max().unwrap_or(0),
        touching_requests: touching.into_iter().max().unwrap_or(0),
    }
}

fn last_instant_s(record: &RequestRecord) -> f64 {
    let last_chunk_s = record.itls_s.iter().fold(record.start_s + record.ttft_s.unwrap_or(0.0), |at, itl| at + itl);
    last_chunk_s.max(record.start_s + record.latency_s)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::success;

    #[rstest]
    #[case::one_after_the_other_in_a_second(&[(0.0, 0.2), (0.3, 0.2), (0.6, 0.2)], 3)]
    #[case::in_seconds_of_their_own(&[(0.0, 0.2), (1.3, 0.2), (2.6, 0.2)], 1)]
    #[case::a_long_one_touches_all(&[(0.0, 2.9), (1.3, 0.2), (2.6, 0.2)], 2)]
    fn requests_that_touch_a_second_count_together(#[case] spans: &[(f64, f64)], #[case] expected: u64) {
        let records: Vec<_> = spans.iter().map(|&(start_s, latency_s)| success(start_s, 0.1, &[], latency_s)).collect();
        assert_eq!(busiest_second(&records.iter().collect::<Vec<_>>()).touching_requests, expected);
    }

    #[test]
    fn chunks_are_counted_whatever_tokens_they_hold() {
        let mut record = success(10.0, 0.5, &[0.1, 0.1, 0.5], 1.2);
        record.usage = Some(crate::record::Usage { prompt_tokens: 8, completion_tokens: 400 });
        assert_eq!(busiest_second(&[&record]), BusiestSecond { output_chunks: 3, touching_requests: 1 });
    }
}
