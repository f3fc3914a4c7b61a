//! Asks workers for their health: those that were ejected or lost their reputation every second, for they get no requests
//! and only a probe can tell that they are well again; all others now and then, to find one that hangs before requests do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Call, Client};
use crate::epoch::Epoch;
use crate::proxy::slot::{note_unreachable, serve_waiting};
use crate::tree::WorkerIndex;

/// Time between two rounds. A restarted server takes seconds at least, so probing more often finds nothing sooner.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Rounds between two in which all workers are probed.
const ROUNDS_BETWEEN_ALL: u32 = 5;

/// Longest time for an answer: `/health` of an engine that works is immediate.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer of `/health` is empty or a few words.
const MAXIMUM_PROBE_BYTES: usize = 64 << 10;

/// Probes the workers of an epoch that need it, until the epoch ends.
pub async fn probe_workers(epoch: Arc<Epoch>, client: Client) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 1_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = epoch.ended.cancelled() => return,
        }
        let unwell: Vec<_> = epoch.state().engine.probed_workers().collect();
        let all = (0..).map(WorkerIndex).take(epoch.workers.len());
        let workers = if round.is_multiple_of(ROUNDS_BETWEEN_ALL) { all.collect() } else { unwell.clone() };
        let mut probes = JoinSet::new();
        for worker in workers {
            let (epoch, client) = (epoch.clone(), client.clone());
            probes.spawn(async move { (worker, is_healthy(&epoch, &client, worker).await) });
        }
        while let Some(probed) = probes.join_next().await {
            let Ok((worker, is_healthy)) = probed else { continue };
            if !is_healthy && !unwell.contains(&worker) {
                note_unreachable(&epoch, worker);
            }
            if is_healthy && unwell.contains(&worker) {
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
