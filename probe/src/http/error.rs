//! Refusals: a status and one sentence, as JSON.

use std::fmt::Display;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::wire::ErrorBody;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    pub(super) fn bad_request(error: impl Display) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: format!("{error}") }
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, error: error.into() }
    }

    pub(super) fn silent(error: impl Into<String>) -> Self {
        Self { status: StatusCode::GATEWAY_TIMEOUT, error: error.into() }
    }

    pub(super) fn internal(error: impl Display) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, error: format!("{error}") }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.error })).into_response()
    }
}
