//! The `RouterPolicy` custom resource: how requests are spread over the servers of one arm.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;

/// How requests are spread over the servers of one arm. A campaign runs on the copy that its plan holds, so a policy
/// may be edited or deleted at any time.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "teebench.dev",
    version = "v1alpha1",
    kind = "RouterPolicy",
    plural = "routerpolicies",
    shortname = "rp",
    category = "teebench",
    namespaced,
    status = "RouterPolicyStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"MODE","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"BALANCING","type":"string","jsonPath":".spec.hashRadixTree.loadBalancing"}"#,
    printcolumn = r#"{"name":"TOPOLOGY","type":"string","jsonPath":".spec.topology"}"#,
    printcolumn = r#"{"name":"CAMPAIGNS","type":"integer","jsonPath":".status.campaigns"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.hashRadixTree) == (self.mode == 'HashRadixTree')",
        "spec.hashRadixTree: give it exactly when spec.mode is HashRadixTree; change the mode or move the block"),
    validation = ("!has(self.replicas) || self.topology == 'Gateway'",
        "spec.replicas: with topology Sidecar every server has its own router; remove it or choose topology Gateway")
)]
pub struct RouterPolicySpec {
    /// How a server is chosen: in turn, by the least load, or by the prefix each server holds.
    pub mode: RouterMode,
    /// Settings of the HR-Tree; only with mode HashRadixTree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_radix_tree: Option<HashRadixTree>,
    /// Most requests in flight to one server at a time; the others wait in the router's queue. 0 means unbounded.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65536))]
    pub max_in_flight_per_server: u32,
    /// Bounds of the router's own waiting queue.
    #[serde(default)]
    pub queue: RouterQueue,
    /// Where the router runs: beside every server, or as a deployment in front of them.
    #[serde(default)]
    pub topology: Topology,
    /// Routers of a Gateway topology. Refused with topology Sidecar, where every server has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: Option<u32>,
}

/// How a router chooses a server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouterMode {
    /// Each server in its turn.
    RoundRobin,
    /// The server with the fewest requests in flight.
    LeastLoaded,
    /// The server that holds the longest prefix of the prompt, balanced by load.
    HashRadixTree,
}

/// Settings of the HR-Tree.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HashRadixTree {
    /// How load decides among the holders of a prefix.
    #[serde(default)]
    pub load_balancing: LoadBalancing,
    /// How a prompt is cut into chunks.
    #[serde(default)]
    pub chunk: Chunking,
    /// Bits kept of each chunk's hash. 8 reproduces the paper, 64 makes a false match negligible.
    #[serde(default = "HashRadixTree::default_hash_bits")]
    #[schemars(range(min = 8, max = 64))]
    pub hash_bits: u32,
    /// Chunks a prompt must share with a holder before the match counts as a hit.
    #[serde(default = "HashRadixTree::default_hit_threshold_chunks")]
    #[schemars(range(min = 1, max = 1024))]
    pub hit_threshold_chunks: u32,
    /// Most nodes the tree may hold; the least recently used path goes first.
    #[serde(default = "HashRadixTree::default_maximum_tree_nodes")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub maximum_tree_nodes: u32,
    /// When a server counts as unreliable and gets no new prefix.
    #[serde(default)]
    pub reputation: Reputation,
    /// Least time between two messages of one replica to the others, in milliseconds; after a pause, news go out at once.
    #[serde(default = "HashRadixTree::default_sync_milliseconds")]
    #[schemars(range(min = 10, max = 60000))]
    pub sync_milliseconds: u32,
}

impl HashRadixTree {
    const fn default_hash_bits() -> u32 {
        64
    }
    const fn default_hit_threshold_chunks() -> u32 {
        1
    }
    const fn default_maximum_tree_nodes() -> u32 {
        262_144
    }
    const fn default_sync_milliseconds() -> u32 {
        500
    }
}

impl Default for HashRadixTree {
    fn default() -> Self {
        Self {
            load_balancing: LoadBalancing::default(),
            chunk: Chunking::default(),
            hash_bits: Self::default_hash_bits(),
            hit_threshold_chunks: Self::default_hit_threshold_chunks(),
            maximum_tree_nodes: Self::default_maximum_tree_nodes(),
            reputation: Reputation::default(),
            sync_milliseconds: Self::default_sync_milliseconds(),
        }
    }
}

