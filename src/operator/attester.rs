//! The CPU's own word on a confidential machine: a Job on it, once a boot, in a namespace of its own.
//!
//! The Job is the only privileged thing that the operator creates: it opens the machine's TPM. What it prints is
//! evidence, and is verified wherever it is used.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::{Container, HostPathVolumeSource, Pod, PodSpec, PodTemplateSpec, SecurityContext, Toleration, Volume},
};
use kube::{
    Api, Client,
    api::{ListParams, LogParams, ObjectMeta},
    runtime::{conditions, wait::await_condition},
};
use sha2::{Digest, Sha256};
use teebench_api::files::evidence::CpuEvidence;
use thiserror::Error;
use tokio::time::timeout;

use super::{
    build::Settings,
    labels,
    writer::{WriteError, Writer},
};

/// How long a Job may take, its image and its pod included.
const PATIENCE: Duration = Duration::from_secs(60);
const DEADLINE_SECONDS: i64 = 55;
/// A finished Job stays this long, so that a restarted operator finds what it printed.
const KEPT_SECONDS: i32 = 86_400;
/// Label of a Job's pod that names the Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const CONTAINER: &str = "attest";
const DEVICE: &str = "tpm";
/// Where the Job sees the directory of the machine's TPM.
const DEVICE_DIR: &str = "/host-tpm";

/// Where machines are attested, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttesterSettings {
    /// The namespace of the Jobs.
    pub namespace: String,
    /// Path of the TPM on the machines.
    pub device: String,
    /// SHA-256 of a root certificate for tests, in hex; absent for AMD's.
    pub test_root_sha256: Option<String>,
}

