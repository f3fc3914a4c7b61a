//! The routers of a run: the epoch that begins it, and their account of it afterwards.

use std::collections::BTreeMap;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use teebench_api::{
    files::{
        epoch::{EpochRequest, Peer, Worker},
        inputs::RunInputs,
    },
    policy::{RouterPolicySpec, Topology},
};
use thiserror::Error;

/// A router did not take its epoch or give its account.
#[derive(Debug, Error)]
pub enum RouterError {
    /// The inputs name a policy and a server without a router.
    #[error("server {ordinal}: the run routes by a policy and the server has no router; see its boot's log")]
    Missing {
        /// The server's ordinal.
        ordinal: u32,
    },
    /// It could not be reached.
    #[error("router {url}: {request} failed; see the router's log")]
    Request {
        /// Base address of its control port.
        url: String,
        /// What was asked.
        request: &'static str,
        /// What the connection says.
        #[source]
        source: reqwest::Error,
    },
    /// It refused.
    #[error("router {url}: refused epoch {epoch} with status {status}: {body}")]
    Refused {
        /// Base address of its control port.
        url: String,
        /// The epoch.
        epoch: u64,
        /// The status.
        status: StatusCode,
        /// The start of the answer.
        body: String,
    },
}

/// One router's epoch, pure: who it is, whom it routes to, whom it tells.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterEpoch {
    /// Base address of its control port.
    pub control_url: String,
    /// What it is told.
    pub request: EpochRequest,
}

/// The two parts of an attempt that the routers see. Each is an epoch of its own, so that a delta which a router learned
/// in the warm-up and sent late is one of another epoch, and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Requests outside the window.
    WarmUp,
    /// The measured window.
    Window,
}

impl Part {
    /// The routers' epoch for this part of the attempt with that ordinal: two numbers an attempt.
    const fn epoch(self, attempt_ordinal: u64) -> u64 {
        match self {
            Self::WarmUp => 2 * attempt_ordinal - 1,
            Self::Window => 2 * attempt_ordinal,
        }
    }
}

/// The epochs of all routers for one part of an attempt.
pub fn epochs(inputs: &RunInputs, policy: &RouterPolicySpec, part: Part) -> Result<Vec<RouterEpoch>, RouterError> {
    let workers: Vec<Worker> = inputs
        .servers
        .iter()
        .map(|server| Worker { id: format!("server-{}", server.ordinal), url: server.engine_url.clone() })
        .collect();
    let controls = controls(inputs, policy)?;
    Ok(controls
        .iter()
        .map(|(id, control_url)| RouterEpoch {
            control_url: control_url.clone(),
            request: EpochRequest {
                epoch: part.epoch(inputs.epoch),
                run: inputs.run.attempt_path(inputs.attempt),
                policy: policy.clone(),
                workers: workers.clone(),
                peers: controls
                    .iter()
                    .filter(|(peer, _)| peer != id)
                    .map(|(peer, url)| Peer { id: peer.clone(), url: url.clone() })
                    .collect(),
                name: id.clone(),
            },
        })
        .collect())
}

/// Names and control addresses of the routers of a run: the gateways that its policy has, where there are any, else
/// those beside the servers.
fn controls(inputs: &RunInputs, policy: &RouterPolicySpec) -> Result<Vec<(String, String)>, RouterError> {
    if policy.topology == Topology::Gateway && !inputs.gateways.is_empty() {
        let replicas = policy.replicas.unwrap_or(1).max(1) as usize;
        let gateways = inputs.gateways.iter().take(replicas).enumerate();
        return Ok(gateways.map(|(index, gateway)| (format!("router-{index}"), gateway.control_url.clone())).collect());
    }
    let beside = inputs.servers.iter().map(|server| {
        let ordinal = server.ordinal;
        let url = server.router_control_url.clone().ok_or(RouterError::Missing { ordinal })?;
        Ok((format!("router-{ordinal}"), url))
    });
    beside.collect()
}

