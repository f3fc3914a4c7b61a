//! The routers of a run: the epoch that begins it, and their account of it afterwards.

use std::collections::BTreeMap;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use teebench_api::{
    files::{
        epoch::{EpochRequest, Peer, Worker},
        inputs::RunInputs,
    },
    policy::RouterPolicySpec,
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
    let controls = inputs
        .servers
        .iter()
        .map(|server| {
            let control_url = server.router_control_url.clone();
            control_url
                .map(|url| (format!("router-{}", server.ordinal), url))
                .ok_or(RouterError::Missing { ordinal: server.ordinal })
        })
        .collect::<Result<Vec<_>, _>>()?;
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
            },
        })
        .collect())
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
