//! Weights of a model: where they are kept, and the one container that fetches them.
//!
//! | `cache` | kept in | fetched by |
//! | --- | --- | --- |
//! | `sharedClaim` | that claim | a Job, once for each repository, revision and claim |
//! | `ephemeral` | a volume of each server's own | an init container of each server, at every boot |
//! | none | an `emptyDir` on each server's node | the same |

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Container, EnvVar, EnvVarSource, EphemeralVolumeSource, PersistentVolumeClaimSpec,
            PersistentVolumeClaimTemplate, PersistentVolumeClaimVolumeSource, PodTemplateSpec, SecretKeySelector,
            Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use teebench_api::{
    campaign::{
        Model, Vllm,
        model::{Cache as CacheSpec, EphemeralCache, SecretKeyRef},
    },
    plan::Plan,
};

use super::{
    BuildError, Owner, Settings,
    pod::{self, container, install, installed, small, variable},
    volumes::{self, HOME_DIR, empty_dir, mount, mount_read_only},
};
use crate::operator::{
    labels::{self, Component, HUB_EGRESS},
    names,
};

/// Volume with the weights.
const WEIGHTS: &str = "weights";
const WEIGHTS_DIR: &str = "/models";
/// A download that failed is begun anew twice: the hub's files are pinned, so no number depends on it.
const RETRIES: i32 = 2;
/// Longest time of a download, its new beginnings included: 70 GB at 10 MB/s take two hours.
const MOST_SECONDS: i64 = 6 * 3600;

/// Which model's weights are wanted.
#[derive(Clone, Copy, Debug)]
pub struct WeightsOrder<'a> {
    /// The effective plan.
    pub plan: &'a Plan,
    /// The campaign.
    pub owner: Owner<'a>,
    /// What the operator was told.
    pub settings: &'a Settings,
    /// Name of the model.
    pub model: &'a str,
}

