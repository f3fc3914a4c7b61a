//! The `BenchmarkCampaign` custom resource.

pub mod arm;
pub mod dataset;
pub mod engine;
pub mod experiment;
pub mod model;
pub mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    arm::{Arm, Endorsement, MinimumEvidence, MultiGpu, NodePool, Price, ServiceRef, Tee},
    dataset::{Dataset, DatasetKind, FileSource},
    engine::{Engine, EngineSettings, Restart, Simulator, SimulatorProfile, Vllm},
    experiment::{Experiment, Load, Metric, Point, Repetitions, Saturation, Slo, Until, Warmup},
    model::{Model, Router},
    status::BenchmarkCampaignStatus,
};

/// Holds what may not change once `status.startTime` is written. An optional field is compared only where both have it.
const FROZEN_ONCE_STARTED: &str = "!has(oldSelf.status) || !has(oldSelf.status.startTime) || (\
    self.spec.seed == oldSelf.spec.seed && self.spec.engine == oldSelf.spec.engine && \
    self.spec.models == oldSelf.spec.models && self.spec.arms == oldSelf.spec.arms && \
    self.spec.routers == oldSelf.spec.routers && self.spec.experiments == oldSelf.spec.experiments && \
    self.spec.energy == oldSelf.spec.energy && self.spec.loadGenerator == oldSelf.spec.loadGenerator && \
    self.spec.parity == oldSelf.spec.parity && \
    has(self.spec.comparison) == has(oldSelf.spec.comparison) && \
    (!has(self.spec.comparison) || self.spec.comparison == oldSelf.spec.comparison) && \
    has(self.spec.headline) == has(oldSelf.spec.headline) && \
    (!has(self.spec.headline) || self.spec.headline == oldSelf.spec.headline) && \
    has(self.spec.scheduling) == has(oldSelf.spec.scheduling) && \
    (!has(self.spec.scheduling) || self.spec.scheduling == oldSelf.spec.scheduling))";

/// The rule that a simulated campaign's models or arms override only what the simulator obeys.
macro_rules! simulator_obeys {
    ($list:literal) => {
        concat!(
            "!has(self.engine.simulator) || self.",
            $list,
            ".all(x, !has(x.engine) || !(has(x.engine.tensorParallelSize) || has(x.engine.pipelineParallelSize) || \
             has(x.engine.gpuMemoryUtilizationPercent) || has(x.engine.kvCacheBytes) || has(x.engine.dtype) || \
             has(x.engine.quantization) || has(x.engine.kvCacheDtype) || has(x.engine.enableChunkedPrefill) || \
             has(x.engine.enforceEager) || has(x.engine.asyncScheduling) || has(x.engine.loadFormat)))"
        )
    };
}

