//! Errors in vLLM's shape: `{"error": {"message", "type", "param", "code"}}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::engine::SubmitError;

/// An error that is answered to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    param: Option<&'static str>,
    message: String,
}

impl ApiError {
    /// A request that vLLM refuses with status 400.
    pub fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", param, message: message.into() }
    }

    /// A model that is not served.
    pub fn unknown_model(model: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundError",
            param: Some("model"),
            message: format!("The model `{model}` does not exist."),
        }
    }

    /// A request that cannot be scheduled.
    pub fn refused(error: SubmitError) -> Self {
        match error {
            SubmitError::EmptyPrompt => Self::bad_request(Some("prompt"), "The decoder prompt cannot be empty"),
            SubmitError::NoOutput => Self::bad_request(Some("max_tokens"), "max_tokens must be at least 1, got 0."),
            SubmitError::TooLong { prompt_tokens, max_tokens, max_model_len } => Self::bad_request(
                Some("input_tokens"),
                format!(
                    "This model's maximum context length is {max_model_len} tokens. However, you requested \
                     {max_tokens} output tokens and your prompt contains at least {prompt_tokens} input tokens, for \
                     a total of at least {} tokens. Please reduce the length of the input prompt or the number of \
                     requested output tokens.",
                    prompt_tokens as u64 + u64::from(max_tokens)
                ),
            ),
        }
    }

    /// A fault that was asked for.
    pub fn simulated_fault() -> Self {
        Self::internal("simulated fault: error-rate")
    }

    /// A server that ends before the answer does.
    pub fn interrupted() -> Self {
        Self::internal("the server is shutting down")
    }

    pub(super) fn internal(message: &str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "InternalServerError",
            param: None,
            message: message.to_owned(),
        }
    }

    /// A server that still loads its weights.
    pub fn loading() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "ServiceUnavailableError",
            param: None,
            message: "the model is still loading".to_owned(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, kind, param, message } = self;
        let body = json!({"error": {"message": message, "type": kind, "param": param, "code": status.as_u16()}});
        (status, Json(body)).into_response()
    }
}
