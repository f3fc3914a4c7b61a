//! What was decided after planning: the lines of `decisions.jsonl`.

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Names a condition, whatever its index.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct ConditionId {
    /// Name of the experiment.
    pub experiment: String,
    /// Slug of the condition.
    pub condition: String,
}

/// Something decided after planning. Plan and decisions give the effective plan and need nothing else.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "decision")]
pub enum Decision {
    /// Servers of a boot could not be had or did not last; that generation serves no further run.
    BootFailed {
        /// Index of the boot.
        boot: usize,
        /// Its generation.
        generation: u32,
        /// A sentence for people.
        reason: String,
    },
    /// A boot failed too often: its open runs end `Failed`, until a higher number of attempts is allowed.
    BootAbandoned {
        /// Index of the boot.
        boot: usize,
        /// The number of attempts that was allowed.
        attempts: u32,
        /// A sentence for people.
        reason: String,
    },
    /// Servers were started anew within a block: its earlier attempts no longer count, and all its runs are executed
    /// again.
    RepeatBlock {
        /// The condition.
        #[serde(flatten)]
        condition: ConditionId,
        /// Number of the repetition, from 1.
        repetition: u32,
        /// Attempts of this block up to this ordinal do not count.
        after_epoch: u64,
        /// The only arm this holds for, when only one arm's runs are executed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arm: Option<String>,
    },
    /// The interval of a condition was looked at, as `repetitions.until` says.
    Look {
        /// The condition.
        #[serde(flatten)]
        condition: ConditionId,
        /// Blocks that were done.
        blocks: u32,
        /// The widest half-width of a ratio's 95 % interval in permille; absent when it could not be computed.
        half_width_permille: Option<f64>,
        /// Repetitions that are planned from now on; equal to `blocks` when it is enough.
        repetitions: u32,
    },
    /// A saturation search goes on with another concurrency, for all arms and routers.
    SaturationPoint {
        /// The search's first point.
        #[serde(flatten)]
        condition: ConditionId,
        /// The concurrency to try.
        max_concurrency: u32,
    },
    /// A saturation search ended.
    Saturated {
        /// The search's first point.
        #[serde(flatten)]
        condition: ConditionId,
        /// The last concurrency that was tried.
        max_concurrency: u32,
        /// Whether every arm and router stopped gaining; if not, the search met its bound or lost its runs.
        bracketed: bool,
    },
}

/// The decisions of a campaign, as read from `decisions.jsonl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The decisions in order.
    pub decisions: Vec<Decision>,
    /// Bytes of the file that they fill. What follows is a line that a crash cut off, which nothing was done for yet:
    /// the file is to be cut there before the next line is appended.
    pub bytes: usize,
}

/// A decision log that does not belong to its plan.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A complete line is no decision.
    #[error("decisions.jsonl line {line}: not a decision; restore the file or start in an empty directory")]
    Malformed {
        /// Number of the line, from 1.
        line: usize,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A decision names what the plan does not have.
    #[error("decisions.jsonl line {line}: names {what}, which the plan does not have; it belongs to another plan")]
    Foreign {
        /// Number of the line, from 1.
        line: usize,
        /// What is named.
        what: String,
    },
}

impl Decision {
    /// The line of `decisions.jsonl`, newline included.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a decision has string keys and finite numbers");
        line.push('\n');
        line
    }

    /// The condition it is about, when it is about one.
    #[must_use]
    pub const fn condition(&self) -> Option<&ConditionId> {
        match self {
            Self::BootFailed { .. } | Self::BootAbandoned { .. } => None,
            Self::RepeatBlock { condition, .. }
            | Self::Look { condition, .. }
            | Self::SaturationPoint { condition, .. }
            | Self::Saturated { condition, .. } => Some(condition),
        }
    }
}

impl Log {
    /// Reads `decisions.jsonl` and checks it against its plan.
    ///
    /// # Errors
    /// A complete line that is no decision, or that names a condition or boot which the plan does not have.
    pub fn read(plan: &Plan, text: &[u8]) -> Result<Self, LogError> {
        let mut log = Self::default();
        let mut effective = plan.clone();
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        for (line, bytes) in (1..).zip(lines) {
            let decision: Decision =
                serde_json::from_slice(bytes).map_err(|source| LogError::Malformed { line, source })?;
            if let Some(what) = foreign(&effective, &decision) {
                return Err(LogError::Foreign { line, what });
            }
            super::effective::apply(&mut effective, &decision);
            log.decisions.push(decision);
            log.bytes += bytes.len();
        }
        Ok(log)
    }
}

fn foreign(plan: &Plan, decision: &Decision) -> Option<String> {
    match decision {
        Decision::BootFailed { boot, .. } | Decision::BootAbandoned { boot, .. } => {
            (*boot >= plan.boots.len()).then(|| format!("boot {boot}"))
        }
        Decision::RepeatBlock { condition, .. }
        | Decision::Look { condition, .. }
        | Decision::SaturationPoint { condition, .. }
        | Decision::Saturated { condition, .. } => plan
            .condition_index(condition)
            .is_none()
            .then(|| format!("condition {}/{}", condition.experiment, condition.condition)),
    }
}
