//! Experiments: named questions, each with a load, that expand to conditions.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;

/// A named question with a load. It expands to conditions by the product of its lists, or by its points.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.points) || (!has(self.load.maxConcurrency) && !has(self.load.requestRateMilli) && !has(self.load.saturation) && !has(self.maxNumSeqs) && !has(self.models))",
        "spec.experiments[].points: give points or lists, not both; remove load's lists, maxNumSeqs and models, or remove points"),
    validation = ("has(self.points) || has(self.load.maxConcurrency) || has(self.load.requestRateMilli) || has(self.load.saturation) || has(self.dataset.trace)",
        "spec.experiments[].load: give requestRateMilli, maxConcurrency or saturation, or give points"),
    validation = ("!has(self.dataset.random) || has(self.dataset.random.inputTokens) || (has(self.points) && self.points.all(p, has(p.inputTokens)))",
        "spec.experiments[].dataset.random.inputTokens: give it, or give inputTokens in every point"),
    validation = ("has(self.outputTokens) || (has(self.points) && self.points.all(p, has(p.outputTokens))) || has(self.dataset.toolbenchFile) || has(self.dataset.sharegpt) || has(self.dataset.custom) || has(self.dataset.trace)",
        "spec.experiments[].outputTokens: give it, or give outputTokens in every point"),
    validation = ("!has(self.dataset.trace) || !(has(self.load.requestRateMilli) || has(self.load.burstinessMilli) || has(self.load.saturation) || (has(self.points) && self.points.exists(p, has(p.requestRateMilli))))",
        "spec.experiments[].load: a trace brings its own arrival times; remove requestRateMilli, burstinessMilli and saturation, and set dataset.trace.speedMilli"),
    validation = ("!has(self.points) || has(self.dataset.random) || !self.points.exists(p, has(p.inputTokens))",
        "spec.experiments[].points[].inputTokens: only a random data set has a settable prompt length; remove it"),
    validation = ("!has(self.points) || !has(self.dataset.random) || self.dataset.random.sharedPrefixTokens == 0 || self.points.all(p, !has(p.inputTokens) || self.dataset.random.sharedPrefixTokens < p.inputTokens * (1000 - self.dataset.random.rangeRatioPermille) / 1000)",
        "spec.experiments[].dataset.random.sharedPrefixTokens: must be under the shortest prompt of every point; lower it"),
    validation = ("!has(self.points) || !has(self.dataset.prefixRepetition) || self.points.all(p, !has(p.prompts) || self.dataset.prefixRepetition.prefixes <= p.prompts)",
        "spec.experiments[].points[].prompts: must not be under the data set's prefixes, or some prefix occurs in none; raise it"),
    validation = ("!has(self.repetitions) || !has(self.repetitions.until) || !has(self.load.saturation)",
        "spec.experiments[].repetitions.until: a saturation search has no single width to reach; remove until or saturation"),
    validation = ("!has(self.load.burstinessMilli) || has(self.load.requestRateMilli) || (has(self.points) && self.points.exists(p, has(p.requestRateMilli)))",
        "spec.experiments[].load.burstinessMilli: it shapes arrivals by rate; give requestRateMilli or remove it")
)]
pub struct Experiment {
    /// Name of the experiment; files and labels use it.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Directory in the exported notebook tree (default: the name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub directory: Option<String>,
    /// Name of each condition. Fields in braces are replaced: {displayName}, {model}, {maxNumSeqs}, {concurrency},
    /// {rate}, {input}, {output}. Default: the fields that vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120), regex(pattern = r"^[A-Za-z0-9{][A-Za-z0-9 ._(){}+-]*$"))]
    pub condition_name: Option<String>,
    /// Where the prompts come from.
    pub dataset: Dataset,
    /// How requests arrive.
    #[serde(default)]
    pub load: Load,
    /// Listed conditions, in place of the product of the lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub points: Vec<Point>,
    /// Values of max-num-seqs to try, one condition for each (default: the engine's or the model's).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65536)))]
    pub max_num_seqs: Vec<u32>,
    /// Output tokens of each request, one condition for each (default: what a file says of each request, or else 256).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 1_048_576)))]
    pub output_tokens: Vec<u32>,
    /// Requests before the window, whose prompts never occur inside it.
    #[serde(default)]
    pub warmup: Warmup,
    /// Service-level objectives; goodput counts the requests that meet them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// Names of the models to ask (default: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 30)))]
    pub models: Vec<String>,
    /// Names of the routers to try (default: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 20)))]
    pub routers: Vec<String>,
    /// Names of the arms to run on (default: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 20)))]
    pub arms: Vec<String>,
    /// How often each condition is repeated.
    #[serde(default)]
    pub repetitions: Repetitions,
}

