//! A router policy after validation: what the engine, the queue and the chunker go by.

use std::num::NonZeroU32;
use std::time::Duration;

use teebench_api::policy::{
    Chunking, HashRadixTree, LearnedChunking, LoadBalancing, Reputation, RouterMode, RouterPolicySpec, RouterQueue,
};

use crate::tree::chunk::ChunkPlan;

/// A policy that can be routed by.
#[derive(Clone, Debug)]
pub struct PolicySettings {
    /// How a worker is chosen.
    pub mode: Mode,
    /// How prompts are cut. Every mode parses and hashes them, so that a baseline pays what HR-Tree pays.
    pub chunks: Chunks,
    /// Most requests in flight to one worker; none means unbounded.
    pub max_in_flight_per_server: Option<NonZeroU32>,
    /// Most requests that wait for a slot.
    pub queue_limit: usize,
    /// Longest wait for a slot.
    pub queue_timeout: Duration,
    /// Time between two messages to the other routers.
    pub sync_interval: Duration,
}

/// How prompts are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// In one way, from the beginning to the end.
    Planned(ChunkPlan),
    /// As the traffic teaches; what it does not tell of, every so many bytes.
    Learned {
        /// Bytes of a chunk in which no shared system prompt ends.
        remainder: u32,
    },
}

/// How a worker is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each worker in its turn.
    RoundRobin,
    /// The worker with the fewest requests in flight.
    LeastLoaded,
    /// The worker that holds the longest prefix.
    HashRadixTree(TreeSettings),
}

/// Settings of the HR-Tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeSettings {
    /// How load decides among holders.
    pub balancing: LoadBalancing,
    /// Bits kept of a chunk's hash, 8 to 64.
    pub hash_bits: u32,
    /// Chunks beyond the common prefix that make a hit.
    pub gate_chunks: usize,
    /// Most nodes of the tree.
    pub maximum_nodes: u32,
    /// When a worker counts as unreliable.
    pub reputation: Reputation,
}

/// Why a policy cannot be routed by.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// The block is missing, or belongs to another mode.
    #[error(
        "policy.hashRadixTree: give it exactly when policy.mode is HashRadixTree; change the mode or move the block"
    )]
    TreeBlock,
    /// None or several of the ways to cut a prompt.
    #[error("policy.hashRadixTree.chunk: give exactly one of bytes, lengths and learned; remove the others")]
    ChunkChoice,
    /// A remainder without lengths.
    #[error("policy.hashRadixTree.chunk.remainder: belongs to chunk.lengths; remove it or give lengths")]
    ChunkRemainder,
    /// A number outside its bounds.
    #[error("policy.{field}: {value} is not within {minimum} and {maximum}; give a number within")]
    OutOfBounds {
        /// Path of the field.
        field: &'static str,
        /// What was given.
        value: u64,
        /// The least allowed.
        minimum: u64,
        /// The most allowed.
        maximum: u64,
    },
    /// More lengths than the schema allows.
    #[error("policy.hashRadixTree.chunk.lengths: {0} are listed; list at most 64")]
    TooManyLengths(usize),
}

impl TryFrom<&RouterPolicySpec> for PolicySettings {
    type Error = PolicyError;

    fn try_from(spec: &RouterPolicySpec) -> Result<Self, PolicyError> {
        // The topology and the number of routers are the operator's business.
        let RouterPolicySpec { mode, hash_radix_tree, max_in_flight_per_server, queue, topology: _, replicas: _ } =
            spec;
        let RouterQueue { maximum, timeout_milliseconds } = *queue;
        bounded("maxInFlightPerServer", *max_in_flight_per_server, 0, 65_536)?;
        bounded("queue.maximum", maximum, 0, 1_048_576)?;
        bounded("queue.timeoutMilliseconds", timeout_milliseconds, 1, 3_600_000)?;
        let tree = match (mode, hash_radix_tree) {
            (RouterMode::HashRadixTree, Some(tree)) => Some(tree),
            (RouterMode::RoundRobin | RouterMode::LeastLoaded, None) => None,
            (RouterMode::HashRadixTree, None) | (RouterMode::RoundRobin | RouterMode::LeastLoaded, Some(_)) => {
                return Err(PolicyError::TreeBlock);
            }
        };
        let default_tree = HashRadixTree::default();
        let HashRadixTree {
            load_balancing,
            chunk,
            hash_bits,
            hit_threshold_chunks,
            maximum_tree_nodes,
            reputation,
            sync_milliseconds,
        } = tree.unwrap_or(&default_tree);
        bounded("hashRadixTree.hashBits", *hash_bits, 8, 64)?;
        bounded("hashRadixTree.hitThresholdChunks", *hit_threshold_chunks, 1, 1024)?;
        bounded("hashRadixTree.maximumTreeNodes", *maximum_tree_nodes, 1024, 16_777_216)?;
        bounded("hashRadixTree.reputation.thresholdPermille", reputation.threshold_permille, 0, 1000)?;
        bounded("hashRadixTree.reputation.windowRequests", reputation.window_requests, 1, 10_000)?;
        bounded("hashRadixTree.syncMilliseconds", *sync_milliseconds, 10, 60_000)?;
        let tree_settings = TreeSettings {
            balancing: *load_balancing,
            hash_bits: *hash_bits,
            gate_chunks: *hit_threshold_chunks as usize,
            maximum_nodes: *maximum_tree_nodes,
            reputation: *reputation,
        };
        Ok(Self {
            mode: match mode {
                RouterMode::RoundRobin => Mode::RoundRobin,
                RouterMode::LeastLoaded => Mode::LeastLoaded,
                RouterMode::HashRadixTree => Mode::HashRadixTree(tree_settings),
            },
            chunks: chunks(chunk)?,
            max_in_flight_per_server: NonZeroU32::new(*max_in_flight_per_server),
            queue_limit: maximum as usize,
            queue_timeout: Duration::from_millis(timeout_milliseconds.into()),
            sync_interval: Duration::from_millis((*sync_milliseconds).into()),
        })
    }
}

