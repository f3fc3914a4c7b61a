//! The status of a campaign: its conditions, how far it is, what it cost, what was found.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use teebench_api::{
    campaign::{
        BenchmarkCampaignStatus, Tee,
        status::{ArmStatus, PlanStatus, Progress, Results, Spent},
    },
    conditions::{Condition, ConditionStatus, found, reasons, types},
    files::{evidence::EvidenceLevel, run::ReasonCode},
    plan::{
        Estimate, Plan,
        next::{Limits, Outcome, Tally, tally},
    },
};

use super::{
    observe::{attempts::State, pods, servers::open_arms},
    step::{Active, Phase},
    world::{Moment, Stored, World},
};
use crate::{executor::Parity, operator::labels, preflight::Preflight};

/// What a status is made of.
pub struct Told<'a> {
    /// What was looked at.
    pub world: &'a World,
    /// What was made of it.
    pub phase: &'a Phase,
    /// What the store has after what was done.
    pub stored: Option<&'a Stored>,
    /// What was published, now or before.
    pub results: Option<Results>,
    /// What stopped the controller and does not mend itself.
    pub stalled: Option<&'a str>,
}

/// The status of a campaign.
#[must_use]
pub fn campaign_status(told: &Told<'_>) -> BenchmarkCampaignStatus {
    let Told { world, phase, stored, results, stalled: _ } = told;
    let previous = world.campaign.status.clone().unwrap_or_default();
    let observed_generation = world.campaign.metadata.generation;
    let conditions = conditions(told, &previous.conditions, (observed_generation, world.now));
    let active = match phase {
        Phase::Refused(_) => return BenchmarkCampaignStatus { observed_generation, conditions, ..previous },
        Phase::Active(active) | Phase::Ended { active, .. } => active,
    };
    let mut progress = progress(world, active, *stored);
    let mut spent = spent(world, active, *stored);
    // Money and time run on at every look; they are written when a run begins or ends, and with everything else.
    if let Some(before) = &previous.progress
        && before.summary == progress.summary
        && before.current_run == progress.current_run
        && !matches!(phase, Phase::Ended { .. })
    {
        progress.estimated_completion_time.clone_from(&before.estimated_completion_time);
        spent = previous.spent.clone().or(spent);
    }
    let ended_at = matches!(phase, Phase::Ended { .. }).then(|| whole_seconds(world.now));
    let started = stored.and_then(|stored| stored.ledger.first()).map(|entry| whole_seconds(entry.at));
    BenchmarkCampaignStatus {
        observed_generation,
        conditions,
        plan: Some(PlanStatus {
            digest: active.plan_sha256.clone(),
            blocks: count(active.plan.blocks.len()),
            runs: count(active.plan.run_count()),
        }),
        progress: Some(progress),
        spent,
        arms: active
            .plan
            .spec
            .arms
            .iter()
            .map(|arm| arm_status(world, *stored, active.parity.as_ref(), &arm.name, &previous))
            .collect(),
        results: results.clone(),
        start_time: previous.start_time.or(started),
        completion_time: ended_at.map(|now| previous.completion_time.unwrap_or(now)),
    }
}

/// How a campaign's runs stand, in numbers.
#[must_use]
pub fn tally_of(world: &World, stored: &Stored) -> Tally {
    let moment = Moment { now: world.now, limits: Limits::of(&world.campaign.spec), servers: None, running: None };
    tally(&stored.plan, &stored.decisions, &stored.observed(moment))
}

fn progress(world: &World, active: &Active, stored: Option<&Stored>) -> Progress {
    let total = active.plan.run_count();
    let tally = stored.map_or(Tally { total, ..Tally::default() }, |stored| tally_of(world, stored));
    let done = tally.valid + tally.inconclusive + tally.failed;
    let running =
        active.under_way.iter().find(|under_way| matches!(under_way.state, State::Running(_) | State::Ending));
    Progress {
        summary: format!("{done}/{}", tally.total),
        valid: count(tally.valid),
        inconclusive: count(tally.inconclusive),
        failed: count(tally.failed),
        total: count(tally.total),
        current_run: running
            .map(|running| running.attempt.run.attempt_path(running.attempt.attempt).chars().take(253).collect()),
        estimated_completion_time: stored
            .and_then(|stored| estimated_end(world.now, stored, tally.total.saturating_sub(done))),
    }
}

/// When the runs that are left will have ended, each taking what a run took so far, boots between them included.
fn estimated_end(now: Timestamp, stored: &Stored, left: usize) -> Option<String> {
    let started = stored.ledger.first()?.at;
    let ended = i64::try_from(stored.attempts.len()).ok().filter(|count| *count > 0)?;
    let each_ms = (now.as_millisecond() - started.as_millisecond()) / ended;
    let left = i64::try_from(left).ok().filter(|left| *left > 0)?;
    let end = now.checked_add(SignedDuration::from_millis(each_ms.saturating_mul(left))).ok()?;
    // Whole minutes: the status shall not change with every look.
    Timestamp::from_second(end.as_second() / 60 * 60).ok().map(|end| end.to_string())
}

