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
    /// A request that vLLM refuses after it has read it.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", param: None, message: message.into() }
    }

    /// The same with the parameter that is at fault, which vLLM then tells twice.
    pub fn bad_parameter(param: &'static str, value: impl std::fmt::Display, message: &str) -> Self {
        let message = format!("{message} (parameter={param}, value={value})");
        Self { param: Some(param), ..Self::bad_request(message) }
    }

    /// A body that vLLM's schema refuses; its words hold a dump of the schema, which nobody reads and ours leave out.
    pub fn invalid_body(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "Bad Request", param, message: message.into() }
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
            SubmitError::EmptyPrompt => Self::bad_request("The decoder prompt cannot be empty"),
            SubmitError::NoOutput => Self::bad_parameter("max_tokens", 0, "max_tokens must be at least 1, got 0."),
            SubmitError::TooLong { prompt_tokens: _, max_tokens, max_model_len } if max_tokens > max_model_len => {
                Self::bad_parameter(
                    "max_tokens",
                    max_tokens,
                    &format!(
                        "max_tokens={max_tokens} cannot be greater than \
                         max_model_len=max_total_tokens={max_model_len}. Please request fewer output tokens."
                    ),
                )
            }
            SubmitError::TooLong { prompt_tokens, max_tokens, max_model_len } => {
                let total = prompt_tokens as u64 + u64::from(max_tokens);
                // vLLM stops tokenising one token after what fits, and then knows no more.
                let least = if total == u64::from(max_model_len) + 1 { "at least " } else { "" };
                Self::bad_parameter(
                    "input_tokens",
                    prompt_tokens,
                    &format!(
                        "This model's maximum context length is {max_model_len} tokens. However, you requested \
                         {max_tokens} output tokens and your prompt contains {least}{prompt_tokens} input tokens, \
                         for a total of {least}{total} tokens. Please reduce the length of the input prompt or the \
                         number of requested output tokens."
                    ),
                )
            }
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
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, kind, param, message } = self;
        let body = json!({"error": {"message": message, "type": kind, "param": param, "code": status.as_u16()}});
        (status, Json(body)).into_response()
    }
}
