//! vLLM's HTTP interface: its routes.

mod admin;
mod chat;
mod chunk;
mod completions;
mod error;
mod faults;
mod generate;
mod params;
mod stream;
mod tokens;
mod unary;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode, Uri};
use serde_json::json;

use super::state::ServerState;

/// Bodies of up to 64 MiB: token ids of a prompt as long as any model takes.
const BODY_LIMIT_BYTES: usize = 64 << 20;

/// All routes of one server; with `admin` also those that vLLM does not have.
pub fn routes(state: Arc<ServerState>, admin: bool) -> Router {
    let router = Router::new()
        .route("/v1/completions", post(completions::handle))
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/models", get(admin::models))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/health", get(admin::health))
        .route("/ping", get(admin::health).post(admin::health))
        .route("/version", get(admin::version))
        .route("/load", get(admin::load))
        .route("/metrics", get(admin::metrics))
        .route("/reset_prefix_cache", post(admin::reset_prefix_cache));
    let router = if admin { router.route("/admin/faults", get(faults::list).put(faults::replace)) } else { router };
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(state)
}

async fn not_found(_uri: Uri) -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Not Found"}))).into_response()
}

async fn method_not_allowed(_method: Method) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(json!({"detail": "Method Not Allowed"}))).into_response()
}
