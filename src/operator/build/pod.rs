//! What every pod has in common: the Pod Security profile `restricted`, and nothing mounted or injected unasked.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec,
        Probe, ResourceRequirements, SeccompProfile, SecurityContext, TCPSocketAction,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use teebench_api::campaign::engine::ServerResources;

use super::{Settings, volumes};

/// User and group of the pods for which the campaign names none.
pub(super) const DEFAULT_USER: u32 = 2000;
/// Resource name of a GPU.
const GPU: &str = "nvidia.com/gpu";

/// A pod without containers, as this user and group.
pub(super) fn restricted(user: u32) -> PodSpec {
    let id = i64::from(user);
    PodSpec {
        automount_service_account_token: Some(false),
        // Variables made of Services' names reach into vLLM's own settings (`VLLM_PORT` of a Service named vllm).
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(id),
            run_as_group: Some(id),
            fs_group: Some(id),
            // Weights are tens of gigabytes; their owner is changed once, not at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// A container that may do nothing but run: its first word is the program.
pub(super) fn container(name: &str, image: &str, words: Vec<String>) -> Container {
    let mut words = words.into_iter();
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        command: words.next().map(|program| vec![program]),
        args: Some(words.collect()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        // The last lines of a log are the reason that a person reads in the run's condition.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// A container of this program's own image.
pub(super) fn own_container(name: &str, settings: &Settings, words: Vec<String>) -> Container {
    let mut container = container(name, &settings.image, words);
    container.image_pull_policy.clone_from(&settings.image_pull_policy);
    container
}

/// The init container that copies this program to where containers with another image run it.
pub(super) fn install(settings: &Settings) -> Container {
    let mut install = own_container(
        "probe-install",
        settings,
        words(&["teebench", "probe", "install", "--to", volumes::PROGRAM_DIR]),
    );
    install.volume_mounts = Some(vec![volumes::mount(volumes::PROGRAM, volumes::PROGRAM_DIR)]);
    install.resources = Some(small("10m", "32Mi", "256Mi"));
    install
}

/// Path of this program in a container with another image.
pub(super) fn installed() -> String {
    format!("{}/teebench", volumes::PROGRAM_DIR)
}

/// A command line.
pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// An environment variable.
pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// An environment variable with a field of the pod.
pub(super) fn field_variable(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
    let value_from = EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(value_from) }
}

/// Named ports of a container.
pub(super) fn ports(ports: &[(&str, u16)]) -> Vec<ContainerPort> {
    let port = |(name, port): &(&str, u16)| ContainerPort {
        name: Some((*name).to_owned()),
        container_port: i32::from(*port),
        ..ContainerPort::default()
    };
    ports.iter().map(port).collect()
}

/// Ready when something listens.
pub(super) fn ready_when_listening(port: u16) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(i32::from(port)), host: None }),
        period_seconds: Some(2),
        ..Probe::default()
    }
}

/// What a person asked for: as much as is given is also the limit, so that a measurement has neither more nor less.
pub(super) fn exactly(resources: Option<&ServerResources>, gpus: u32) -> Option<ResourceRequirements> {
    let mut amounts = BTreeMap::new();
    if let Some(ServerResources { cpu, memory, shared_memory: _ }) = resources {
        amounts.insert("cpu".to_owned(), Quantity(cpu.clone()));
        amounts.insert("memory".to_owned(), Quantity(memory.clone()));
    }
    if gpus > 0 {
        amounts.insert(GPU.to_owned(), Quantity(gpus.to_string()));
    }
    let given = (!amounts.is_empty()).then_some(amounts);
    given.map(|amounts| ResourceRequirements { requests: Some(amounts.clone()), limits: Some(amounts), claims: None })
}

/// A small request with a bound on memory alone: a container that is throttled would distort what is measured.
pub(super) fn small(cpu: &str, memory: &str, most_memory: &str) -> ResourceRequirements {
    let amount = |name: &str, quantity: &str| (name.to_owned(), Quantity(quantity.to_owned()));
    ResourceRequirements {
        requests: Some([amount("cpu", cpu), amount("memory", memory)].into()),
        limits: Some([amount("memory", most_memory)].into()),
        claims: None,
    }
}