/// How requests arrive: an open loop by rate, a closed loop by concurrency, both together, or a search for saturation.
/// A trace brings its own arrival times; a concurrency may bound it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.saturation) || (!has(self.requestRateMilli) && !has(self.maxConcurrency))",
        "spec.experiments[].load.saturation: it chooses its own concurrencies; remove requestRateMilli and maxConcurrency")
)]
pub struct Load {
    /// Requests per 1,000 seconds to all servers of an arm together, one condition for each (72000 is 72 per second).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 1_000_000_000)))]
    pub request_rate_milli: Vec<u32>,
    /// Shape of the gamma distributed gaps in thousandths: 1000 is Poisson, less is burstier (default 1000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burstiness_milli: Option<u32>,
    /// Most requests in flight to all servers of an arm together, one condition for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65536)))]
    pub max_concurrency: Vec<u32>,
    /// Search for the concurrency beyond which throughput no longer grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<Saturation>,
}

/// A search for saturation: concurrency doubles until no arm and router gains any more.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.maximumConcurrency >= self.minimumConcurrency",
        "spec.experiments[].load.saturation.maximumConcurrency: must not be under minimumConcurrency; raise it")
)]
pub struct Saturation {
    /// First concurrency.
    #[serde(default = "Saturation::default_minimum_concurrency")]
    #[schemars(range(min = 1, max = 65536))]
    pub minimum_concurrency: u32,
    /// Last concurrency that may be tried.
    #[schemars(range(min = 1, max = 65536))]
    pub maximum_concurrency: u32,
    /// A doubling that raises output throughput by less than this, in permille, counts as no gain.
    #[serde(default = "Saturation::default_gain_permille")]
    #[schemars(range(min = 1, max = 1000))]
    pub gain_permille: u32,
}

impl Saturation {
    const fn default_minimum_concurrency() -> u32 {
        1
    }
    const fn default_gain_permille() -> u32 {
        50
    }
}

/// One listed condition. What it leaves out comes from the experiment.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.maxConcurrency) || has(self.requestRateMilli)",
        "spec.experiments[].points[]: give maxConcurrency or requestRateMilli, so that the load is known")
)]
pub struct Point {
    /// Name of the model.
    #[schemars(length(min = 1, max = 30))]
    pub model: String,
    /// Value of max-num-seqs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_num_seqs: Option<u32>,
    /// Most requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_concurrency: Option<u32>,
    /// Requests per 1,000 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub request_rate_milli: Option<u32>,
    /// Prompt length in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub input_tokens: Option<u32>,
    /// Output tokens of each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub output_tokens: Option<u32>,
    /// Requests of each run, in place of the data set's number: what fills a window of some length depends on the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: Option<u32>,
}

/// Requests before the window.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// Requests to all servers of an arm together.
    #[serde(default = "Warmup::default_requests")]
    #[schemars(range(min = 0, max = 100_000))]
    pub requests: u32,
}

impl Warmup {
    const fn default_requests() -> u32 {
        10
    }
}

impl Default for Warmup {
    fn default() -> Self {
        Self { requests: Self::default_requests() }
    }
}

/// Service-level objectives of a request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.ttftMilliseconds) || has(self.itlMilliseconds) || has(self.e2elMilliseconds)",
        "spec.experiments[].slo: give ttftMilliseconds, itlMilliseconds or e2elMilliseconds, or remove slo")
)]
pub struct Slo {
    /// Most milliseconds to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub ttft_milliseconds: Option<u32>,
    /// Most milliseconds between tokens, as the request's mean after the first (TPOT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub itl_milliseconds: Option<u32>,
    /// Most milliseconds to the last token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub e2el_milliseconds: Option<u32>,
}

/// How often each condition is repeated.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.maximum) || self.maximum >= self.minimum",
        "spec.experiments[].repetitions.maximum: must not be under minimum; raise it"),
    validation = ("has(self.until) == (has(self.maximum) && self.maximum > self.minimum)",
        "spec.experiments[].repetitions: until and a maximum above the minimum belong together; give both or neither")
)]
pub struct Repetitions {
    /// Repetitions that are always run; each is one pair of every two arms. Under 6 no p-value reaches 0.05.
    #[serde(default = "Repetitions::default_minimum")]
    #[schemars(range(min = 1, max = 100))]
    pub minimum: u32,
    /// Most repetitions, with `until` (default: the minimum).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub maximum: Option<u32>,
    /// Repeat beyond the minimum until an interval is narrow enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

impl Repetitions {
    const fn default_minimum() -> u32 {
        6
    }
}

impl Default for Repetitions {
    fn default() -> Self {
        Self { minimum: Self::default_minimum(), maximum: None, until: None }
    }
}

/// When repetitions may stop. It is looked at after 6, 8, 10 and 12 blocks only, and the report says how often.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Until {
    /// The metric whose ratio between arms is looked at.
    pub metric: Metric,
    /// Half-width of the ratio's 95 % interval, in permille, at which repetitions stop.
    #[schemars(range(min = 1, max = 1000))]
    pub ratio_half_width_permille: u32,
}

/// A metric of a run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Output tokens per second.
    OutputThroughput,
    /// Requests per second.
    RequestThroughput,
    /// Median time to first token.
    MedianTtft,
    /// Median inter-token latency.
    MedianItl,
    /// Median end-to-end latency.
    MedianE2el,
}
