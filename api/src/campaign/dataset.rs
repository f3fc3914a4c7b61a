//! Data sets: where the prompts of an experiment come from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where prompts come from; give exactly one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.random), has(self.prefixRepetition), has(self.toolbench), has(self.toolbenchFile), has(self.sharegpt), has(self.custom), has(self.trace)].filter(given, given).size() == 1",
        "spec.experiments[].dataset: give exactly one of random, prefixRepetition, toolbench, toolbenchFile, sharegpt, custom and trace; remove the others")
)]
pub struct Dataset {
    /// Random token ids of a given length: nothing shared but what sharedPrefixTokens says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<RandomDataset>,
    /// Random prompts that open with one of several shared prefixes, each used equally often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_repetition: Option<PrefixRepetitionDataset>,
    /// Generated ToolBench-like prompts: one system prompt for all, a block for each tool, a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolbench: Option<ToolbenchDataset>,
    /// ToolBench prompts from a file of JSON lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolbench_file: Option<ToolbenchFile>,
    /// First turns of conversations from a ShareGPT file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharegpt: Option<SharegptDataset>,
    /// Prompts from a file of JSON lines of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomDataset>,
    /// A recorded trace in Mooncake's format: lengths, shared blocks and arrival times of real traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceDataset>,
}

/// The one kind of data set that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetKind<'a> {
    /// Random prompts.
    Random(&'a RandomDataset),
    /// Random prompts with shared prefixes.
    PrefixRepetition(&'a PrefixRepetitionDataset),
    /// Generated ToolBench-like prompts.
    Toolbench(&'a ToolbenchDataset),
    /// ToolBench prompts from a file.
    ToolbenchFile(&'a ToolbenchFile),
    /// Conversations from a file.
    Sharegpt(&'a SharegptDataset),
    /// Prompts from a file.
    Custom(&'a CustomDataset),
    /// A recorded trace.
    Trace(&'a TraceDataset),
}

impl Dataset {
    /// The kind that is given; `None` when it is not exactly one.
    #[must_use]
    pub fn kind(&self) -> Option<DatasetKind<'_>> {
        let Self { random, prefix_repetition, toolbench, toolbench_file, sharegpt, custom, trace } = self;
        let mut given = [
            random.as_ref().map(DatasetKind::Random),
            prefix_repetition.as_ref().map(DatasetKind::PrefixRepetition),
            toolbench.as_ref().map(DatasetKind::Toolbench),
            toolbench_file.as_ref().map(DatasetKind::ToolbenchFile),
            sharegpt.as_ref().map(DatasetKind::Sharegpt),
            custom.as_ref().map(DatasetKind::Custom),
            trace.as_ref().map(DatasetKind::Trace),
        ]
        .into_iter()
        .flatten();
        given.next().filter(|_| given.next().is_none())
    }

    /// The file that it is read from; `None` for one that is generated.
    #[must_use]
    pub fn source(&self) -> Option<&FileSource> {
        match self.kind()? {
            DatasetKind::Random(_) | DatasetKind::PrefixRepetition(_) | DatasetKind::Toolbench(_) => None,
            DatasetKind::ToolbenchFile(set) => Some(&set.source),
            DatasetKind::Sharegpt(set) => Some(&set.source),
            DatasetKind::Custom(set) => Some(&set.source),
            DatasetKind::Trace(set) => Some(&set.source),
        }
    }

    /// Requests of each run.
    #[must_use]
    pub fn prompts(&self) -> u32 {
        match self.kind() {
            None => 0,
            Some(DatasetKind::Random(set)) => set.prompts,
            Some(DatasetKind::PrefixRepetition(set)) => set.prompts,
            Some(DatasetKind::Toolbench(set)) => set.prompts,
            Some(DatasetKind::ToolbenchFile(set)) => set.prompts,
            Some(DatasetKind::Sharegpt(set)) => set.prompts,
            Some(DatasetKind::Custom(set)) => set.prompts,
            Some(DatasetKind::Trace(set)) => set.prompts,
        }
    }

    /// The same prompts, more of them or fewer.
    #[must_use]
    pub fn with_prompts(mut self, prompts: u32) -> Self {
        let Self { random, prefix_repetition, toolbench, toolbench_file, sharegpt, custom, trace } = &mut self;
        let given = [
            random.as_mut().map(|set| &mut set.prompts),
            prefix_repetition.as_mut().map(|set| &mut set.prompts),
            toolbench.as_mut().map(|set| &mut set.prompts),
            toolbench_file.as_mut().map(|set| &mut set.prompts),
            sharegpt.as_mut().map(|set| &mut set.prompts),
            custom.as_mut().map(|set| &mut set.prompts),
            trace.as_mut().map(|set| &mut set.prompts),
        ];
        for number in given.into_iter().flatten() {
            *number = prompts;
        }
        self
    }
}

/// Where the file of a data set lies; give exactly one of `path`, `configMap` and `claim`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.path), has(self.configMap), has(self.claim)].filter(given, given).size() == 1",
        "path, configMap, claim: give exactly one of them; remove the others")
)]
pub struct FileSource {
    /// Path of a file on the machine of a local run, relative to the campaign file; a cluster has no such file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// Key of a ConfigMap in the campaign's namespace, for files of up to 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapFile>,
    /// File in a PersistentVolumeClaim of the campaign's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimFile>,
    /// SHA-256 of the file in hex; a file with another content is refused (default: any content, which every run records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// A file that a ConfigMap holds under one of its keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapFile {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

/// A file that lies in a claim.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!self.path.contains('..')",
        "path must stay inside the claim; remove the dots")
)]
pub struct ClaimFile {
    /// Name of the PersistentVolumeClaim; it is mounted read-only.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Path of the file from the root of the claim, without a slash before it.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"))]
    pub path: String,
}