fn spent(world: &World, active: &Active, stored: Option<&Stored>) -> Option<Spent> {
    let amount = stored?.spent(world.now)?;
    let currency = active.plan.spec.arms.iter().find_map(|arm| arm.price.as_ref())?.currency.clone();
    Some(Spent { amount: amount.round_dp(2).to_string(), currency })
}

fn arm_status(
    world: &World,
    stored: Option<&Stored>,
    parity: Option<&Parity>,
    arm: &str,
    previous: &BenchmarkCampaignStatus,
) -> ArmStatus {
    let present = stored.map(|stored| open_arms(&stored.ledger)).unwrap_or_default();
    let present = present.iter().find(|open| open.arm == arm);
    let before = previous.arms.iter().find(|known| known.name == arm);
    let machines = present.map(|open| {
        let pods = world.children.pods.iter().filter(|pod| open.has(pod) && pod.labels().contains_key(labels::ARM));
        let nodes: BTreeSet<&str> = pods.filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
        count(nodes.len())
    });
    let levels = stored.into_iter().flat_map(|stored| &stored.attempts);
    let levels = levels.filter(|ended| ended.outcome.id.run.arm == arm).filter_map(|ended| ended.evidence);
    ArmStatus {
        name: arm.to_owned(),
        machines: machines.or_else(|| before.map(|before| before.machines)).unwrap_or(0),
        evidence: levels.min(),
        parity: match parity {
            Some(parity) if parity.broken.is_empty() => None,
            Some(parity) => Some(parity.broken.join("; ").chars().take(1024).collect()),
            None => before.and_then(|before| before.parity.clone()),
        },
    }
}

fn conditions(told: &Told<'_>, previous: &[Condition], at: (Option<i64>, Timestamp)) -> Vec<Condition> {
    use ConditionStatus::{False, True, Unknown};
    let Told { world, phase, stored, results, stalled } = told;
    let set = |type_, status, reason: &str, message: &str| found(previous, type_, status, reason, message, at);
    let (plan, preflight) = match phase {
        Phase::Refused(refusal) => {
            let not_accepted = "the campaign was not accepted";
            return vec![
                set(types::ACCEPTED, False, refusal.reason, &refusal.message),
                set(types::PREFLIGHT_PASSED, Unknown, reasons::NOT_ACCEPTED, not_accepted),
                set(types::ATTESTATION_VERIFIED, Unknown, reasons::NOT_ACCEPTED, not_accepted),
                set(types::RESULTS_PUBLISHED, False, reasons::NOT_ACCEPTED, not_accepted),
                set(types::SUCCEEDED, Unknown, reasons::NOT_ACCEPTED, &refusal.message),
                set(types::STALLED, True, reasons::NOT_ACCEPTED, &refusal.message),
                set(types::READY, False, reasons::NOT_ACCEPTED, &refusal.message),
            ];
        }
        Phase::Active(active) | Phase::Ended { active, .. } => (&active.plan, &active.preflight),
    };
    let accepted = accepted(plan);
    let told_by_kubelets = untold(world);
    let preflight = told_by_kubelets.as_ref().unwrap_or(preflight);
    let (preflight_status, preflight_reason, preflight_message) = match preflight {
        Preflight::Passed(message) => (True, reasons::FOUND, message.as_str()),
        Preflight::NotChecked => (Unknown, reasons::NOT_CHECKED, "the operator may not read nodes"),
        Preflight::Missing { reason, message } => (False, *reason, message.as_str()),
    };
    let (evidence_status, evidence_reason, evidence_message) = evidence(plan, *stored);
    let published = results.as_ref().and_then(|results| results.config_map_ref.as_deref());
    let (succeeded, reason, message) = succeeded(world, phase);
    let (stall, stall_reason, stall_message) = match (stalled, preflight) {
        (Some(message), _) => (True, reasons::FAILED, *message),
        (None, Preflight::Missing { reason, message }) => (True, *reason, message.as_str()),
        (None, _) => (False, reasons::PROGRESSING, "nothing holds it up"),
    };
    let ready = if succeeded == True { True } else { False };
    vec![
        set(types::ACCEPTED, True, reasons::PLANNED, &accepted),
        set(types::PREFLIGHT_PASSED, preflight_status, preflight_reason, preflight_message),
        set(types::ATTESTATION_VERIFIED, evidence_status, evidence_reason, &evidence_message),
        match published {
            Some(name) => set(
                types::RESULTS_PUBLISHED,
                True,
                reasons::PUBLISHED,
                &format!("in ConfigMap {name} and in the store"),
            ),
            None => set(types::RESULTS_PUBLISHED, False, reasons::NOT_YET, "the campaign has not ended"),
        },
        set(types::SUCCEEDED, succeeded, &reason, &message),
        set(types::STALLED, stall, stall_reason, stall_message),
        set(types::READY, ready, &reason, &message),
    ]
}

