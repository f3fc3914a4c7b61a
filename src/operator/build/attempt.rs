//! One attempt of a run: its BenchmarkRun for people, its frozen inputs, and the Job that executes it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            ConfigMap, ConfigMapVolumeSource, Container, PodTemplateSpec, ProjectedVolumeSource,
            ServiceAccountTokenProjection, Volume, VolumeProjection,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use teebench_api::{
    campaign::LoadGenerator,
    files::inputs::RunInputs,
    plan::RunId,
    run::{BenchmarkRun, BenchmarkRunSpec},
};

use super::{
    BuildError, MEETING_PORT, Owner, Settings, dataset,
    pod::{self, exactly, own_container, small, variable, words},
    references,
    volumes::{self, empty_dir, memory_dir, mount, mount_read_only},
};
use crate::{
    operator::{
        labels::{self, Component},
        names,
    },
    store::service::AUDIENCE,
};

/// Key of the attempt's inputs in its ConfigMap.
pub const INPUTS_KEY: &str = "inputs.json";
/// Key of the results service's certificates.
const CA_KEY: &str = "results-ca.crt";
const INPUTS: &str = "inputs";
const RESULTS: &str = "results";
const TOKEN: &str = "token";
/// A token lives for an hour and the kubelet renews it, however long the load runs.
const TOKEN_SECONDS: i64 = 3600;
/// What a Job may take beside its attempt: scheduling, the image, the upload.
const AROUND_SECONDS: u64 = 300;
/// What a load generator that was told to stop may take to upload what it has.
const STOP_SECONDS: i64 = 120;

/// What is to be attempted.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOrder<'a> {
    /// The campaign.
    pub owner: Owner<'a>,
    /// What the operator was told.
    pub settings: &'a Settings,
    /// Where the load generator runs.
    pub load_generator: &'a LoadGenerator,
    /// The attempt's frozen inputs.
    pub inputs: &'a RunInputs,
}

/// The objects of one attempt, which share one name.
#[derive(Clone, Debug)]
pub struct AttemptObjects {
    /// What people see of it.
    pub run: BenchmarkRun,
    /// Its inputs; they never change.
    pub config_map: ConfigMap,
    /// What executes it.
    pub job: Job,
}

/// The objects of one attempt.
///
/// # Errors
/// A number of the attempt is out of its bounds.
pub fn attempt(order: &AttemptOrder<'_>) -> Result<AttemptObjects, BuildError> {
    let AttemptOrder { owner, settings, load_generator: _, inputs } = order;
    let name = names::attempt(owner.name, inputs.epoch);
    let mut labels = labels::common(owner.name, owner.uid, Component::Load);
    labels.insert(labels::ARM.to_owned(), inputs.run.arm.clone());
    labels.insert(labels::EPOCH.to_owned(), inputs.epoch.to_string());
    let run =
        BenchmarkRun { metadata: owner.metadata(name.clone(), labels.clone()), spec: run_spec(inputs)?, status: None };
    let text = serde_json::to_string_pretty(inputs).expect("our own types serialise to JSON");
    let config_map = ConfigMap {
        metadata: owner.metadata(name.clone(), labels.clone()),
        data: Some(BTreeMap::from([
            (INPUTS_KEY.to_owned(), text),
            (CA_KEY.to_owned(), settings.results_ca_pem.clone()),
        ])),
        immutable: Some(true),
        binary_data: None,
    };
    Ok(AttemptObjects { run, config_map, job: job(order, &name, labels)? })
}

fn run_spec(inputs: &RunInputs) -> Result<BenchmarkRunSpec, BuildError> {
    let RunId { experiment, condition, arm, router, repetition } = &inputs.run;
    let out_of_bounds = |field, value| BuildError::OutOfBounds { run: inputs.run.to_string(), field, value };
    let small = |field, value: usize| u32::try_from(value).map_err(|_| out_of_bounds(field, value as u64));
    Ok(BenchmarkRunSpec {
        campaign: inputs.campaign.clone(),
        plan_sha256: inputs.plan_sha256.clone(),
        experiment: experiment.clone(),
        condition: condition.clone(),
        arm: arm.clone(),
        tee: inputs.tee,
        router: router.clone(),
        repetition: *repetition,
        attempt: inputs.attempt,
        epoch: i64::try_from(inputs.epoch).map_err(|_| out_of_bounds("epoch", inputs.epoch))?,
        block: small("block", inputs.block)?,
        boot: small("boot", inputs.boot)?,
        seed: inputs.seed.to_string(),
        simulated: inputs.simulated,
    })
}

