//! The data of a plan; `plan.json` holds it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    campaign::{BenchmarkCampaignSpec, Dataset, EngineSettings, Slo},
    policy::RouterPolicySpec,
};

/// A whole campaign in order. Equal files give equal plans, byte for byte.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Name of the campaign.
    pub campaign: String,
    /// Seed of everything random.
    pub seed: u64,
    /// The campaign's spec with all defaults, as it was planned. What may change after the start stands at its default:
    /// [`Limits`](super::next::Limits) are read from the live spec.
    pub spec: BenchmarkCampaignSpec,
    /// The policies that routers name, copied, so that later edits change nothing.
    pub policies: BTreeMap<String, RouterPolicySpec>,
    /// What was found in the files of data sets, by experiment; one that nobody has read yet is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dataset_files: BTreeMap<String, DatasetFile>,
    /// Conditions in the order of experiments and of their lists or points; later points of saturation searches are
    /// appended, so that an index stays valid.
    pub conditions: Vec<Condition>,
    /// Boots in the order in which they happen.
    pub boots: Vec<Boot>,
    /// Blocks in the order in which they happen.
    pub blocks: Vec<Block>,
    /// What it will take.
    pub estimate: Estimate,
}

/// What was found in the file of a data set when the campaign was planned: a file that changes later gives another plan.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DatasetFile {
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Requests in it that can be used.
    pub requests: u64,
    /// Mean length of their prompts in tokens: exact for token ids and traces, an estimate for text.
    pub mean_prompt_tokens: u32,
    /// Mean output in tokens, as the file says; absent where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_output_tokens: Option<u32>,
    /// Tokens of the longest prompt, where token counts are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_prompt_tokens: Option<u32>,
    /// Most tokens that a prompt and its output take together, where token counts are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_tokens: Option<u32>,
    /// From the first arrival of a run to its last in milliseconds, for a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals_milliseconds: Option<u64>,
}

/// Model, engine settings and load: what is measured.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the experiment.
    pub experiment: String,
    /// Directory name of the condition; unique in its experiment.
    pub slug: String,
    /// The condition's name for people and for the notebook tree; unique in its experiment.
    pub name: String,
    /// Name of the model.
    pub model: String,
    /// Settings after the engine's, the model's and the point's; each arm's own come on top.
    pub engine: EngineSettings,
    /// The data set with exactly one prompt length.
    pub dataset: Dataset,
    /// How requests arrive.
    pub load: LoadPoint,
    /// Prompt length in tokens, for a random data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u32>,
    /// Output tokens of each request; absent where the data set's file says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// Requests before the window.
    pub warmup_requests: u32,
    /// Service-level objectives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// Names of the arms it runs on, in the order of the file.
    pub arms: Vec<String>,
    /// Names of the routers it is tried with, in the order of the file.
    pub routers: Vec<String>,
    /// For a point of a saturation search, the slug of the search's first point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}

/// How requests of one condition arrive. Rate and concurrency are both absent only for a trace, which has its own times.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LoadPoint {
    /// Requests per 1,000 seconds; absent means as a trace says, or else as fast as concurrency allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate_milli: Option<u32>,
    /// Shape of the gamma distributed gaps, in thousandths.
    pub burstiness_milli: u32,
    /// Most requests in flight; absent means unbounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
}

/// Servers of some arms started anew for one (model, engine settings).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// Name of the model.
    pub model: String,
    /// Settings before each arm's own.
    pub engine: EngineSettings,
    /// Arms whose servers start, in the order of the file; an arm with `serviceRef` takes part without a start.
    pub arms: Vec<String>,
    /// The repetition it serves; absent when it is kept through all (`restart: Campaign`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
}

/// One repetition of a condition: one run for each arm and router, with the same requests.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Index of the condition.
    pub condition: usize,
    /// Number of the repetition, from 1.
    pub repetition: u32,
    /// Seed of the prompts and arrival times of all runs of this block.
    pub seed: u64,
    /// The runs in order.
    pub runs: Vec<PlannedRun>,
}

/// One run of a block.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRun {
    /// Name of the arm.
    pub arm: String,
    /// Name of the router.
    pub router: String,
    /// Index of the boot it runs on.
    pub boot: usize,
}

/// Names a run in its campaign; prints as its path in the results tree without the attempt.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct RunId {
    /// Name of the experiment.
    pub experiment: String,
    /// Slug of the condition.
    pub condition: String,
    /// Name of the arm.
    pub arm: String,
    /// Name of the router.
    pub router: String,
    /// Number of the repetition, from 1.
    pub repetition: u32,
}

impl RunId {
    /// Path of one attempt under `runs/`.
    #[must_use]
    pub fn attempt_path(&self, attempt: u32) -> String {
        format!("{self}a{attempt}")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { experiment, condition, arm, router, repetition } = self;
        write!(f, "{experiment}/{condition}/{arm}/{router}/r{repetition}")
    }
}

/// How requests reach the servers of a run, with everything that the name in the file stood for.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum RouterTarget {
    /// The load generator takes the servers in turn.
    Direct {
        /// Most requests in flight to one server; 0 means unbounded.
        #[serde(rename = "maxInFlightPerServer")]
        max_in_flight_per_server: u32,
    },
    /// Our routers, by this policy.
    Policy(RouterPolicySpec),
    /// A foreign router.
    Foreign {
        /// Base address.
        url: String,
    },
}

/// What a campaign will take; each figure is a range.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// From start to end, in seconds.
    pub duration_seconds: Range<u64>,
    /// Money for the machines, when every arm has a price in one currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Range<rust_decimal::Decimal>>,
    /// Currency of the cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// A least and a greatest value.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Range<T> {
    /// The least.
    pub minimum: T,
    /// The greatest.
    pub maximum: T,
}
