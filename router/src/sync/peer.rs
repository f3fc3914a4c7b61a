//! The side that calls: pushes frames to each peer and pulls a snapshot where something was missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{MAXIMUM_SNAPSHOT_BYTES, Receipt, apply_loads, flush, locked, receive_snapshot};
use crate::control::client::{Call, CallError, Client};
use crate::epoch::Epoch;

/// Longest time for a frame to be taken: a peer that needs longer is tried again with the next one.
const PUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Time after which loads that did not change are told again, well before they expire at the peers.
const REPEATED_AFTER: Duration = Duration::from_secs(2);

/// Frames, one for each interval of silence, that may go out without a pause between them.
const MOST_SAVED_FRAMES: u32 = 8;

/// Time after which a router uses its slots though a peer did not tell what it got from a former incarnation.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Longest time for a snapshot to arrive.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// A receipt is two numbers; an answer that is longer is none.
const MAXIMUM_RECEIPT_BYTES: usize = 4096;

/// Keeps an epoch in step with its peers until it ends.
pub async fn keep_in_step(epoch: Arc<Epoch>, client: Client) {
    if epoch.peers.is_empty() {
        return;
    }
    for peer in &epoch.peers {
        let (epoch, client, peer) = (epoch.clone(), client.clone(), peer.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = follow(&epoch, &client, &peer) => {}
                () = epoch.ended.cancelled() => {}
            }
        });
    }
    // Who has just been started asks the others what it gave them before.
    epoch.exchange.note_news();
    let interval = epoch.settings.sync_interval;
    let settled_at = tokio::time::Instant::now() + SETTLED_AFTER;
    let saved = |now: tokio::time::Instant| now.checked_sub(interval * MOST_SAVED_FRAMES).unwrap_or(now);
    let mut free = saved(tokio::time::Instant::now());
    loop {
        tokio::select! {
            () = epoch.exchange.has_news.notified() => {}
            () = tokio::time::sleep(interval.max(REPEATED_AFTER)) => {}
            () = epoch.ended.cancelled() => return,
        }
        // News go out at once while frames are saved up: a router that decides on old loads crowds the worker that others
        // just chose, and in virtual time that was a P99 of 1868 ms for 1795 ms. Under a steady stream of them, one frame
        // an interval carries them all.
        tokio::select! {
            () = tokio::time::sleep_until(free) => {}
            () = epoch.ended.cancelled() => return,
        }
        let now = tokio::time::Instant::now();
        free = free.max(saved(now)) + interval;
        if now >= settled_at
            && let Some(slots) = epoch.state().engine.slots()
        {
            slots.settle();
        }
        flush(&epoch);
        let mut changes = Vec::new();
        locked(&epoch.exchange.inbox).expire(Instant::now(), &mut changes);
        apply_loads(&epoch, &changes);
    }
}

/// Serves one peer. Returns only if the peer turns out to be this router itself.
async fn follow(epoch: &Arc<Epoch>, client: &Client, peer: &str) {
    let mut last_frame = epoch.exchange.last_frame.subscribe();
    let lag = epoch.metrics.sync_lag_frames.with_label_values(&[peer]);
    let mut pushed = 0;
    loop {
        let mut receipt = None;
        // The list of frames is short and each has its deadline, so one slow peer delays its own news only.
        while let Some((sequence, frame)) = next_frame(epoch, pushed) {
            let length = frame.len() as u64;
            match push(client, peer, frame).await {
                Ok(taken) if taken.incarnation == epoch.exchange.incarnation => return,
                Ok(taken) => receipt = Some(taken),
                Err(error) => {
                    tracing::debug!(peer, error = &error as &dyn std::error::Error, "a peer did not take a frame");
                    break;
                }
            }
            pushed = sequence;
            epoch.metrics.sync_sent_bytes.inc_by(length);
        }
        let last = locked(&epoch.exchange.log).last();
        lag.set(i64::try_from(last - pushed).unwrap_or(i64::MAX));
        if let Some(receipt) = receipt
            && misses_something(epoch, receipt)
            && let Err(error) = pull_snapshot(epoch, client, peer, receipt.incarnation).await
        {
            tracing::debug!(peer, error = &error as &dyn std::error::Error, "a peer gave no snapshot");
        }
        // New frames wake it at once; what failed is tried again after an interval.
        let woken = tokio::time::timeout(epoch.settings.sync_interval, last_frame.changed()).await;
        if matches!(woken, Ok(Err(_))) {
            return;
        }
    }
}

pub(super) fn next_frame(epoch: &Epoch, pushed: u64) -> Option<(u64, Bytes)> {
    locked(&epoch.exchange.log).after(pushed)
}

/// A peer that has said something before it was heard of was missed too.
pub(super) fn misses_something(epoch: &Epoch, peer: Receipt) -> bool {
    let inbox = locked(&epoch.exchange.inbox);
    inbox.wants_snapshot(peer.incarnation) || (peer.sequence > 1 && !inbox.knows(peer.incarnation))
}

/// Why a peer could not be kept in step.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the peer answered with status {0}")]
    Status(StatusCode),
    #[error("the peer's receipt is no receipt")]
    Receipt(#[source] serde_json::Error),
    #[error("the peer's snapshot is of no use")]
    Snapshot(#[from] super::ReceiveError),
}

async fn push(client: &Client, peer: &str, frame: Bytes) -> Result<Receipt, PeerError> {
    let call = Call { method: Method::POST, authority: peer, path: "/deltas", body: frame };
    let (status, body) = client.call(call, PUSH_TIMEOUT, MAXIMUM_RECEIPT_BYTES).await?;
    if status != StatusCode::OK {
        return Err(PeerError::Status(status));
    }
    serde_json::from_slice(&body).map_err(PeerError::Receipt)
}

async fn pull_snapshot(epoch: &Arc<Epoch>, client: &Client, peer: &str, incarnation: u64) -> Result<(), PeerError> {
    let call = Call { method: Method::GET, authority: peer, path: "/snapshot", body: Bytes::new() };
    let (status, body) = client.call(call, SNAPSHOT_TIMEOUT, MAXIMUM_SNAPSHOT_BYTES).await?;
    if status != StatusCode::OK {
        return Err(PeerError::Status(status));
    }
    Ok(receive_snapshot(epoch, incarnation, &body)?)
}
