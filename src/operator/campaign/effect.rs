//! What one pass does to the world, in order: the writing half of a reconcile, as data.

use teebench_api::{
    files::run::Reason,
    plan::{
        Plan,
        next::{Decision, Outcome, Start},
    },
};

use super::observe::attempts::attempt_of;
use crate::{
    operator::{
        events::Happening,
        machines::queue::Claim,
        resources::{Prepared, Resources},
    },
    store::ledger::{Entry, Event},
};

/// One thing to do. All can be done again without harm: a pass that was cut off is repeated from its beginning.
#[derive(Debug)]
pub enum Effect {
    /// Take the machines that its servers may run on.
    TakeMachines(Claim),
    /// Give its machines back.
    GiveBackMachines,
    /// Keep the plan in the store; from then on the campaign runs on that copy.
    Begin(Box<Plan>),
    /// Append to the ledger of boots, durably.
    Record(Vec<Entry>),
    /// Append a decision, durably.
    Append(Decision),
    /// Create or update objects.
    Apply(Box<Resources<Prepared>>),
    /// Freeze an attempt's inputs and start its Job.
    Launch(Box<Resources<Prepared>>),
    /// Delete the servers of some arms, and the gateways before them.
    StopServers(Vec<SetNames>),
    /// Delete a download.
    DeleteDownload(String),
    /// Tell an attempt to end, for this reason.
    BreakOff {
        /// Name of its objects.
        name: String,
        /// Why.
        reason: Reason,
    },
    /// Commit an attempt that left no results.
    Commit {
        /// The attempt.
        start: Start,
        /// Why it left none.
        reason: Reason,
    },
    /// Publish what was measured.
    Publish {
        /// How the campaign ended.
        outcome: Outcome,
        /// A sentence for people.
        message: String,
    },
}

/// Names of what serves one arm at one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetNames {
    /// The StatefulSet and its Service.
    pub servers: String,
    /// The gateways' Deployment and its Service.
    pub gateways: String,
}

impl Effect {
    /// What people are told of it, once it is done.
    #[must_use]
    pub fn happening(&self) -> Option<Happening> {
        match self {
            Self::Begin(plan) => {
                Some(Happening::normal("Started", "Begin", format!("{} runs planned", plan.run_count())))
            }
            Self::Record(entries) => {
                let Entry { boot, generation, arm: _, event, at: _ } = entries.first()?;
                let arms: Vec<&str> = entries.iter().map(|entry| entry.arm.as_str()).collect();
                let arms = arms.join(" and ");
                let (reason, what) = match event {
                    Event::Started => ("ServersStarted", "start"),
                    Event::Ready => ("ServersReady", "serve"),
                    Event::Stopped => ("ServersStopped", "are gone"),
                };
                let note = format!("boot {boot}, start {generation}: servers of {arms} {what}");
                Some(Happening::normal(reason, format!("Boot{boot}Start{generation}"), note))
            }
            Self::Append(decision) => decision_happening(decision),
            Self::Launch(resources) => resources.runs.first().map(|run| {
                let path = attempt_of(run).run.attempt_path(run.spec.attempt);
                Happening::normal("RunStarted", format!("Launch{}", run.spec.epoch), path)
            }),
            Self::BreakOff { name, reason } => Some(Happening::warning(
                "RunBrokenOff",
                format!("BreakOff-{name}"),
                format!("{name}: {}", reason.message),
            )),
            Self::Commit { start, reason } => {
                let path = start.run.attempt_path(start.attempt);
                let note = format!("{path}: {}", reason.message);
                Some(Happening::warning("RunWithoutResults", format!("Commit{}", start.epoch), note))
            }
            Self::Publish { outcome, message } if *outcome == Outcome::Completed => {
                Some(Happening::normal("Completed", "Publish", message.clone()))
            }
            Self::Publish { outcome, message } => Some(Happening::warning(outcome.name(), "Publish", message.clone())),
            Self::TakeMachines(claim) => {
                let machines: Vec<&str> = claim.machines.iter().map(String::as_str).collect();
                Some(Happening::normal("MachinesTaken", "TakeMachines", machines.join(", ")))
            }
            Self::GiveBackMachines | Self::Apply(_) | Self::StopServers(_) | Self::DeleteDownload(_) => None,
        }
    }
}

fn decision_happening(decision: &Decision) -> Option<Happening> {
    match decision {
        Decision::BootFailed { boot, generation, reason } => Some(Happening::warning(
            "BootFailed",
            format!("Boot{boot}Start{generation}"),
            format!("boot {boot}, start {generation}: {reason}"),
        )),
        Decision::BootAbandoned { boot, attempts, reason } => Some(Happening::warning(
            "BootAbandoned",
            format!("Boot{boot}"),
            format!("boot {boot} failed {attempts} times: {reason}"),
        )),
        Decision::RepeatBlock { condition, repetition, .. } => Some(Happening::warning(
            "BlockRepeated",
            format!("Repeat{}-{repetition}", condition.condition),
            format!(
                "repetition {repetition} of {}/{} is repeated on new servers",
                condition.experiment, condition.condition
            ),
        )),
        Decision::Look { .. } | Decision::SaturationPoint { .. } | Decision::Saturated { .. } => None,
    }
}
