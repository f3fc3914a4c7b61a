//! What keeps a pod from serving, in the pod's own words.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// Most characters of a foreign message that is passed on.
const MOST_MESSAGE: usize = 400;

/// Something is wrong with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The pod's own word for it, for instance `ImagePullBackOff`.
    pub reason: String,
    /// A sentence with the pod's name.
    pub message: String,
    /// Whether it lasts whatever happens: waiting would change nothing.
    pub fatal: bool,
    /// Whether it came from outside: an eviction or a drained node is no fault of what ran.
    pub from_outside: bool,
}

/// Waiting reasons that no wait mends.
const FATAL_WAITING: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];
/// Waiting reasons that are no trouble: the pod is on its way.
const HARMLESS_WAITING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What keeps a pod from serving; nothing while it is on its way or serves. `lasting` names the containers that may not
/// end: one that was restarted is another process.
#[must_use]
pub fn trouble(pod: &Pod, lasting: &[&str]) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    of_pod(name, status)
        .or_else(|| containers(status).find_map(|container| of_ended(name, container, lasting)))
        .or_else(|| containers(status).find_map(|container| of_waiting(name, container)))
        .or_else(|| of_scheduling(name, status))
}

/// Whether a pod is ready to serve.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|found| found.type_ == "Ready" && found.status == "True"))
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
}

fn of_pod(name: &str, status: &PodStatus) -> Option<Trouble> {
    let disrupted = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    if let Some(condition) = disrupted {
        let reason = condition.reason.clone().unwrap_or_else(|| "DisruptionTarget".into());
        let message = sentence(name, &reason, condition.message.as_deref());
        return Some(Trouble { reason, message, fatal: true, from_outside: true });
    }
    let reason = status.reason.clone()?;
    (status.phase.as_deref() == Some("Failed")).then(|| {
        let message = sentence(name, &reason, status.message.as_deref());
        Trouble { from_outside: reason == "Evicted" || reason == "NodeLost", reason, message, fatal: true }
    })
}

fn of_ended(name: &str, container: &ContainerStatus, lasting: &[&str]) -> Option<Trouble> {
    let must_last = lasting.contains(&container.name.as_str());
    let state = container.state.as_ref();
    let last = container.last_state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    let ended = match ended {
        Some(ended) if ended.exit_code != 0 || must_last => ended,
        _ if container.restart_count > 0 => last.and_then(|last| last.terminated.as_ref())?,
        _ => return None,
    };
    let reason = ended.reason.clone().unwrap_or_else(|| "Error".into());
    let how = match (reason.as_str(), ended.signal) {
        ("OOMKilled", _) => "was killed for using more memory than its limit".to_owned(),
        (_, Some(signal)) if signal > 0 => format!("ended by signal {signal}"),
        _ => format!("ended with exit code {}", ended.exit_code),
    };
    let detail = ended.message.as_deref().map(|message| format!(": {}", last_words(message))).unwrap_or_default();
    let message = format!("pod {name}: {reason}: container {} {how}{detail}", container.name);
    Some(Trouble { reason, message, fatal: must_last, from_outside: false })
}

fn of_waiting(name: &str, container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    if HARMLESS_WAITING.contains(&reason.as_str()) {
        return None;
    }
    let detail = waiting.message.as_deref().map(|message| format!(": {}", cut(message))).unwrap_or_default();
    let message = format!("pod {name}: {reason}: container {}{detail}", container.name);
    Some(Trouble { fatal: FATAL_WAITING.contains(&reason.as_str()), reason, message, from_outside: false })
}

fn of_scheduling(name: &str, status: &PodStatus) -> Option<Trouble> {
    let conditions = status.conditions.as_ref()?;
    let unscheduled = conditions.iter().find(|found| found.type_ == "PodScheduled" && found.status == "False")?;
    let reason = unscheduled.reason.clone()?;
    let message = sentence(name, &reason, unscheduled.message.as_deref());
    Some(Trouble { reason, message, fatal: false, from_outside: false })
}

fn sentence(name: &str, reason: &str, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("pod {name}: {reason}: {}", cut(detail)),
        None => format!("pod {name}: {reason}"),
    }
}