/// In which form generated prompts are sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptForm {
    /// Token ids, whose number is exact whatever the model.
    #[default]
    TokenIds,
    /// Words, about one for each token, which the server tokenises.
    Text,
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
    /// Form of the prompts.
    #[serde(default)]
    pub prompt_form: PromptForm,
}

/// Random prompts, each with one of several shared prefixes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.prefixes <= self.prompts",
        "spec.experiments[].dataset.prefixRepetition.prefixes: must not be over prompts, or some prefix occurs in none; lower it")
)]
pub struct PrefixRepetitionDataset {
    /// Requests of each run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// Prefixes; requests are dealt over them evenly, in an order drawn from the seed.
    #[serde(default = "PrefixRepetitionDataset::default_prefixes")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prefixes: u32,
    /// Length of each prefix in tokens.
    #[serde(default = "PrefixRepetitionDataset::default_tokens")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub prefix_tokens: u32,
    /// Length in tokens of what follows the prefix, which no two requests share.
    #[serde(default = "PrefixRepetitionDataset::default_tokens")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub suffix_tokens: u32,
    /// Form of the prompts.
    #[serde(default)]
    pub prompt_form: PromptForm,
}

impl PrefixRepetitionDataset {
    const fn default_prefixes() -> u32 {
        10
    }
    const fn default_tokens() -> u32 {
        256
    }
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
    /// JSON lines of `{"text": …, "sampling_params": {"temperature": …, "max_new_tokens": …}}`.
    #[serde(flatten)]
    pub source: FileSource,
    /// Requests of each run, in an order drawn from the seed; each repetition goes on where the one before ended.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// Whether a file with fewer requests than `prompts` is gone through again; otherwise it is refused.
    #[serde(default)]
    pub oversample: bool,
}

/// Conversations from a ShareGPT file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SharegptDataset {
    /// A JSON array, or JSON lines, of `{"conversations": [{"value": …}, {"value": …}, …]}`.
    #[serde(flatten)]
    pub source: FileSource,
    /// Requests of each run, in an order drawn from the seed; conversations without an answer, and very short or long
    /// ones, are left out as `vllm bench serve` does.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// Whether a file with fewer requests than `prompts` is gone through again; otherwise it is refused.
    #[serde(default)]
    pub oversample: bool,
}

/// Prompts from a file of JSON lines.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CustomDataset {
    /// JSON lines of `{"prompt": text or token ids, "output_tokens": number}`; the latter may be left out.
    #[serde(flatten)]
    pub source: FileSource,
    /// Requests of each run, in an order drawn from the seed; each repetition goes on where the one before ended.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// Whether a file with fewer requests than `prompts` is gone through again; otherwise it is refused.
    #[serde(default)]
    pub oversample: bool,
}

/// A recorded trace in Mooncake's format.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TraceDataset {
    /// JSON lines of `{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [block, …]}`.
    #[serde(flatten)]
    pub source: FileSource,
    /// Requests of each run: the first of the trace, at its own time stamps.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prompts: u32,
    /// How much faster than recorded requests arrive, in thousandths: 2000 is twice as fast.
    #[serde(default = "TraceDataset::default_speed_milli")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub speed_milli: u32,
    /// Tokens of a block that one hash id stands for.
    #[serde(default = "TraceDataset::default_block_tokens")]
    #[schemars(range(min = 1, max = 65536))]
    pub block_tokens: u32,
    /// Requests with longer prompts, in tokens, are left out (default: none is).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_485_760))]
    pub maximum_input_tokens: Option<u32>,
}

impl TraceDataset {
    const fn default_speed_milli() -> u32 {
        1000
    }
    const fn default_block_tokens() -> u32 {
        512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_data_sets_are_no_kind() {
        let custom = |prompts| CustomDataset { source: FileSource::default(), prompts, oversample: false };
        let one = Dataset { custom: Some(custom(7)), ..Dataset::default() };
        assert_eq!((one.prompts(), one.source()), (7, Some(&FileSource::default())));
        let trace = serde_json::from_value(serde_json::json!({"path": "t.jsonl", "prompts": 3})).unwrap();
        let two = Dataset { trace: Some(trace), ..one };
        assert_eq!((two.kind(), two.prompts(), two.source()), (None, 0, None));
        assert_eq!(Dataset::default().kind(), None);
    }

    #[test]
    fn a_source_lies_flat_beside_the_number_of_prompts() {
        let file = serde_json::json!({"claim": {"name": "traces", "path": "a/b.jsonl"}, "prompts": 3});
        let trace: TraceDataset = serde_json::from_value(file).unwrap();
        assert_eq!((trace.speed_milli, trace.block_tokens), (1000, 512));
        assert_eq!(trace.source.claim.unwrap().path, "a/b.jsonl");
    }
}
