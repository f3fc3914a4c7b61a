//! The body of `PUT /epoch` on a router's control port: the policy and servers of one run.

use serde::{Deserialize, Serialize};

use crate::policy::RouterPolicySpec;

/// Begins an epoch: the router empties its tree, loads and reputations and routes by this policy from now on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EpochRequest {
    /// Rises from attempt to attempt of a campaign; a number lower than the current one is refused with status 409.
    pub epoch: u64,
    /// The attempt's path in the results tree; names the epoch together with the number.
    pub run: String,
    /// The policy to route by.
    pub policy: RouterPolicySpec,
    /// Servers to route to; their order is the order of the plan.
    pub workers: Vec<Worker>,
    /// Control ports of the other routers, which get this one's deltas.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Name of this router, as its peers' lists have it: routers that know their order share the slots of
    /// `maxInFlightPerServer` exactly.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A server behind a router.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Worker {
    /// Name of the server, equal on every router.
    pub id: String,
    /// Base address, for instance `http://10.0.0.7:8000`.
    pub url: String,
}

/// Another router that serves the same servers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peer {
    /// Name of the router.
    pub id: String,
    /// Base address of its control port, for instance `http://10.0.0.8:8081`.
    pub url: String,
}

/// The answer of `PUT /epoch` and `GET /epoch`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EpochState {
    /// The epoch in force; 0 before the first.
    pub epoch: u64,
    /// The run of that epoch; empty before the first.
    pub run: String,
    /// Servers known to the router.
    pub workers: usize,
    /// Nodes in its tree.
    pub tree_nodes: usize,
}