/// The Job that downloads a model to its shared claim; `None` where nothing is downloaded before the servers start.
///
/// Campaigns that share a repository, revision and claim share its name, so it is created where there is none and
/// never changed. With the weights there already it ends at once.
///
/// # Errors
/// The plan does not have that model.
pub fn weights(order: &WeightsOrder<'_>) -> Result<Option<Job>, BuildError> {
    let WeightsOrder { plan, owner, settings, model } = order;
    let model = plan.model(model).ok_or_else(|| BuildError::UnknownModel((*model).to_owned()))?;
    let (Some(vllm), Cache::Claim(claim)) = (&plan.spec.engine.vllm, Cache::of(model)) else { return Ok(None) };
    // Servers that were there before have their weights.
    if plan.spec.arms.iter().all(|arm| arm.service_ref.is_some()) {
        return Ok(None);
    }
    let mut labels = labels::common(owner.name, owner.uid, Component::Download);
    labels.insert(HUB_EGRESS.to_owned(), "true".to_owned());
    let mut spec = pod::restricted(vllm.run_as_user);
    spec.restart_policy = Some("Never".to_owned());
    // A machine that is measured has better to do; the load generator's has time while servers are not there.
    let selector = &plan.spec.load_generator.node_selector;
    spec.node_selector = (!selector.is_empty()).then(|| selector.clone());
    spec.init_containers = Some(vec![install(settings)]);
    spec.containers = vec![download(model, vllm, settings)];
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
    spec.volumes = Some(vec![
        empty_dir(volumes::PROGRAM),
        empty_dir(volumes::HOME),
        empty_dir(volumes::TMP),
        Volume { name: WEIGHTS.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() },
    ]);
    Ok(Some(Job {
        metadata: owner.metadata(names::weights(&model.repository, &model.revision, claim), labels.clone()),
        spec: Some(JobSpec {
            backoff_limit: Some(RETRIES),
            active_deadline_seconds: Some(MOST_SECONDS),
            // Two downloads at a time would write the same files.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    }))
}

/// Where a model's weights are kept.
pub(super) enum Cache<'a> {
    /// A claim that all servers share.
    Claim(&'a str),
    /// A volume of each server's own.
    Ephemeral(&'a EphemeralCache),
    /// The node's disk.
    Node,
}

impl<'a> Cache<'a> {
    pub(super) fn of(model: &'a Model) -> Self {
        match &model.cache {
            Some(CacheSpec { shared_claim: Some(claim), ephemeral: _ }) => Self::Claim(claim),
            Some(CacheSpec { shared_claim: None, ephemeral: Some(ephemeral) }) => Self::Ephemeral(ephemeral),
            Some(CacheSpec { shared_claim: None, ephemeral: None }) | None => Self::Node,
        }
    }

    /// Directory of one revision in a container; several models may share a claim.
    pub(super) fn directory(model: &Model) -> String {
        format!("{WEIGHTS_DIR}/{}/{}", model.repository, model.revision)
    }

    /// The init container that downloads, where no Job did.
    pub(super) fn init_container(&self, model: &Model, vllm: &Vllm, settings: &Settings) -> Option<Container> {
        match self {
            Self::Claim(_) => None,
            Self::Ephemeral(_) | Self::Node => Some(download(model, vllm, settings)),
        }
    }

    pub(super) fn volume_for_server(&self) -> Volume {
        match self {
            Self::Claim(claim) => Volume {
                name: WEIGHTS.to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: (*claim).to_owned(),
                    read_only: Some(true),
                }),
                ..Volume::default()
            },
            Self::Ephemeral(EphemeralCache { storage_class_name, size }) => Volume {
                name: WEIGHTS.to_owned(),
                ephemeral: Some(EphemeralVolumeSource {
                    volume_claim_template: Some(PersistentVolumeClaimTemplate {
                        metadata: None,
                        spec: PersistentVolumeClaimSpec {
                            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                            storage_class_name: storage_class_name.clone(),
                            resources: Some(VolumeResourceRequirements {
                                requests: Some([("storage".to_owned(), Quantity(size.clone()))].into()),
                                limits: None,
                            }),
                            ..PersistentVolumeClaimSpec::default()
                        },
                    }),
                }),
                ..Volume::default()
            },
            Self::Node => empty_dir(WEIGHTS),
        }
    }

    pub(super) fn mount_for_server(&self) -> VolumeMount {
        mount_read_only(WEIGHTS, WEIGHTS_DIR)
    }
}

/// The container that fetches one revision in the engine's own image, and the only one that sees the hub's token.
fn download(model: &Model, vllm: &Vllm, settings: &Settings) -> Container {
    let directory = Cache::directory(model);
    let words = [
        &installed(),
        "weights",
        "--repository",
        &model.repository,
        "--revision",
        &model.revision,
        "--to",
        &directory,
        "--",
        "hf",
        "download",
        &model.repository,
        "--revision",
        &model.revision,
        "--local-dir",
        &directory,
    ];
    let mut env = vec![
        variable("HOME", HOME_DIR),
        variable("USER", "teebench"),
        variable("HF_HUB_DISABLE_TELEMETRY", "1"),
        // Bars that redraw themselves are noise in a log.
        variable("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ];
    env.extend(settings.hub_endpoint.as_deref().map(|endpoint| variable("HF_ENDPOINT", endpoint)));
    env.extend(model.token_secret_ref.as_ref().map(token));
    Container {
        env: Some(env),
        volume_mounts: Some(vec![
            mount_read_only(volumes::PROGRAM, volumes::PROGRAM_DIR),
            mount(volumes::HOME, HOME_DIR),
            mount(volumes::TMP, volumes::TMP_DIR),
            mount(WEIGHTS, WEIGHTS_DIR),
        ]),
        resources: Some(small("200m", "256Mi", "8Gi")),
        ..container("download", &vllm.image, pod::words(&words))
    }
}

fn token(secret: &SecretKeyRef) -> EnvVar {
    let SecretKeyRef { name, key } = secret;
    let selector = SecretKeySelector { name: name.clone(), key: key.clone(), optional: None };
    EnvVar {
        name: "HF_TOKEN".to_owned(),
        value: None,
        value_from: Some(EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() }),
    }
}