fn job(order: &AttemptOrder<'_>, name: &str, labels: BTreeMap<String, String>) -> Result<Job, BuildError> {
    let AttemptOrder { owner, settings, load_generator, inputs } = order;
    // Whether texts are kept stands in the inputs.
    let LoadGenerator { replicas, node_selector, resources, keep_texts: _ } = load_generator;
    let shared_memory = resources.as_ref().and_then(|resources| resources.shared_memory.as_deref());
    let mut mounts = vec![
        mount_read_only(INPUTS, "/inputs"),
        mount(RESULTS, "/results"),
        mount_read_only(TOKEN, "/token"),
        mount(volumes::TMP, volumes::TMP_DIR),
    ];
    let mut all = vec![inputs_volume(name), empty_dir(RESULTS), token_volume(), empty_dir(volumes::TMP)];
    if let Some(volume) = dataset::volume(&inputs.dataset) {
        mounts.push(mount_read_only(dataset::DATASET, dataset::DATASET_DIR));
        all.push(volume);
    }
    if let Some(volume) = references::volume(inputs) {
        mounts.push(mount_read_only(references::REFERENCES, references::DIRECTORY));
        all.push(volume);
    }
    if shared_memory.is_some() {
        mounts.push(mount(volumes::SHARED_MEMORY, volumes::SHARED_MEMORY_DIR));
        all.push(memory_dir(volumes::SHARED_MEMORY, shared_memory));
    }
    let log = format!("{}/loadgen.log", volumes::TMP_DIR);
    let mut argv =
        words(&["teebench", "--log-file", &log, "loadgen", "--from-plan", "/inputs/inputs.json", "--out", "/results"]);
    argv.extend(words(&["--upload", &settings.results_url, "--upload-ca", "/inputs/results-ca.crt"]));
    argv.extend(words(&["--token-file", "/token/token"]));
    let is_shared = *replicas > 1;
    let count = i32::try_from(*replicas).expect("the schema bounds load generators far below");
    if is_shared {
        let meet = format!("{name}-0.{}:{MEETING_PORT}", names::load(owner.name));
        argv.extend(words(&["--generators", &replicas.to_string(), "--meet", &meet]));
    }
    let mut spec = pod::restricted(pod::DEFAULT_USER);
    // Pods of an indexed Job have their Job's name and their index as host name, below this Service.
    spec.subdomain = is_shared.then(|| names::load(owner.name));
    spec.restart_policy = Some("Never".to_owned());
    spec.node_selector = (!node_selector.is_empty()).then(|| node_selector.clone());
    spec.termination_grace_period_seconds = Some(STOP_SECONDS);
    spec.volumes = Some(all);
    spec.containers = vec![Container {
        env: Some(vec![variable("HOME", volumes::TMP_DIR)]),
        volume_mounts: Some(mounts),
        resources: exactly(resources.as_ref(), 0).or_else(|| Some(small("500m", "256Mi", "4Gi"))),
        ..own_container("loadgen", settings, argv)
    }];
    let annotations = BTreeMap::from([(labels::ATTEMPT.to_owned(), inputs.run.attempt_path(inputs.attempt))]);
    Ok(Job {
        metadata: owner.metadata(name.to_owned(), labels.clone()),
        spec: Some(JobSpec {
            // Nothing is retried silently: another attempt is the planner's to order.
            backoff_limit: (!is_shared).then_some(0),
            // Of several, the first says which is missing, so one that fails must not end the others.
            backoff_limit_per_index: is_shared.then_some(0),
            completion_mode: is_shared.then(|| "Indexed".to_owned()),
            completions: is_shared.then_some(count),
            parallelism: is_shared.then_some(count),
            pod_replacement_policy: Some("Failed".to_owned()),
            active_deadline_seconds: Some(deadline(inputs)?),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

fn deadline(inputs: &RunInputs) -> Result<i64, BuildError> {
    let value = inputs.deadline_seconds.saturating_add(AROUND_SECONDS);
    let out_of_bounds = |_| BuildError::OutOfBounds { run: inputs.run.to_string(), field: "deadlineSeconds", value };
    i64::try_from(value).map_err(out_of_bounds)
}

fn inputs_volume(name: &str) -> Volume {
    let source = ConfigMapVolumeSource { name: name.to_owned(), ..ConfigMapVolumeSource::default() };
    Volume { name: INPUTS.to_owned(), config_map: Some(source), ..Volume::default() }
}

fn token_volume() -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    let projected = ProjectedVolumeSource { sources: Some(vec![source]), default_mode: None };
    Volume { name: TOKEN.to_owned(), projected: Some(projected), ..Volume::default() }
}
