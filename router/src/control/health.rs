//! Brings back workers that were ejected or lost their reputation: they get no requests, so only a probe can tell that
//! they are well again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Call, Client};
use crate::epoch::Epoch;
use crate::proxy::slot::serve_waiting;
use crate::tree::WorkerIndex;

/// Time between two rounds. A restarted server takes seconds at least, so probing more often finds nothing sooner.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time for an answer: `/health` of an engine that works is immediate.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer of `/health` is empty or a few words.
const MAXIMUM_PROBE_BYTES: usize = 64 << 10;

/// Probes the workers of an epoch that need it, until the epoch ends.
pub async fn probe_workers(epoch: Arc<Epoch>, client: Client) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = epoch.ended.cancelled() => return,
        }
        let workers: Vec<_> = epoch.state().engine.probed_workers().collect();
        let mut probes = JoinSet::new();
        for worker in workers {
            let (epoch, client) = (epoch.clone(), client.clone());
            probes.spawn(async move { is_healthy(&epoch, &client, worker).await.then_some(worker) });
        }
        while let Some(probed) = probes.join_next().await {
            if let Ok(Some(worker)) = probed {
                let was_ejected = {
                    let mut state = epoch.state();
                    let was_ejected = state.engine.is_ejected(worker);
                    state.engine.reinstate(worker);
                    was_ejected
                };
                if was_ejected {
                    tracing::info!(worker = epoch.workers[worker.at()].id, "back: it answers its health check");
                }
                serve_waiting(&epoch);
            }
        }
    }
}

async fn is_healthy(epoch: &Epoch, client: &Client, worker: WorkerIndex) -> bool {
    let authority = &epoch.workers[worker.at()].authority;
    let call = Call { method: Method::GET, authority, path: "/health", body: Bytes::new() };
    matches!(client.call(call, PROBE_TIMEOUT, MAXIMUM_PROBE_BYTES).await, Ok((StatusCode::OK, _)))
}