/// Begins an epoch on every router; each empties its tree, loads and reputations.
pub async fn begin(http: &Client, epochs: &[RouterEpoch]) -> Result<(), RouterError> {
    for epoch in epochs {
        let url = epoch.control_url.clone();
        let fail = |source| RouterError::Request { url: url.clone(), request: "PUT /epoch", source };
        let response = http.put(format!("{url}/epoch")).json(&epoch.request).send().await.map_err(fail)?;
        let status = response.status();
        if !status.is_success() {
            let body = response.text().await.map_err(fail)?.chars().take(200).collect();
            return Err(RouterError::Refused { url, epoch: epoch.request.epoch, status, body });
        }
    }
    Ok(())
}

/// Each router's own account of the run, by server.
pub async fn accounts(http: &Client, epochs: &[RouterEpoch]) -> Result<BTreeMap<String, Value>, RouterError> {
    let mut accounts = BTreeMap::new();
    for (ordinal, epoch) in epochs.iter().enumerate() {
        let url = epoch.control_url.clone();
        let fail = |source| RouterError::Request { url: url.clone(), request: "GET /metrics.json", source };
        let response = http.get(format!("{url}/metrics.json")).send().await.map_err(fail)?;
        let account = response.error_for_status().map_err(fail)?.json().await.map_err(fail)?;
        accounts.insert(format!("router-{ordinal}"), account);
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn inputs(gateways: usize) -> RunInputs {
        let server = |ordinal: u32| {
            json!({
                "ordinal": ordinal, "uid": "u", "engineUrl": format!("http://s{ordinal}:8000"),
                "routerUrl": format!("http://s{ordinal}:8080"), "routerControlUrl": format!("http://s{ordinal}:8081"),
            })
        };
        let gateway =
            |at: usize| json!({"routerUrl": format!("http://g{at}:8080"), "controlUrl": format!("http://g{at}:8081")});
        let run = json!({"experiment": "e", "condition": "c", "arm": "a", "router": "r", "repetition": 1});
        let energy = json!({"sampleMilliseconds": 100, "minimumWindowSeconds": 60, "idleSeconds": 0});
        serde_json::from_value(json!({
            "schemaVersion": 1, "campaign": "c", "planSha256": "", "run": run, "attempt": 1, "epoch": 3, "block": 0,
            "boot": 0, "bootGeneration": 1, "seed": 1, "salt": "", "simulated": true, "tee": "Disabled",
            "minimumEvidence": "SelfReported", "servedModel": "m", "dataset": {}, "load": {"burstinessMilli": 1000},
            "outputTokens": 1, "warmupRequests": 0, "target": {"direct": {"maxInFlightPerServer": 0}},
            "servers": [server(0), server(1), server(2)], "gateways": (0..gateways).map(gateway).collect::<Vec<_>>(),
            "energy": energy, "keepTexts": false, "deadlineSeconds": 60
        }))
        .unwrap()
    }

    #[rstest]
    #[case::beside_every_server("Sidecar", None, 2, &["s0", "s1", "s2"])]
    #[case::gateways_of_the_policy("Gateway", Some(1), 2, &["g0"])]
    #[case::all_gateways("Gateway", Some(2), 2, &["g0", "g1"])]
    #[case::without_gateways_those_beside_stand_in("Gateway", Some(2), 0, &["s0", "s1", "s2"])]
    fn an_epoch_begins_on_the_routers_of_its_policy(
        #[case] topology: &str,
        #[case] replicas: Option<u32>,
        #[case] gateways: usize,
        #[case] expected: &[&str],
    ) {
        let mut policy = json!({"mode": "RoundRobin", "topology": topology});
        if let Some(replicas) = replicas {
            policy["replicas"] = replicas.into();
        }
        let policy: RouterPolicySpec = serde_json::from_value(policy).unwrap();

        let epochs = epochs(&inputs(gateways), &policy, Part::Window).unwrap();

        let urls: Vec<&str> = epochs.iter().map(|epoch| epoch.control_url.as_str()).collect();
        let expected: Vec<String> = expected.iter().map(|host| format!("http://{host}:8081")).collect();
        assert_eq!(urls, expected);
        for epoch in &epochs {
            assert_eq!(epoch.request.workers.len(), 3);
            assert_eq!(epoch.request.peers.len(), epochs.len() - 1);
            assert!(epoch.request.peers.iter().all(|peer| peer.url != epoch.control_url));
        }
    }
}