/// How load decides among the holders of a prefix.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadBalancing {
    /// The deepest holder, whatever its load.
    None,
    /// The paper's factor: latency times queue over capacity.
    LatencyFactor,
    /// The server with the least expected time to the first token: the wait behind the work ahead, and the prefill of
    /// what the server does not hold, both at rates learned from traffic.
    #[default]
    ExpectedCost,
}

/// How a prompt is cut into chunks; give exactly one of `bytes`, `lengths` and `learned`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.bytes), has(self.lengths), has(self.learned)].filter(given, given).size() == 1",
        "spec.hashRadixTree.chunk: give exactly one of bytes, lengths and learned; remove the others"),
    validation = ("!has(self.remainder) || has(self.lengths)",
        "spec.hashRadixTree.chunk.remainder: belongs to chunk.lengths; remove it or give lengths")
)]
pub struct Chunking {
    /// Bytes of every chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 65536))]
    pub bytes: Option<u32>,
    /// Bytes of the first chunks, in order, for known shared prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        inner(range(min = 1, max = 1_048_576)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub lengths: Vec<u32>,
    /// Bytes of every chunk after the listed ones (256 when absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 65536))]
    pub remainder: Option<u32>,
    /// Lengths of the first chunks found by watching the traffic for shared system prompts, as the paper's Sentry does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<LearnedChunking>,
}

impl Chunking {
    /// Bytes of a chunk where nothing else is said.
    pub const DEFAULT_BYTES: u32 = 256;

    /// Every chunk has so many bytes.
    pub const fn fixed(bytes: u32) -> Self {
        Self { bytes: Some(bytes), lengths: Vec::new(), remainder: None, learned: None }
    }
}

impl Default for Chunking {
    fn default() -> Self {
        Self::fixed(Self::DEFAULT_BYTES)
    }
}

/// Chunks whose lengths are learned from the traffic.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LearnedChunking {
    /// Bytes of every chunk that no shared system prompt ends in.
    #[serde(default = "LearnedChunking::default_remainder")]
    #[schemars(range(min = 16, max = 65536))]
    pub remainder: u32,
}

impl LearnedChunking {
    const fn default_remainder() -> u32 {
        Chunking::DEFAULT_BYTES
    }
}

impl Default for LearnedChunking {
    fn default() -> Self {
        Self { remainder: Self::default_remainder() }
    }
}

/// When a server counts as unreliable.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Reputation {
    /// Share of successful requests, in permille, under which a server gets no new prefix.
    #[serde(default = "Reputation::default_threshold_permille")]
    #[schemars(range(min = 0, max = 1000))]
    pub threshold_permille: u32,
    /// Requests over which the share is counted.
    #[serde(default = "Reputation::default_window_requests")]
    #[schemars(range(min = 1, max = 10000))]
    pub window_requests: u32,
}

impl Reputation {
    const fn default_threshold_permille() -> u32 {
        300
    }
    const fn default_window_requests() -> u32 {
        50
    }
}

impl Default for Reputation {
    fn default() -> Self {
        Self {
            threshold_permille: Self::default_threshold_permille(),
            window_requests: Self::default_window_requests(),
        }
    }
}

/// Bounds of the router's waiting queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouterQueue {
    /// Most requests that wait; one more is answered with status 429.
    #[serde(default = "RouterQueue::default_maximum")]
    #[schemars(range(min = 0, max = 1_048_576))]
    pub maximum: u32,
    /// Longest wait in milliseconds before a request is answered with status 503.
    #[serde(default = "RouterQueue::default_timeout_milliseconds")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub timeout_milliseconds: u32,
}

impl RouterQueue {
    const fn default_maximum() -> u32 {
        1024
    }
    const fn default_timeout_milliseconds() -> u32 {
        600_000
    }
}

impl Default for RouterQueue {
    fn default() -> Self {
        Self { maximum: Self::default_maximum(), timeout_milliseconds: Self::default_timeout_milliseconds() }
    }
}

/// Where the router runs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Topology {
    /// A router beside every server; request i enters at server i mod N.
    #[default]
    Sidecar,
    /// Routers of their own in front of all servers.
    Gateway,
}

/// What the operator reports of a policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouterPolicyStatus {
    /// The generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// Campaigns that name this policy and have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub campaigns: Option<u32>,
}