/// What a campaign measures: models, arms, routers and experiments. Nothing but suspend, cancel, budget, deadline,
/// failure policy and time to live may change once it has started.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "teebench.dev",
    version = "v1alpha1",
    kind = "BenchmarkCampaign",
    plural = "benchmarkcampaigns",
    shortname = "bc",
    category = "teebench",
    namespaced,
    status = "BenchmarkCampaignStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"STATE","type":"string","jsonPath":".status.conditions[?(@.type==\"Succeeded\")].reason"}"#,
    printcolumn = r#"{"name":"RUNS","type":"string","jsonPath":".status.progress.summary"}"#,
    printcolumn = r#"{"name":"INVALID","type":"integer","jsonPath":".status.progress.inconclusive"}"#,
    printcolumn = r#"{"name":"THROUGHPUT LOSS","type":"string","jsonPath":".status.results.headline.throughputLoss"}"#,
    printcolumn = r#"{"name":"TTFT","type":"string","jsonPath":".status.results.headline.ttft"}"#,
    printcolumn = r#"{"name":"ROUTING","type":"string","jsonPath":".status.results.headline.routing"}"#,
    printcolumn = r#"{"name":"SPENT","type":"string","jsonPath":".status.spent.amount"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 40").message(
        "metadata.name: at most 40 characters, so that the names of all children fit; shorten it"),
    validation = Rule::new(FROZEN_ONCE_STARTED).message(
        "spec: once started, only suspend, cancel, budget, deadlineSeconds, failurePolicy and ttlSecondsAfterFinished may change; apply a new campaign instead"),
    validation = Rule::new("!oldSelf.spec.cancel || self.spec.cancel").message(
        "spec.cancel: a cancelled campaign stays cancelled; apply a new campaign instead")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.experiments.all(e, !has(e.models) || e.models.all(m, self.models.exists(x, x.name == m)))",
        "spec.experiments[].models: names a model that spec.models does not have; correct the name or add the model"),
    validation = ("self.experiments.all(e, !has(e.routers) || e.routers.all(r, self.routers.exists(x, x.name == r)))",
        "spec.experiments[].routers: names a router that spec.routers does not have; correct the name or add the router"),
    validation = ("self.experiments.all(e, !has(e.arms) || e.arms.all(a, self.arms.exists(x, x.name == a)))",
        "spec.experiments[].arms: names an arm that spec.arms does not have; correct the name or add the arm"),
    validation = ("self.experiments.all(e, !has(e.points) || e.points.all(p, self.models.exists(x, x.name == p.model)))",
        "spec.experiments[].points[].model: names a model that spec.models does not have; correct the name or add the model"),
    validation = ("!has(self.headline) || self.experiments.exists(e, e.name == self.headline.experiment)",
        "spec.headline.experiment: names an experiment that spec.experiments does not have; correct the name"),
    validation = ("!has(self.comparison) || self.comparison.factor != 'Tee' || !self.arms.exists(a, a.tee == 'Undeclared')",
        "spec.arms[].tee: an Undeclared arm cannot be compared by factor Tee; choose another factor or remove the arm"),
    validation = ("!has(self.comparison) || self.comparison.factor != 'Tee' || self.arms.size() < 2 || (self.arms.exists(a, a.tee == 'Enabled') && self.arms.exists(a, a.tee == 'Disabled'))",
        "spec.comparison.factor: Tee compares an arm with tee Enabled to one with Disabled; change an arm's tee or choose another factor"),
    validation = ("!has(self.budget) || self.arms.all(a, has(a.price) && a.price.currency == self.budget.currency)",
        "spec.budget: every arm needs a price in the budget's currency; add spec.arms[].price or change the currency"),
    validation = ("!has(self.engine.simulator) || !self.arms.exists(a, has(a.serviceRef))",
        "spec.arms[].serviceRef: a simulated campaign has no existing server; use engine.vllm or remove serviceRef"),
    validation = ("self.experiments.all(e, !(has(e.maxNumSeqs) || (has(e.points) && e.points.exists(p, has(p.maxNumSeqs)))) || !self.arms.exists(a, has(a.engine) && has(a.engine.maxNumSeqs) && (!has(e.arms) || a.name in e.arms)))",
        "spec.arms[].engine.maxNumSeqs: it would undo the maxNumSeqs of an experiment's list or points; remove one of them"),
    validation = (simulator_obeys!("models"),
        "spec.models[].engine: the simulator obeys maxNumSeqs, maxNumBatchedTokens, maxModelLen, numGpuBlocks and enablePrefixCaching alone; remove the others"),
    validation = (simulator_obeys!("arms"),
        "spec.arms[].engine: the simulator obeys maxNumSeqs, maxNumBatchedTokens, maxModelLen, numGpuBlocks and enablePrefixCaching alone; remove the others")
)]
pub struct BenchmarkCampaignSpec {
    /// Seed of everything random: the order of runs, prompts and arrival times.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub seed: i64,
    /// True stops after interrupting the running run and starts nothing new; false again continues.
    #[serde(default)]
    pub suspend: bool,
    /// True ends the campaign for good and keeps its results.
    #[serde(default)]
    pub cancel: bool,
    /// The engine that every server runs.
    pub engine: Engine,
    /// Models to serve.
    #[schemars(length(min = 1, max = 16))]
    pub models: Vec<Model>,
    /// Arms to compare.
    #[schemars(length(min = 1, max = 8))]
    pub arms: Vec<Arm>,
    /// What the arms are meant to differ in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Ways in which requests reach the servers.
    #[schemars(length(min = 1, max = 16))]
    pub routers: Vec<Router>,
    /// The questions.
    #[schemars(length(min = 1, max = 16))]
    pub experiments: Vec<Experiment>,
    /// The experiment that the columns of `kubectl get` show (default: the first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<Headline>,
    /// How power is sampled and idle power measured.
    #[serde(default)]
    pub energy: Energy,
    /// Where and how the load generator runs.
    #[serde(default)]
    pub load_generator: LoadGenerator,
    /// Priority and queue of the servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Differences between arms that are accepted.
    #[serde(default)]
    pub parity: Parity,
    /// What happens when runs fail.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// What the campaign may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Longest time in seconds from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub deadline_seconds: Option<u32>,
    /// Seconds after the end at which Jobs and BenchmarkRuns go; the campaign and its results stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<u32>,
}

/// What the arms are meant to differ in.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The factor.
    pub factor: Factor,
}

/// A factor in which arms differ.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Factor {
    /// The TEE is on or off.
    #[default]
    Tee,
    /// The engine's version or settings.
    Engine,
    /// The machines.
    NodePool,
}

