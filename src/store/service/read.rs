//! The read port: lists campaigns and gives their files. It is reached through the API server's proxy, which asks who
//! may; nothing can be written here. The page and the plots of a campaign that has not ended are made on demand.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
    routing::get,
};
use http::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use serde::{Deserialize, Serialize};

use super::{
    Service,
    refusal::{Refusal, RefusalCode},
};
use crate::store::campaigns::{CampaignEntry, Listing, Shown};

/// The campaigns that the store has.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CampaignList {
    /// By namespace and name.
    pub campaigns: Vec<CampaignEntry>,
}

#[derive(Deserialize)]
struct Selection {
    namespace: Option<String>,
}

/// The routes of the read port.
pub fn routes(service: &Arc<Service>) -> Router {
    Router::new()
        .route("/v1/campaigns", get(campaigns))
        .route("/v1/campaigns/{namespace}/{campaign}", get(listing))
        .route("/v1/campaigns/{namespace}/{campaign}/", get(listing))
        .route("/v1/campaigns/{namespace}/{campaign}/{*path}", get(file))
        .fallback(async || Refusal::new(RefusalCode::NotFound, "no such path; the service has /v1/campaigns"))
        .with_state(Arc::clone(service))
}

async fn campaigns(
    State(service): State<Arc<Service>>,
    Query(Selection { namespace }): Query<Selection>,
) -> Result<Json<CampaignList>, Refusal> {
    let _permit = permit(&service)?;
    if let Some(namespace) = &namespace {
        check_name(namespace)?;
    }
    Ok(Json(CampaignList { campaigns: service.store.campaigns(namespace.as_deref()).await? }))
}

async fn listing(
    State(service): State<Arc<Service>>,
    Path((namespace, campaign)): Path<(String, String)>,
) -> Result<Json<Listing>, Refusal> {
    let _permit = permit(&service)?;
    check_name(&namespace)?;
    check_name(&campaign)?;
    let listing = service.store.directory(format!("{namespace}/{campaign}")).listing().await?;
    listing.map(Json).ok_or_else(|| not_found(&format!("campaign {namespace}/{campaign}")))
}

async fn file(
    State(service): State<Arc<Service>>,
    Path((namespace, campaign, path)): Path<(String, String, String)>,
) -> Result<Response, Refusal> {
    let permit = permit(&service)?;
    check_name(&namespace)?;
    check_name(&campaign)?;
    let directory = service.store.directory(format!("{namespace}/{campaign}"));
    let Some((bytes, content)) = directory.read_file(&path).await? else {
        let made = match Shown::of(&path) {
            Some(shown) => directory.shown_now(shown).await?,
            None => None,
        };
        let content = made.ok_or_else(|| not_found(&format!("file {path} in {namespace}/{campaign}")))?;
        return Ok(download(content.len() as u64, Body::from(content)));
    };
    // The permit goes with the last piece, or when the client goes away.
    let held = futures::StreamExt::map(content, move |piece| {
        let _ = &permit;
        piece
    });
    Ok(download(bytes, Body::from_stream(held)))
}

fn download(bytes: u64, body: Body) -> Response {
    let response = Response::builder()
        .status(StatusCode::OK)
        .header(CONTENT_LENGTH, bytes)
        // No page of ours runs under the API server's name.
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(body);
    response.expect("a status and three well-formed headers make a response")
}

fn permit(service: &Arc<Service>) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
    let busy = |_| Refusal::new(RefusalCode::Busy, "too many downloads at once; come again");
    Arc::clone(&service.reads).try_acquire_owned().map_err(busy)
}

/// Names of namespaces and of campaigns' directories.
fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = !name.is_empty()
        && name.len() <= 253
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if plain { Ok(()) } else { Err(not_found(&format!("campaign or namespace {name:?}"))) }
}

fn not_found(what: &str) -> Refusal {
    Refusal::new(RefusalCode::NotFound, format!("the store has no {what}"))
}
