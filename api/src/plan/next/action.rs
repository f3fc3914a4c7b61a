//! What `next` asks of an executor.

use serde::{Deserialize, Serialize};

use super::Decision;
use crate::{files::run::Reason, plan::RunId};

/// One thing to do. An executor does the actions of one call in their order, then observes again and calls anew.
/// Doing an action that is already under way changes nothing.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Append a decision to `decisions.jsonl`, durably, before anything after it is done.
    Append(Decision),
    /// Start the servers of these arms; no others are there.
    #[serde(rename_all = "camelCase")]
    Boot {
        /// Index of the boot.
        boot: usize,
        /// How often servers were started for it, this time included.
        generation: u32,
        /// Arms to start.
        arms: Vec<String>,
    },
    /// Execute one attempt.
    Start(Start),
    /// Write an attempt that ends `Failed` without having been executed, since its servers could not be had.
    #[serde(rename_all = "camelCase")]
    Fail {
        /// What it would have been.
        attempt: Start,
        /// Why it failed.
        reason: Reason,
    },
    /// Stop the running attempt; it ends `Interrupted`, unless it ended before.
    Interrupt,
    /// Stop the servers of these arms.
    #[serde(rename_all = "camelCase")]
    StopServers {
        /// Index of the boot.
        boot: usize,
        /// Arms to stop.
        arms: Vec<String>,
    },
    /// Nothing to do before something changes.
    Wait,
    /// The campaign has ended. No server is there any more.
    Finish {
        /// How it ended.
        outcome: Outcome,
        /// A sentence for people.
        message: String,
    },
}

/// An attempt to execute.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Ordinal of the attempt in the campaign, from 1; greater than that of any attempt before.
    pub epoch: u64,
    /// Index of the block in the effective plan.
    pub block: usize,
    /// Index of the boot in the effective plan.
    pub boot: usize,
    /// Generation of that boot.
    pub boot_generation: u32,
}

/// How a campaign ended; the reason of its condition `Succeeded`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every condition has its minimum of blocks in which all runs are valid.
    Completed,
    /// Runs ended, but too few of them count.
    Inconclusive,
    /// More runs failed than the failure policy bears, or too few runs count because some failed.
    RunFailed,
    /// The deadline passed.
    DeadlineExceeded,
    /// The budget is spent, or does not pay for the next boot.
    BudgetExhausted,
    /// A person cancelled it.
    Cancelled,
}

impl Outcome {
    /// The name, as in the condition's reason.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Inconclusive => "Inconclusive",
            Self::RunFailed => "RunFailed",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::BudgetExhausted => "BudgetExhausted",
            Self::Cancelled => "Cancelled",
        }
    }
}
