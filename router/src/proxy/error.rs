//! The router's own answers to clients, shaped as OpenAI's and vLLM's errors are.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::slot::Refusal;

/// Why the router answers a request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one of the served paths.
    #[error("this path is not served by the router")]
    UnknownPath,
    /// A served path, another method.
    #[error("this method is not allowed here; use {0}")]
    WrongMethod(&'static str),
    /// The body is over the limit.
    #[error("the body is larger than the {0} bytes that the router takes")]
    BodyTooLarge(usize),
    /// The body did not come.
    #[error("the body did not come within {0:?}")]
    BodyTimeout(Duration),
    /// The body breaks HTTP's rules, or off.
    #[error("the body is malformed or broke off")]
    BodyBroken,
    /// The bodies of all requests together are at their limit.
    #[error("the router holds as many bytes of requests as it may; try again later")]
    BodiesFull,
    /// No `Host`, or several.
    #[error("the request must name exactly one host")]
    MalformedHost,
    /// The head cannot be sent on.
    #[error("the request target is malformed")]
    MalformedTarget,
    /// No epoch began, or it ended meanwhile.
    #[error("the router has no policy and no servers yet; begin an epoch on its control port")]
    NoEpoch,
    /// All workers were tried.
    #[error("no server accepted the request")]
    NoWorker,
    /// The queue is full.
    #[error("all servers are busy and the router's queue is full; try again later")]
    QueueFull,
    /// No slot came free in time.
    #[error("no server came free in the time that the policy allows")]
    QueueTimeout,
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::EpochOver => Self::NoEpoch,
            Refusal::NoWorker => Self::NoWorker,
            Refusal::QueueFull => Self::QueueFull,
            Refusal::QueueTimeout => Self::QueueTimeout,
        }
    }
}

impl RequestError {
    fn status(self) -> StatusCode {
        match self {
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken | Self::MalformedTarget | Self::MalformedHost => StatusCode::BAD_REQUEST,
            Self::NoEpoch | Self::QueueTimeout | Self::BodiesFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoWorker => StatusCode::BAD_GATEWAY,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::UnknownPath => "NotFoundError",
            Self::WrongMethod(_)
            | Self::BodyTooLarge(_)
            | Self::BodyTimeout(_)
            | Self::BodyBroken
            | Self::MalformedTarget
            | Self::MalformedHost => "BadRequestError",
            Self::NoEpoch | Self::QueueTimeout | Self::BodiesFull => "ServiceUnavailableError",
            Self::NoWorker => "BadGatewayError",
            Self::QueueFull => "RateLimitError",
        }
    }

    /// The answer.
    pub fn response(self) -> Response<Full<Bytes>> {
        let body = error_json(&self.to_string(), self.kind(), self.status());
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::QueueFull | Self::QueueTimeout | Self::NoEpoch | Self::BodiesFull => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::WrongMethod(method) => {
                headers.insert(ALLOW, HeaderValue::from_static(method));
            }
            Self::UnknownPath
            | Self::BodyTooLarge(_)
            | Self::BodyTimeout(_)
            | Self::BodyBroken
            | Self::MalformedTarget
            | Self::MalformedHost
            | Self::NoWorker => {}
        }
        response
    }
}

/// The last event of a stream whose worker broke off. The blank line before it ends an event that was cut in the middle.
pub fn stream_error_event() -> Bytes {
    let error = error_json("the server broke off its answer", "BadGatewayError", StatusCode::BAD_GATEWAY);
    Bytes::from([b"\n\ndata: ".as_slice(), &error, b"\n\n"].concat())
}

fn error_json(message: &str, kind: &str, status: StatusCode) -> Bytes {
    let error = json!({"error": {"message": message, "type": kind, "param": null, "code": status.as_u16()}});
    Bytes::from(error.to_string())
}
