//! A request that is not granted, as a client reads it.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Why a request is not granted, in one word.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// No token, or one that the API server does not vouch for.
    Unauthenticated,
    /// The token's pod executes no attempt.
    NotALoadPod,
    /// The request is not understood.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// The length of a body is not said.
    LengthRequired,
    /// Too many bytes or files.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// The content has another sum than its name says.
    OtherContent,
    /// The list of files is not one of an attempt.
    BadList,
    /// `run.json` is of another attempt.
    OtherAttempt,
    /// Files of the list are not there; the client is to upload them.
    Missing,
    /// The attempt was committed otherwise before.
    Committed,
    /// Too much at once; the client is to come again.
    Busy,
    /// The store has no room.
    Full,
    /// The store or the API server does not answer.
    Unavailable,
}

impl RefusalCode {
    const fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotALoadPod => StatusCode::FORBIDDEN,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::OtherContent | Self::BadList | Self::OtherAttempt => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Missing => StatusCode::PRECONDITION_FAILED,
            Self::Committed => StatusCode::CONFLICT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A request that is not granted; the body of its answer.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in one word.
    pub code: RefusalCode,
    /// Why, in a sentence.
    pub message: String,
    /// Sums of files that are to be uploaded first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), missing: Vec::new() }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = if error.is_full() { RefusalCode::Full } else { RefusalCode::Unavailable };
        let message = format!("{:#}", anyhow::Error::from(error));
        tracing::error!(%message, "the results store refused");
        Self::new(code, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut response = (status, Json(&self)).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
