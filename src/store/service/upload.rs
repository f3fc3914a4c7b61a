//! The upload port: files by their sums.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{head, post},
};
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    AttemptIdentity, Limits, Service, commit,
    refusal::{Refusal, RefusalCode},
};
use crate::store::{
    CampaignStore,
    campaigns::{BlobWriter, Finished, Staging},
    run_files::is_sha256,
};

/// Attempts whose use is remembered; those with nothing under way are forgotten beyond.
const REMEMBERED: usize = 256;

/// The routes of the upload port.
pub fn routes(service: &Arc<Service>) -> Router {
    Router::new()
        .route("/v1/blobs/{sha256}", head(look).put(put))
        .route("/v1/commit", post(commit::commit))
        .fallback(async || {
            Refusal::new(RefusalCode::NotFound, "no such path; the service has /v1/blobs and /v1/commit")
        })
        .with_state(Arc::clone(service))
}

impl Service {
    /// The attempt of the pod whose token a request carries.
    pub(super) async fn attempt_of(&self, headers: &HeaderMap) -> Result<AttemptIdentity, Refusal> {
        let caller = self.tokens.caller(headers).await?;
        if !self.attempts.ready() {
            let message = "the operator has not seen all pods yet; come again";
            return Err(Refusal::new(RefusalCode::Unavailable, message));
        }
        self.attempts.of_pod(&caller.namespace, &caller.pod, &caller.uid).ok_or_else(|| {
            let message = format!("pod {}/{} executes no attempt of a campaign", caller.namespace, caller.pod);
            Refusal::new(RefusalCode::NotALoadPod, message)
        })
    }

    pub(super) fn campaign(&self, attempt: &AttemptIdentity) -> CampaignStore {
        self.store.campaign(&attempt.campaign)
    }
}

/// Whether a file need not be uploaded any more.
async fn look(
    State(service): State<Arc<Service>>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let attempt = service.attempt_of(&headers).await?;
    check_name(&sha256)?;
    let campaign = service.campaign(&attempt);
    let there = match campaign.committed_files(&attempt.run, attempt.attempt).await? {
        Some(files) => files.iter().any(|(_, sum)| sum == sha256),
        None => campaign.staging(&attempt.run, attempt.attempt).size(&sha256).await?.is_some(),
    };
    Ok(if there { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

/// Takes a file.
async fn put(
    State(service): State<Arc<Service>>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Ok(_permit) = service.uploads.try_acquire() else {
        return Err(Refusal::new(RefusalCode::Busy, "too many uploads at once; come again"));
    };
    let attempt = service.attempt_of(&headers).await?;
    check_name(&sha256)?;
    let bytes = content_length(&headers)?;
    if bytes > service.limits.blob_bytes {
        let message = format!("{bytes} bytes; a file may have {}", service.limits.blob_bytes);
        return Err(Refusal::new(RefusalCode::TooLarge, message));
    }
    let campaign = service.campaign(&attempt);
    if let Some(files) = campaign.committed_files(&attempt.run, attempt.attempt).await? {
        return if files.iter().any(|(_, sum)| sum == sha256) {
            Ok(stored(StatusCode::OK, bytes))
        } else {
            Err(Refusal::new(RefusalCode::Committed, "the attempt is committed; it takes no further file"))
        };
    }
    let staging = campaign.staging(&attempt.run, attempt.attempt);
    if let Some(bytes) = staging.size(&sha256).await? {
        return Ok(stored(StatusCode::OK, bytes));
    }
    let key = format!("{}/{}", attempt.campaign.directory(), attempt.run.attempt_path(attempt.attempt));
    service.quotas.reserve(&key, &staging, bytes, &service.limits).await?;
    let taken = take(&staging, &sha256, body, bytes, &service.limits).await;
    service.quotas.settle(&key, bytes, taken.is_ok()).await;
    taken.map(|()| stored(StatusCode::CREATED, bytes))
}

async fn take(staging: &Staging, sha256: &str, body: Body, bytes: u64, limits: &Limits) -> Result<(), Refusal> {
    let mut writer = staging.writer(sha256).await?;
    receive(&mut writer, body, bytes, limits).await?;
    match writer.finish().await? {
        Finished::Stored { bytes: found } if found == bytes => Ok(()),
        Finished::Stored { bytes: found } => {
            Err(Refusal::new(RefusalCode::BadRequest, format!("{found} bytes came, {bytes} were said to come")))
        }
        Finished::Other { found } => {
            Err(Refusal::new(RefusalCode::OtherContent, format!("what came has the SHA-256 {found}, not {sha256}")))
        }
    }
}

async fn receive(writer: &mut BlobWriter, body: Body, bytes: u64, limits: &Limits) -> Result<(), Refusal> {
    let mut pieces = body.into_data_stream();
    let end = Instant::now() + limits.time_for(bytes);
    loop {
        let pause = Instant::now() + limits.pause_timeout;
        match timeout_at(pause.min(end), pieces.next()).await {
            Ok(Some(Ok(piece))) => writer.write(piece).await?,
            Ok(Some(Err(error))) => {
                return Err(Refusal::new(RefusalCode::BadRequest, format!("the body broke off: {error}")));
            }
            Ok(None) => return Ok(()),
            Err(_) => return Err(Refusal::new(RefusalCode::TooSlow, "the body comes too slowly")),
        }
    }
}

fn stored(status: StatusCode, bytes: u64) -> Response {
    (status, Json(json!({ "bytes": bytes }))).into_response()
}

fn check_name(sha256: &str) -> Result<(), Refusal> {
    let message = "a file is named by its SHA-256 in 64 lower-case hex digits";
    if is_sha256(sha256) { Ok(()) } else { Err(Refusal::new(RefusalCode::BadRequest, message)) }
}

fn content_length(headers: &HeaderMap) -> Result<u64, Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.ok_or_else(|| Refusal::new(RefusalCode::LengthRequired, "say the file's length as Content-Length"))
}

/// What each attempt has uploaded and is uploading.
#[derive(Default)]
pub struct Quotas(Mutex<HashMap<String, Use>>);

#[derive(Default)]
struct Use {
    files: usize,
    bytes: u64,
    under_way: usize,
}

impl Quotas {
    /// Sets room aside for a file, or refuses it.
    async fn reserve(&self, key: &str, staging: &Staging, bytes: u64, limits: &Limits) -> Result<(), Refusal> {
        let mut quotas = self.0.lock().await;
        if !quotas.contains_key(key) {
            if quotas.len() >= REMEMBERED {
                quotas.retain(|_, used| used.under_way > 0);
            }
            let (files, bytes) = staging.held().await?;
            quotas.insert(key.to_owned(), Use { files, bytes, under_way: 0 });
        }
        let used = quotas.entry(key.to_owned()).or_default();
        if used.files >= limits.attempt_files {
            let message = format!("the attempt has {} files, as many as it may have", used.files);
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        if used.bytes.saturating_add(bytes) > limits.attempt_bytes {
            let message =
                format!("the attempt has {} bytes; with {bytes} more it has over {}", used.bytes, limits.attempt_bytes);
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        *used = Use { files: used.files + 1, bytes: used.bytes + bytes, under_way: used.under_way + 1 };
        Ok(())
    }

    /// Ends what was reserved: kept, or given back.
    async fn settle(&self, key: &str, bytes: u64, kept: bool) {
        let mut quotas = self.0.lock().await;
        let Some(used) = quotas.get_mut(key) else { return };
        used.under_way = used.under_way.saturating_sub(1);
        if !kept {
            used.files = used.files.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(bytes);
        }
    }
}
