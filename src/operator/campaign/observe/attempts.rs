//! Attempts that are under way: running, ending, or ended without results.

use std::collections::BTreeSet;

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::{
    files::run::{Reason, ReasonCode},
    plan::{RunId, next::AttemptRef},
    run::BenchmarkRun,
};

use super::pods::{self, Trouble};
use crate::operator::labels;

/// An attempt whose results are not in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderWay {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// Its ordinal in the campaign.
    pub epoch: u64,
    /// How it is.
    pub state: State,
}

/// How an attempt under way is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Its load generator runs or is about to; what keeps it from running, if anything does.
    Running(Option<Trouble>),
    /// It was told to end, or its results are there, and its process is not gone yet.
    Ending,
    /// It ended and left no results, for this reason.
    Lost(Reason),
}

/// The attempts that are under way, given those whose results are in the store.
#[must_use]
pub fn under_way<'a>(
    runs: impl Iterator<Item = &'a BenchmarkRun>,
    jobs: &[&'a Job],
    pods: &[&'a Pod],
    committed: &BTreeSet<u64>,
) -> Vec<UnderWay> {
    let mut found = Vec::new();
    for run in runs {
        let name = run.name_any();
        let job = jobs.iter().find(|job| job.name_any() == name).copied();
        let epoch = u64::try_from(run.spec.epoch).unwrap_or(0);
        let state = match job {
            Some(job) if committed.contains(&epoch) => {
                if ended(job).is_some() {
                    continue;
                }
                State::Ending
            }
            None if committed.contains(&epoch) || !has_begun(run) => continue,
            None => State::Lost(broken_off(run).unwrap_or_else(|| stopped("its Job was deleted"))),
            Some(job) => of_job(run, job, &pods_of(pods, epoch)),
        };
        found.push(UnderWay { attempt: attempt_of(run), epoch, state });
    }
    found
}

/// Which attempt a BenchmarkRun is.
#[must_use]
pub fn attempt_of(run: &BenchmarkRun) -> AttemptRef {
    let spec = &run.spec;
    AttemptRef {
        run: RunId {
            experiment: spec.experiment.clone(),
            condition: spec.condition.clone(),
            arm: spec.arm.clone(),
            router: spec.router.clone(),
            repetition: spec.repetition,
        },
        attempt: spec.attempt,
    }
}

/// Why an attempt was told to end, if it was.
#[must_use]
pub fn broken_off(run: &BenchmarkRun) -> Option<Reason> {
    serde_json::from_str(run.annotations().get(labels::BROKEN_OFF)?).ok()
}

/// Whether an attempt's inputs were frozen and its Job created; from then on it does not begin again.
pub fn has_begun(run: &BenchmarkRun) -> bool {
    run.annotations().contains_key(labels::BEGUN)
}

fn of_job(run: &BenchmarkRun, job: &Job, pods: &[&Pod]) -> State {
    if job.metadata.deletion_timestamp.is_some() {
        return State::Ending;
    }
    let trouble = pods.iter().find_map(|pod| pods::trouble(pod, &[]));
    match ended(job) {
        None if broken_off(run).is_some() => State::Ending,
        None => State::Running(trouble),
        Some(_) if broken_off(run).is_some() => {
            State::Lost(broken_off(run).unwrap_or_else(|| stopped("it was told to end")))
        }
        Some(End::Complete) => State::Lost(Reason {
            code: ReasonCode::Storage,
            message: "the load generator ended well, and its results did not arrive in the store".into(),
        }),
        Some(End::Deadline) => State::Lost(Reason {
            code: ReasonCode::DeadlineExceeded,
            message: match trouble {
                Some(trouble) => format!("not done within the run's deadline: {}", trouble.message),
                None => "not done within the run's deadline".into(),
            },
        }),
        Some(End::Failed(message)) => State::Lost(match trouble {
            Some(trouble) if trouble.from_outside => stopped(&trouble.message),
            Some(trouble) => Reason { code: ReasonCode::LoadFailed, message: trouble.message },
            None => Reason { code: ReasonCode::LoadFailed, message },
        }),
    }
}

fn stopped(message: &str) -> Reason {
    Reason { code: ReasonCode::Stopped, message: message.to_owned() }
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Complete,
    /// It took too long.
    Deadline,
    /// Otherwise; what the Job says.
    Failed(String),
}

/// How a Job ended, if it did.
#[must_use]
pub fn ended(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |type_: &str| conditions.iter().find(|found| found.type_ == type_ && found.status == "True");
    if holds("Complete").is_some() {
        return Some(End::Complete);
    }
    let failed = holds("Failed")?;
    if failed.reason.as_deref() == Some("DeadlineExceeded") {
        return Some(End::Deadline);
    }
    Some(End::Failed(failed.message.clone().unwrap_or_else(|| "the load generator's Job failed".into())))
}

fn pods_of<'a>(pods: &[&'a Pod], epoch: u64) -> Vec<&'a Pod> {
    let epoch = epoch.to_string();
    pods.iter().copied().filter(|pod| pod.labels().get(labels::EPOCH) == Some(&epoch)).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn run(annotations: &Value) -> BenchmarkRun {
        serde_json::from_value(json!({
            "apiVersion": "teebench.dev/v1alpha1", "kind": "BenchmarkRun",
            "metadata": {"name": "c-r7", "annotations": annotations},
            "spec": {"campaign": "c", "planSha256": "0".repeat(64), "experiment": "e", "condition": "x", "arm": "on",
                     "tee": "Enabled", "router": "direct", "repetition": 1, "attempt": 2, "epoch": 7, "block": 0,
                     "boot": 0, "seed": "1", "simulated": true},
        }))
        .expect("a run")
    }

    fn job(condition: &Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": "c-r7"}, "status": {"conditions": [condition]}}))
            .expect("a Job")
    }

    fn begun() -> Value {
        json!({(labels::BEGUN): "2026-01-01T00:00:00Z"})
    }

    fn told_to_end() -> Value {
        json!({(labels::BEGUN): "2026-01-01T00:00:00Z",
               (labels::BROKEN_OFF): r#"{"code": "ServerDied", "message": "a server died"}"#})
    }

    fn shown(state: Option<&State>) -> String {
        match state {
            None => "none".into(),
            Some(State::Running(None)) => "running".into(),
            Some(State::Running(Some(trouble))) => format!("running, {}", trouble.reason),
            Some(State::Ending) => "ending".into(),
            Some(State::Lost(reason)) => format!("{:?}", reason.code),
        }
    }

    #[rstest]
    #[case::planned_only(json!({}), None, false, "none")]
    #[case::committed_and_gone(begun(), None, true, "none")]
    #[case::committed_and_not_gone(begun(), Some(json!({"type": "Suspended", "status": "False"})), true, "ending")]
    #[case::running(begun(), Some(json!({"type": "Suspended", "status": "False"})), false, "running")]
    #[case::begun_but_not_noted(json!({}), Some(json!({"type": "Suspended", "status": "False"})), false, "running")]
    #[case::told_to_end(told_to_end(), Some(json!({"type": "Suspended", "status": "False"})), false, "ending")]
    #[case::ended_as_told(told_to_end(), None, false, "ServerDied")]
    #[case::failed_after_it_was_told(told_to_end(), Some(json!({"type": "Failed", "status": "True"})), false, "ServerDied")]
    #[case::deleted_by_someone(begun(), None, false, "Stopped")]
    #[case::without_results(begun(), Some(json!({"type": "Complete", "status": "True"})), false, "Storage")]
    #[case::too_long(begun(), Some(json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"})), false, "DeadlineExceeded")]
    #[case::failed(begun(), Some(json!({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"})), false, "LoadFailed")]
    fn an_attempt_is_where_its_objects_say(
        #[case] annotations: Value,
        #[case] condition: Option<Value>,
        #[case] committed: bool,
        #[case] expected: &str,
    ) {
        let run = run(&annotations);
        let job = condition.as_ref().map(job);
        let committed = committed.then_some(7).into_iter().collect();

        let found = under_way([&run].into_iter(), &job.iter().collect::<Vec<_>>(), &[], &committed);

        assert_eq!(shown(found.first().map(|found| &found.state)), expected);
    }

    #[test]
    fn an_evicted_load_generator_costs_no_attempt() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "c-r7-0", "labels": {(labels::EPOCH): "7"}},
            "status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
        }))
        .expect("a pod");
        let run = run(&begun());
        let job = job(&json!({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}));

        let found = under_way([&run].into_iter(), &[&job], &[&pod], &BTreeSet::new());

        assert_eq!(shown(found.first().map(|found| &found.state)), "Stopped");
    }
}
