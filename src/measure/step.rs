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
}

#[cfg(test)]
mod tests {
    use super::*;

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