fn chunks(chunk: &Chunking) -> Result<Chunks, PolicyError> {
    let Chunking { bytes, lengths, remainder, learned } = chunk;
    if remainder.is_some() && lengths.is_empty() {
        return Err(PolicyError::ChunkRemainder);
    }
    match (bytes, lengths.as_slice(), learned) {
        (Some(bytes), [], None) => {
            bounded("hashRadixTree.chunk.bytes", *bytes, 16, 65_536)?;
            Ok(Chunks::Planned(ChunkPlan::fixed(*bytes)))
        }
        (None, [], Some(LearnedChunking { remainder })) => {
            bounded("hashRadixTree.chunk.learned.remainder", *remainder, 16, 65_536)?;
            Ok(Chunks::Learned { remainder: *remainder })
        }
        (None, lengths @ [_, ..], None) => {
            if lengths.len() > 64 {
                return Err(PolicyError::TooManyLengths(lengths.len()));
            }
            for length in lengths {
                bounded("hashRadixTree.chunk.lengths", *length, 1, 1_048_576)?;
            }
            let remainder = remainder.unwrap_or(Chunking::DEFAULT_BYTES);
            bounded("hashRadixTree.chunk.remainder", remainder, 16, 65_536)?;
            Ok(Chunks::Planned(ChunkPlan::listed(lengths, remainder)))
        }
        _ => Err(PolicyError::ChunkChoice),
    }
}

fn bounded(field: &'static str, value: u32, minimum: u32, maximum: u32) -> Result<(), PolicyError> {
    if (minimum..=maximum).contains(&value) {
        return Ok(());
    }
    Err(PolicyError::OutOfBounds { field, value: value.into(), minimum: minimum.into(), maximum: maximum.into() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn settings(policy: Value) -> Result<PolicySettings, PolicyError> {
        PolicySettings::try_from(&serde_json::from_value::<RouterPolicySpec>(policy).unwrap())
    }

    #[test]
    fn a_policy_without_details_has_the_defaults() {
        let settings = settings(json!({"mode": "HashRadixTree", "hashRadixTree": {}})).unwrap();
        assert_eq!(settings.chunks, Chunks::Planned(ChunkPlan::fixed(256)));
        assert_eq!(settings.max_in_flight_per_server, None);
        let Mode::HashRadixTree(tree) = settings.mode else { panic!("{:?}", settings.mode) };
        assert_eq!((tree.hash_bits, tree.gate_chunks, tree.maximum_nodes), (64, 1, 262_144));
    }

    #[rstest]
    #[case::tree_missing(json!({"mode": "HashRadixTree"}), PolicyError::TreeBlock)]
    #[case::tree_of_another_mode(json!({"mode": "RoundRobin", "hashRadixTree": {}}), PolicyError::TreeBlock)]
    #[case::two_ways(
        json!({"mode": "HashRadixTree", "hashRadixTree": {"chunk": {"bytes": 64, "lengths": [64]}}}),
        PolicyError::ChunkChoice
    )]
    #[case::learned_and_fixed(
        json!({"mode": "HashRadixTree", "hashRadixTree": {"chunk": {"bytes": 64, "learned": {}}}}),
        PolicyError::ChunkChoice
    )]
    #[case::no_way(json!({"mode": "HashRadixTree", "hashRadixTree": {"chunk": {}}}), PolicyError::ChunkChoice)]
    #[case::remainder_alone(
        json!({"mode": "HashRadixTree", "hashRadixTree": {"chunk": {"bytes": 64, "remainder": 64}}}),
        PolicyError::ChunkRemainder
    )]
    #[case::seven_bits(
        json!({"mode": "HashRadixTree", "hashRadixTree": {"hashBits": 7}}),
        PolicyError::OutOfBounds { field: "hashRadixTree.hashBits", value: 7, minimum: 8, maximum: 64 }
    )]
    #[case::too_many_lengths(
        json!({"mode": "HashRadixTree", "hashRadixTree": {"chunk": {"lengths": vec![16; 65]}}}),
        PolicyError::TooManyLengths(65)
    )]
    fn a_bad_policy_is_refused_by_field(#[case] policy: Value, #[case] error: PolicyError) {
        assert_eq!(settings(policy).unwrap_err(), error);
    }
}