impl Factor {
    /// Whether this factor is meant to make arms differ so; such a difference does not break the comparison.
    #[must_use]
    pub const fn explains(self, difference: ParityDifference) -> bool {
        match self {
            Self::Tee => false,
            Self::Engine => {
                matches!(difference, ParityDifference::Image | ParityDifference::Flags | ParityDifference::KvBlocks)
            }
            Self::NodePool => matches!(
                difference,
                ParityDifference::GpuProduct | ParityDifference::PowerLimit | ParityDifference::KvBlocks
            ),
        }
    }
}

/// The experiment whose effects are the campaign's headline.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Headline {
    /// Name of the experiment.
    #[schemars(length(min = 1, max = 40))]
    pub experiment: String,
}

/// How power is sampled and idle power measured.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Energy {
    /// Milliseconds between two samples.
    #[serde(default = "Energy::default_sample_milliseconds")]
    #[schemars(range(min = 20, max = 10000))]
    pub sample_milliseconds: u32,
    /// Shortest window in seconds for which joules per token are stated.
    #[serde(default = "Energy::default_minimum_window_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub minimum_window_seconds: u32,
    /// Seconds of idling after each boot over which idle power is measured; 0 measures none.
    #[serde(default = "Energy::default_idle_seconds")]
    #[schemars(range(min = 0, max = 600))]
    pub idle_seconds: u32,
}

impl Energy {
    const fn default_sample_milliseconds() -> u32 {
        100
    }
    const fn default_minimum_window_seconds() -> u32 {
        60
    }
    const fn default_idle_seconds() -> u32 {
        30
    }
}

impl Default for Energy {
    fn default() -> Self {
        Self {
            sample_milliseconds: Self::default_sample_milliseconds(),
            minimum_window_seconds: Self::default_minimum_window_seconds(),
            idle_seconds: Self::default_idle_seconds(),
        }
    }
}

/// Where and how the load generator runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LoadGenerator {
    /// Pods that share one plan of requests.
    #[serde(default = "LoadGenerator::default_replicas")]
    #[schemars(range(min = 1, max = 16))]
    pub replicas: u32,
    /// Labels of the nodes it may run on; keep it off the servers' nodes.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::label_map")]
    pub node_selector: std::collections::BTreeMap<String, String>,
    /// CPU and memory of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<engine::ServerResources>,
    /// Whether generated texts are kept in the result files.
    #[serde(default)]
    pub keep_texts: bool,
}

impl LoadGenerator {
    const fn default_replicas() -> u32 {
        1
    }
}

impl Default for LoadGenerator {
    fn default() -> Self {
        Self {
            replicas: Self::default_replicas(),
            node_selector: std::collections::BTreeMap::new(),
            resources: None,
            keep_texts: false,
        }
    }
}

/// Priority and queue of the servers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Priority class of the servers' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
    /// Kueue's local queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub queue_name: Option<String>,
}

/// Differences between arms that are accepted although they break the comparison otherwise.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Parity {
    /// The accepted differences.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub allow: Vec<ParityDifference>,
}

/// A difference between arms that breaks the comparison unless it is allowed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParityDifference {
    /// The GPUs' product, count or memory.
    GpuProduct,
    /// The engine's image or version.
    Image,
    /// The engine's settings.
    Flags,
    /// The model's revision.
    Revision,
    /// The GPUs' enforced power limit.
    PowerLimit,
    /// The number of KV blocks.
    KvBlocks,
}

/// What happens when runs fail.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailurePolicy {
    /// Attempts of each run, the first included.
    #[serde(default = "FailurePolicy::default_attempts_per_run")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts_per_run: u32,
    /// Runs that may end Failed after all their attempts before the campaign ends.
    #[serde(default = "FailurePolicy::default_maximum_failed_runs")]
    #[schemars(range(min = 0, max = 10000))]
    pub maximum_failed_runs: u32,
}

impl FailurePolicy {
    const fn default_attempts_per_run() -> u32 {
        2
    }
    const fn default_maximum_failed_runs() -> u32 {
        3
    }
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            attempts_per_run: Self::default_attempts_per_run(),
            maximum_failed_runs: Self::default_maximum_failed_runs(),
        }
    }
}

/// What the campaign may cost.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Currency by its ISO 4217 code, for instance USD.
    #[schemars(length(min = 3, max = 3), regex(pattern = r"^[A-Z]{3}$"))]
    pub currency: String,
    /// Most that the campaign may cost, as a decimal number in quotes.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]{1,12}(\.[0-9]{1,6})?$"))]
    pub maximum: String,
}
