//! The Pod Security profile `restricted`, version 1.34, as far as a pod on Linux can break it.
//!
//! Source: the Pod Security Standards of the Kubernetes documentation; `restricted` holds all of `baseline`.

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe, SeccompProfile};
use rstest::rstest;
use serde_json::{Map, Value};

use super::fixtures::{containers, sample, server_pod};

const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

/// What of a pod the profile forbids, each with its field.
pub fn violations(pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut forbid = |is_broken: bool, field: String| {
        if is_broken {
            found.push(field);
        }
    };
    for (field, value) in [("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc)] {
        forbid(value == Some(true), field.to_owned());
    }
    for volume in pod.volumes.iter().flatten() {
        let sources = serde_json::to_value(volume).unwrap();
        let sources = sources.as_object().cloned().unwrap_or_else(Map::new);
        for source in sources.keys().filter(|key| *key != "name") {
            forbid(!VOLUMES.contains(&source.as_str()), format!("volumes[{}].{source}", volume.name));
        }
    }
    let context = pod.security_context.clone().unwrap_or_default();
    forbid(context.run_as_user == Some(0), "securityContext.runAsUser".to_owned());
    forbid(context.sysctls.is_some(), "securityContext.sysctls".to_owned());
    forbid(context.se_linux_options.is_some(), "securityContext.seLinuxOptions".to_owned());
    forbid(context.app_armor_profile.is_some(), "securityContext.appArmorProfile".to_owned());
    forbid(context.windows_options.is_some(), "securityContext.windowsOptions".to_owned());
    forbid(context.seccomp_profile.as_ref().is_some_and(unconfined), "securityContext.seccompProfile".to_owned());
    for container in containers(pod) {
        let own = container.security_context.clone().unwrap_or_default();
        let capabilities = own.capabilities.clone().unwrap_or_default();
        let mut forbid = |is_broken: bool, field: &str| forbid(is_broken, format!("{}.{field}", container.name));
        forbid(own.privileged == Some(true), "privileged");
        forbid(own.allow_privilege_escalation != Some(false), "allowPrivilegeEscalation");
        forbid(!capabilities.drop.iter().flatten().any(|name| name == "ALL"), "capabilities.drop");
        forbid(capabilities.add.iter().flatten().any(|name| name != "NET_BIND_SERVICE"), "capabilities.add");
        forbid(own.run_as_non_root.or(context.run_as_non_root) != Some(true), "runAsNonRoot");
        forbid(own.run_as_user == Some(0), "runAsUser");
        forbid(own.proc_mount.is_some_and(|mount| mount != "Default"), "procMount");
        forbid(own.se_linux_options.is_some(), "seLinuxOptions");
        forbid(own.app_armor_profile.is_some(), "appArmorProfile");
        forbid(own.windows_options.is_some(), "windowsOptions");
        let seccomp = own.seccomp_profile.as_ref().or(context.seccomp_profile.as_ref());
        forbid(seccomp.is_none_or(unconfined), "seccompProfile");
        forbid(container.ports.iter().flatten().any(|port| port.host_port.unwrap_or(0) != 0), "hostPort");
        forbid(probes(container).any(names_a_host), "probe.host");
        forbid(container.lifecycle.is_some(), "lifecycle");
    }
    found
}

fn unconfined(profile: &SeccompProfile) -> bool {
    !["RuntimeDefault", "Localhost"].contains(&profile.type_.as_str())
}

fn probes(container: &Container) -> impl Iterator<Item = &Probe> {
    [&container.readiness_probe, &container.liveness_probe, &container.startup_probe].into_iter().flatten()
}

fn names_a_host(probe: &Probe) -> bool {
    let http = probe.http_get.as_ref().and_then(|get| get.host.as_ref());
    let tcp = probe.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref());
    http.or(tcp).is_some()
}

/// A pod changed in one place of its JSON.
fn broken(path: &str, value: Value) -> PodSpec {
    let pod = server_pod(&sample("quickstart.yaml"), "cc-on");
    let mut json = serde_json::to_value(pod).unwrap();
    let (parent, key) = path.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[key] = value;
    serde_json::from_value(json).unwrap()
}

#[rstest]
#[case("/hostNetwork", true.into())]
#[case("/hostPID", true.into())]
#[case("/volumes/0/hostPath", serde_json::json!({"path": "/"}))]
#[case("/securityContext/runAsNonRoot", false.into())]
#[case("/securityContext/runAsUser", 0.into())]
#[case("/securityContext/seccompProfile/type", "Unconfined".into())]
#[case("/containers/0/securityContext/allowPrivilegeEscalation", true.into())]
#[case("/containers/0/securityContext/privileged", true.into())]
#[case("/initContainers/0/securityContext/capabilities/drop", serde_json::json!(["NET_RAW"]))]
#[case("/initContainers/1/securityContext/capabilities/add", serde_json::json!(["SYS_ADMIN"]))]
#[case("/containers/0/ports/0/hostPort", 8000.into())]
#[case("/containers/0/readinessProbe/httpGet/host", "169.254.169.254".into())]
fn the_checker_sees_what_the_profile_forbids(#[case] path: &str, #[case] value: Value) {
    assert!(!violations(&broken(path, value)).is_empty(), "{path} was not seen");
}