/// What was planned, in a sentence: how much, how long, for how much.
fn accepted(plan: &Plan) -> String {
    let mut said = format!("{} runs in {} blocks and {} boots", plan.run_count(), plan.blocks.len(), plan.boots.len());
    let Estimate { duration_seconds, cost, currency } = &plan.estimate;
    let minutes = |seconds: u64| seconds.div_ceil(60);
    said += &format!(", {} to {} minutes", minutes(duration_seconds.minimum), minutes(duration_seconds.maximum));
    if let (Some(cost), Some(currency)) = (cost, currency) {
        said += &format!(", {} to {} {currency}", cost.minimum.round_dp(2), cost.maximum.round_dp(2));
    }
    said
}

/// What only a kubelet can tell, and does when it starts a pod: images and the keys of Secrets, which nobody here reads.
fn untold(world: &World) -> Option<Preflight> {
    world.children.pods.iter().filter_map(|pod| pods::trouble(pod, &[])).find_map(|trouble| {
        let reason = match trouble.reason.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => "NoImage",
            "CreateContainerConfigError" => "NoSecretKey",
            _ => return None,
        };
        Some(Preflight::Missing { reason, message: trouble.message })
    })
}

/// How the campaign stands: unknown while it goes on.
fn succeeded(world: &World, phase: &Phase) -> (ConditionStatus, String, String) {
    match phase {
        Phase::Ended { outcome, message, .. } => {
            let status = if *outcome == Outcome::Completed { ConditionStatus::True } else { ConditionStatus::False };
            (status, outcome.name().to_owned(), message.clone())
        }
        Phase::Refused(refusal) => {
            (ConditionStatus::Unknown, reasons::NOT_ACCEPTED.to_owned(), refusal.message.clone())
        }
        Phase::Active(active) => {
            let (reason, message) = if world.campaign.spec.suspend {
                (reasons::SUSPENDED, "spec.suspend is true; set it to false to go on".to_owned())
            } else if let Some(queued) = &active.queued {
                (reasons::QUEUED, queued.clone())
            } else if let Some(trouble) = &active.trouble {
                (reasons::WAITING, trouble.clone())
            } else if let Some(under_way) = active.under_way.first() {
                (
                    reasons::PROGRESSING,
                    format!("executing {}", under_way.attempt.run.attempt_path(under_way.attempt.attempt)),
                )
            } else {
                (reasons::PROGRESSING, "starting servers".to_owned())
            };
            (ConditionStatus::Unknown, reason.to_owned(), message)
        }
    }
}

/// Whether evidence supports what the arms claim, by the attempts so far.
fn evidence(plan: &Plan, stored: Option<&Stored>) -> (ConditionStatus, &'static str, String) {
    let claiming: Vec<_> = plan.spec.arms.iter().filter(|arm| arm.tee != Tee::Undeclared).collect();
    if claiming.is_empty() {
        return (ConditionStatus::Unknown, reasons::NOTHING_CLAIMED, "no arm declares whether its TEE is on".into());
    }
    let attempts =
        || stored.into_iter().flat_map(|stored| &stored.attempts).map(|ended| (&ended.outcome, ended.evidence));
    let contradicted = attempts().find_map(|(outcome, _)| {
        let reason = outcome.reasons.iter().find(|reason| reason.code == ReasonCode::Evidence)?;
        Some(format!("{}: {}", outcome.id.run.attempt_path(outcome.id.attempt), reason.message))
    });
    if let Some(message) = contradicted {
        return (ConditionStatus::False, reasons::NOT_SUPPORTED, message);
    }
    let mut found: Vec<String> = Vec::new();
    for arm in claiming {
        let levels = attempts().filter(|(outcome, _)| outcome.id.run.arm == arm.name).filter_map(|(_, level)| level);
        let Some(weakest): Option<EvidenceLevel> = levels.min() else {
            return (ConditionStatus::Unknown, reasons::NOT_YET, format!("arm {} has no evidence yet", arm.name));
        };
        found.push(format!("{}: {weakest:?}", arm.name));
    }
    let simulated = if plan.simulated() { "simulated; " } else { "" };
    (ConditionStatus::True, reasons::SUPPORTED, format!("{simulated}{}", found.join(", ")))
}

fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