/// A machine that gave no evidence of its CPU.
#[derive(Debug, Error)]
pub enum AttestError {
    /// The Job could not be created.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The Job did not end well in time.
    #[error("Job \"{job}\" in namespace \"{namespace}\" did not complete within {} s; see its pod's log", PATIENCE.as_secs())]
    NotCompleted {
        /// The Job.
        job: String,
        /// Its namespace.
        namespace: String,
    },
    /// What it printed could not be read.
    #[error("cannot read the log of Job \"{job}\" in namespace \"{namespace}\"")]
    Log {
        /// The Job.
        job: String,
        /// Its namespace.
        namespace: String,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
    /// It printed something else.
    #[error("Job \"{job}\" in namespace \"{namespace}\" printed no evidence")]
    Printed {
        /// The Job.
        job: String,
        /// Its namespace.
        namespace: String,
        /// Why it is none.
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// Attests machines, and remembers what they said.
pub struct Attester {
    settings: AttesterSettings,
    client: Client,
    writer: Writer,
    known: Mutex<HashMap<String, Arc<CpuEvidence>>>,
}

impl Attester {
    /// Attests machines by these settings.
    #[must_use]
    pub fn new(settings: AttesterSettings, client: Client, writer: Writer) -> Self {
        Self { settings, client, writer, known: Mutex::default() }
    }

    /// What the CPU of a node signed in this boot of it; asked for once.
    ///
    /// # Errors
    /// The machine gave no evidence.
    pub async fn evidence(&self, own: &Settings, node: &str, boot_id: &str) -> Result<Arc<CpuEvidence>, AttestError> {
        let name = job_name(node, boot_id);
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(Arc::clone(known));
        }
        let evidence = Arc::new(self.ask(own, node, &name).await?);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::clone(&evidence));
        Ok(evidence)
    }

    async fn ask(&self, own: &Settings, node: &str, name: &str) -> Result<CpuEvidence, AttestError> {
        let namespace = &self.settings.namespace;
        self.writer.create_once(namespace, &job(&self.settings, own, node, name)).await?;
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let (job, namespace) = (name.to_owned(), namespace.clone());
        let completed = timeout(PATIENCE, await_condition(jobs, name, conditions::is_job_completed())).await;
        let Ok(Ok(_)) = completed else { return Err(AttestError::NotCompleted { job, namespace }) };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let failed =
            |source| AttestError::Log { job: job.clone(), namespace: namespace.clone(), source: Box::new(source) };
        let listed = pods.list(&ListParams::default().labels(&format!("{JOB_NAME}={name}"))).await.map_err(failed)?;
        let succeeded =
            |pod: &&Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Succeeded"));
        let pod = listed.items.iter().find(succeeded).and_then(|pod| pod.metadata.name.as_deref());
        let Some(pod) = pod else { return Err(AttestError::Printed { job, namespace, source: None }) };
        let failed =
            |source| AttestError::Log { job: job.clone(), namespace: namespace.clone(), source: Box::new(source) };
        let of_container = LogParams { container: Some(CONTAINER.to_owned()), ..LogParams::default() };
        let log = pods.logs(pod, &of_container).await.map_err(failed)?;
        // Warnings of the program stand beside it in the log: the evidence is the line that is an object.
        let printed = log.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(printed).map_err(|source| AttestError::Printed { job, namespace, source: Some(source) })
    }
}

/// One name for each boot of each node.
fn job_name(node: &str, boot_id: &str) -> String {
    let digest = Sha256::new().chain_update(node).chain_update([0]).chain_update(boot_id).finalize();
    format!("attest-{}", &hex::encode(digest)[..16])
}

fn job(settings: &AttesterSettings, own: &Settings, node: &str, name: &str) -> Job {
    let AttesterSettings { namespace: _, device, test_root_sha256 } = settings;
    let (directory, file) = device.rsplit_once('/').unwrap_or(("/dev", device));
    let labels = BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())]);
    let mut command = vec!["teebench".to_owned(), "probe".to_owned(), "attest-cpu".to_owned()];
    command.extend(["--tpm".to_owned(), format!("{DEVICE_DIR}/{file}")]);
    match test_root_sha256 {
        None => command.extend(["--certificates".to_owned(), "azure".to_owned()]),
        Some(root) => {
            let certificates = format!("{DEVICE_DIR}/certificates.pem");
            command.extend(["--cpu-test-root".to_owned(), root.clone(), "--certificates".to_owned(), certificates]);
        }
    }
    let source = HostPathVolumeSource { path: directory.to_owned(), type_: Some("Directory".to_owned()) };
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(own.image.clone()),
        image_pull_policy: own.image_pull_policy.clone(),
        command: Some(command),
        // A device of the machine is opened by privileged containers alone.
        security_context: Some(SecurityContext {
            privileged: Some(true),
            run_as_user: Some(0),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![k8s_openapi::api::core::v1::VolumeMount {
            name: DEVICE.to_owned(),
            mount_path: DEVICE_DIR.to_owned(),
            ..Default::default()
        }]),
        ..Container::default()
    };
    let tolerate_all = Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() };
    let pod = PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // This very machine is asked, whoever else may run on it.
        node_name: Some(node.to_owned()),
        tolerations: Some(vec![tolerate_all]),
        restart_policy: Some("Never".to_owned()),
        containers: vec![container],
        volumes: Some(vec![Volume { name: DEVICE.to_owned(), host_path: Some(source), ..Volume::default() }]),
        ..PodSpec::default()
    };
    Job {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.clone()), ..ObjectMeta::default() },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_of_each_node_has_a_job_of_its_own() {
        let names = [("a", "1"), ("a", "2"), ("b", "1"), ("a1", "")].map(|(node, boot)| job_name(node, boot));
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert_eq!(job_name("a", "1"), job_name("a", "1"));
    }

    fn built(test_root_sha256: Option<&str>) -> PodSpec {
        let settings = AttesterSettings {
            namespace: "attester".to_owned(),
            device: "/dev/tpmrm0".to_owned(),
            test_root_sha256: test_root_sha256.map(str::to_owned),
        };
        let own = Settings {
            image: "teebench@sha256:00".to_owned(),
            image_pull_policy: None,
            hub_endpoint: None,
            results_url: "https://results:8443".to_owned(),
            results_ca_pem: String::new(),
        };
        job(&settings, &own, "node-1", "attest-1").spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn a_job_asks_the_tpm_of_the_very_machine_and_has_no_token() {
        let pod = built(None);
        assert_eq!((pod.node_name.as_deref(), pod.automount_service_account_token), (Some("node-1"), Some(false)));
        let container = &pod.containers[0];
        assert_eq!(container.security_context.as_ref().unwrap().privileged, Some(true));
        let command = container.command.as_ref().unwrap().join(" ");
        assert_eq!(command, "teebench probe attest-cpu --tpm /host-tpm/tpmrm0 --certificates azure");
        assert_eq!(pod.volumes.unwrap()[0].host_path.as_ref().unwrap().path, "/dev");
    }

    #[test]
    fn under_a_root_for_tests_nothing_is_asked_of_a_metadata_service() {
        let command = built(Some("00")).containers[0].command.clone().unwrap().join(" ");
        assert!(command.ends_with("--cpu-test-root 00 --certificates /host-tpm/certificates.pem"), "{command}");
    }
}
