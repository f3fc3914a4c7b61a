//! What an attempt is doing, one JSON object a line, so that whoever started it can show it.

use serde::{Deserialize, Serialize};

/// A step of an attempt.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Prompts and arrival times are drawn.
    Preparing,
    /// Requests outside the window warm the servers up.
    WarmingUp,
    /// Caches and routers are emptied.
    Resetting,
    /// The machines give their evidence.
    TakingEvidence,
    /// The measured window.
    Load {
        /// Requests that ended.
        done: u64,
        /// Requests among them that failed.
        failed: u64,
        /// Requests in flight.
        in_flight: u64,
        /// Requests of the run.
        total: u64,
        /// Output tokens per second since the window's start.
        output_tokens_per_s: f64,
        /// Mean time to first token so far, in milliseconds; absent before the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttft_mean_ms: Option<f64>,
    },
    /// Samples, metrics and evidence are gathered.
    Collecting,
    /// The files go to the results service.
    Uploading,
}

impl Step {
    /// What people read.
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Preparing => "drawing prompts",
            Self::WarmingUp => "warming up",
            Self::Resetting => "emptying caches",
            Self::TakingEvidence => "taking evidence",
            Self::Load { .. } => "loading",
            Self::Collecting => "collecting",
            Self::Uploading => "uploading",
        }
    }

    /// What several load generators of one run do together: the load of all that send, else what the first does. `None`
    /// of none.
    pub fn together(steps: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut first = None;
        let (mut done, mut failed, mut in_flight, mut total, mut output_tokens_per_s) = (0, 0, 0, 0, 0.0);
        let mut ttfts_ms = Vec::new();
        let mut is_sent = false;
        for step in steps {
            let Self::Load {
                done: its_done,
                failed: its_failed,
                in_flight: its_in_flight,
                total: its_total,
                output_tokens_per_s: its_rate,
                ttft_mean_ms,
            } = step
            else {
                first.get_or_insert(step);
                continue;
            };
            is_sent = true;
            done += its_done;
            failed += its_failed;
            in_flight += its_in_flight;
            total += its_total;
            output_tokens_per_s += its_rate;
            ttfts_ms.extend(ttft_mean_ms);
        }
        if !is_sent {
            return first;
        }
        // Requests are dealt in turn, so the means weigh alike.
        let ttft_mean_ms = (!ttfts_ms.is_empty()).then(|| ttfts_ms.iter().sum::<f64>() / ttfts_ms.len() as f64);
        Some(Self::Load { done, failed, in_flight, total, output_tokens_per_s, ttft_mean_ms })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn load(done: u64, in_flight: u64, total: u64, output_tokens_per_s: f64, ttft_mean_ms: Option<f64>) -> Step {
        Step::Load { done, failed: 0, in_flight, total, output_tokens_per_s, ttft_mean_ms }
    }

    fn share(done: u64, ttft_mean_ms: Option<f64>) -> Step {
        load(done, 1, 8, 2.5, ttft_mean_ms)
    }

    #[rstest]
    #[case::none(vec![], None)]
    #[case::one_alone(vec![share(3, None)], Some(share(3, None)))]
    #[case::nobody_sends(vec![Step::Resetting, Step::Preparing], Some(Step::Resetting))]
    #[case::one_has_not_begun(vec![Step::Preparing, share(3, None)], Some(share(3, None)))]
    #[case::all_send(
        vec![share(8, Some(10.0)), share(7, Some(20.0)), share(6, Some(60.0))],
        Some(load(21, 3, 24, 7.5, Some(30.0)))
    )]
    fn several_load_generators_are_told_as_one(#[case] said: Vec<Step>, #[case] told: Option<Step>) {
        assert_eq!(Step::together(said), told);
    }

    #[test]
    fn a_step_is_one_line_that_reads_back() {
        let step = Step::Load {
            done: 1,
            failed: 0,
            in_flight: 2,
            total: 9,
            output_tokens_per_s: 1.5,
            ttft_mean_ms: Some(20.5),
        };
        let line = serde_json::to_string(&step).unwrap();

        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Step>(&line).unwrap(), step);
    }
}