/// A message on one line, cut to a length that fits a condition.
fn cut(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST_MESSAGE {
        return line;
    }
    let kept: String = line.chars().take(MOST_MESSAGE).collect();
    format!("{kept} ...")
}

/// The end of what a container wrote, on one line: what it failed for stands there, after all that went well.
fn last_words(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let surplus = line.chars().count().saturating_sub(MOST_MESSAGE);
    if surplus == 0 {
        return line;
    }
    let kept: String = line.chars().skip(surplus).collect();
    format!("... {kept}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "s-0"}, "status": status})).expect("a pod")
    }

    fn container(name: &str, restarts: u32, state: &Value, last: &Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
               "lastState": last})
    }

    fn one(container: &Value) -> Value {
        json!({"phase": "Pending", "containerStatuses": [container]})
    }

    #[rstest]
    #[case::on_its_way(one(&container("vllm", 0, &json!({"waiting": {"reason": "ContainerCreating"}}), &json!({}))), None)]
    #[case::running(one(&container("vllm", 0, &json!({"running": {}}), &json!({}))), None)]
    #[case::image(
        one(&container("vllm", 0, &json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}), &json!({}))),
        Some(("ImagePullBackOff", false, "pod s-0: ImagePullBackOff: container vllm: no such image"))
    )]
    #[case::image_name(
        one(&container("vllm", 0, &json!({"waiting": {"reason": "InvalidImageName"}}), &json!({}))),
        Some(("InvalidImageName", true, "pod s-0: InvalidImageName: container vllm"))
    )]
    #[case::out_of_memory(
        one(&container("vllm", 0, &json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), &json!({}))),
        Some(("OOMKilled", true, "pod s-0: OOMKilled: container vllm was killed for using more memory than its limit"))
    )]
    #[case::restarted(
        one(&container("vllm", 1, &json!({"running": {}}), &json!({"terminated": {"reason": "Error", "exitCode": 3}}))),
        Some(("Error", true, "pod s-0: Error: container vllm ended with exit code 3"))
    )]
    #[case::crash_loop_says_why_it_crashes(
        one(&container("weights", 4, &json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            &json!({"terminated": {"reason": "Error", "exitCode": 1, "message": "401: bad token"}}))),
        Some(("Error", false, "pod s-0: Error: container weights ended with exit code 1: 401: bad token"))
    )]
    #[case::init_that_is_done(
        one(&container("install", 0, &json!({"terminated": {"reason": "Completed", "exitCode": 0}}), &json!({}))), None
    )]
    #[case::unschedulable(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
               "message": "0/2 nodes are available"}]}),
        Some(("Unschedulable", false, "pod s-0: Unschedulable: 0/2 nodes are available"))
    )]
    #[case::evicted(
        json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
        Some(("Evicted", true, "pod s-0: Evicted: low on memory"))
    )]
    fn trouble_is_told_in_the_pods_words(#[case] status: Value, #[case] expected: Option<(&str, bool, &str)>) {
        let found = trouble(&pod(&status), &["vllm"]);

        let found = found.as_ref().map(|trouble| (trouble.reason.as_str(), trouble.fatal, trouble.message.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_comes_from_outside_is_told_apart() {
        let drained = json!({"phase": "Running", "conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "DeletionByTaintManager"}]});

        assert!(trouble(&pod(&drained), &[]).is_some_and(|trouble| trouble.from_outside));
    }

    #[test]
    fn a_long_message_is_cut_to_one_line() {
        assert_eq!(cut("a\n  b"), "a b");
        assert_eq!(cut(&"x".repeat(1000)).len(), MOST_MESSAGE + 4);
    }

    #[test]
    fn of_a_long_log_the_end_is_told() {
        let log = format!("{}\nValueError: too long", "INFO all is well\n".repeat(100));
        let told = last_words(&log);
        assert!(told.starts_with("... ") && told.ends_with("well ValueError: too long"), "{told}");
        assert_eq!(told.len(), MOST_MESSAGE + 4);
        assert_eq!(last_words("a\n  b"), "a b");
    }
}
