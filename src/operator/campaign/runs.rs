//! Reads from the store what a run's status shows.

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use teebench_api::{plan::next::AttemptRef, run::RunResults};

use super::run_status::EndedRun;
use crate::store::{CampaignStore, StoreError};

/// What the store has of an attempt; nothing when it is not committed.
///
/// # Errors
/// The store cannot be read.
pub async fn ended(store: &CampaignStore, attempt: &AttemptRef) -> Result<Option<EndedRun>, StoreError> {
    let Some(committed) = store.committed_attempt(&attempt.run, attempt.attempt).await? else { return Ok(None) };
    let path = attempt.run.attempt_path(attempt.attempt);
    Ok(Some(EndedRun {
        bench: json(store, attempt, "bench.json").await?,
        energy: json(store, attempt, "energy.json").await?,
        evidence_sha256: evidence_sha256(store, attempt, committed.run.servers.len()).await?,
        results: RunResults { path: format!("runs/{path}"), sha256: committed.sums_sha256 },
        run: committed.run,
    }))
}

/// A file of the attempt; nothing when it is not there or, as a failed attempt's may be, not whole.
async fn json<T: DeserializeOwned>(
    store: &CampaignStore,
    attempt: &AttemptRef,
    name: &str,
) -> Result<Option<T>, StoreError> {
    let text = store.run_file(&attempt.run, attempt.attempt, name).await?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// One digest over the evidence of all servers, in path order.
async fn evidence_sha256(
    store: &CampaignStore,
    attempt: &AttemptRef,
    servers: usize,
) -> Result<Option<String>, StoreError> {
    let mut digest = Sha256::new();
    let mut found = false;
    for ordinal in 0..servers {
        for name in ["post.json", "pre.json"] {
            let path = format!("servers/{ordinal}/evidence/{name}");
            if let Some(text) = store.run_file(&attempt.run, attempt.attempt, &path).await? {
                digest.update(&text);
                found = true;
            }
        }
    }
    Ok(found.then(|| hex::encode(digest.finalize())))
}
