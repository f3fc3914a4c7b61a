//! Data sets: where the prompts of an experiment come from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where prompts come from; give exactly one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(has(self.random) ? 1 : 0) + (has(self.toolbench) ? 1 : 0) + (has(self.toolbenchFile) ? 1 : 0) == 1",
        "spec.experiments[].dataset: give exactly one of random, toolbench and toolbenchFile; remove the others")
)]
pub struct Dataset {
    /// Random token ids of a given length: nothing shared but what sharedPrefixTokens says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<RandomDataset>,
    /// Generated ToolBench-like prompts: one system prompt for all, a block for each tool, a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolbench: Option<ToolbenchDataset>,
    /// ToolBench prompts from a JSON-lines file that the load generator can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolbench_file: Option<ToolbenchFile>,
}

/// Random prompts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.sharedPrefixTokens == 0 || !has(self.inputTokens) || self.inputTokens.all(t, self.sharedPrefixTokens < t * (1000 - self.rangeRatioPermille) / 1000)",
        "spec.experiments[].dataset.random.sharedPrefixTokens: must be under the shortest prompt, inputTokens less rangeRatioPermille; lower it")
)]
pub struct RandomDataset {
    /// Requests of each run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// Prompt length in tokens; a list gives one condition for each. Left out where `points` give it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 1_048_576)))]
    pub input_tokens: Vec<u32>,
    /// Half-width of the range that lengths are drawn from, in permille of the length; 0 makes all lengths equal.
    #[serde(default)]
    #[schemars(range(min = 0, max = 999))]
    pub range_ratio_permille: u32,
    /// Tokens at the start of every prompt that are the same in all prompts of a run.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_048_576))]
    pub shared_prefix_tokens: u32,
}

/// Generated ToolBench-like prompts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.reuse != 'None' || self.exactDuplicatesPermille == 0",
        "spec.experiments[].dataset.toolbench.exactDuplicatesPermille: with reuse None no two prompts share anything; remove it or change reuse")
)]
pub struct ToolbenchDataset {
    /// Requests of each run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// Tools; each has a block of its own, drawn once.
    #[serde(default = "ToolbenchDataset::default_tools")]
    #[schemars(range(min = 1, max = 100_000))]
    pub tools: u32,
    /// Exponent of the tools' Zipf popularity, in thousandths (1100 is 1.1; 0 makes all tools equally popular).
    #[serde(default = "ToolbenchDataset::default_zipf_exponent_milli")]
    #[schemars(range(min = 0, max = 5000))]
    pub zipf_exponent_milli: u32,
    /// What prompts share.
    #[serde(default)]
    pub reuse: Reuse,
    /// Share of prompts that repeat an earlier one exactly, in permille.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub exact_duplicates_permille: u32,
}

impl ToolbenchDataset {
    const fn default_tools() -> u32 {
        200
    }
    const fn default_zipf_exponent_milli() -> u32 {
        1100
    }
}

/// What generated ToolBench prompts share.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reuse {
    /// The system prompt, and the tool's block among prompts of one tool.
    #[default]
    Tools,
    /// Nothing: the control load, in which every prompt has its own system prompt and tool block.
    None,
}

/// ToolBench prompts from a file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ToolbenchFile {
    /// Path of a JSON-lines file of `{"text": …, "sampling_params": {"temperature": …, "max_new_tokens": …}}`.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// Requests of each run, taken from the file's lines in an order drawn from the seed.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
}
