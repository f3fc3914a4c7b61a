//! One exchange: a request out, its stream back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::LOCATION;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use teebench_api::with_causes;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::connection::{Connection, OpenError};
use super::payload::PayloadTemplate;
use super::progress::Counters;
use super::recorder::{Dispatch, Recorder, StreamFailure};
use super::sse::SseParser;
use super::target::TargetClient;
use crate::record::RequestRecord;

/// Bytes of an error response that are kept as the reason of a failure.
const ERROR_BODY_BYTES: usize = 2048;

/// What all requests of a worker share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) targets: Vec<TargetClient>,
    pub(super) endpoint: String,
    pub(super) template: Arc<PayloadTemplate>,
    pub(super) keep_texts: bool,
    pub(super) request_timeout: Duration,
    pub(super) cancel: CancellationToken,
    pub(super) counters: Arc<Counters>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the request cannot be built")]
    Build(#[from] http::Error),
    #[error("no response")]
    Send(#[source] hyper::Error),
    #[error("HTTP {status}: {body}")]
    Status { status: StatusCode, body: String },
    #[error("HTTP {status} to {location}: redirects are not followed; give the final URL")]
    Redirect { status: StatusCode, location: String },
    #[error("the response broke off")]
    Body(#[source] hyper::Error),
    #[error(transparent)]
    Stream(#[from] StreamFailure),
    #[error("not ended after {0:?}")]
    TimedOut(Duration),
    #[error("interrupted before its end")]
    Interrupted,
}

/// Sends one request and makes its record.
pub(super) async fn perform(
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    dispatch: Dispatch,
    payload: Bytes,
    max_tokens: u32,
) -> RequestRecord {
    counters.begun();
    let mut recorder = Recorder::start(&shared.clock, max_tokens, shared.keep_texts, Arc::clone(&counters));
    let outcome = tokio::select! {
        biased;
        () = shared.cancel.cancelled() => Err(RequestError::Interrupted),
        outcome = tokio::time::timeout(shared.request_timeout, stream(&shared, dispatch.target, payload, &mut recorder)) => {
            outcome.unwrap_or(Err(RequestError::TimedOut(shared.request_timeout)))
        }
    };
    counters.ended(outcome.is_ok());
    recorder.finish(dispatch, &shared.clock, outcome.err().map(|error| with_causes(&error)))
}

/// The exchange itself; what it sees goes to the recorder.
async fn stream(shared: &Shared, target: usize, payload: Bytes, recorder: &mut Recorder) -> Result<(), RequestError> {
    let target = &shared.targets[target];
    let _slot = target.slot().await;
    let request = target.request(Method::POST, &shared.endpoint, payload)?;
    let (mut connection, response) = begin(target, request).await?;
    let (head, mut body) = response.into_parts();
    let status = head.status;
    if status.is_redirection() {
        let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere").to_owned();
        return Err(RequestError::Redirect { status, location });
    }
    if status != StatusCode::OK {
        let body = read_text(&mut connection, &mut body, ERROR_BODY_BYTES).await.unwrap_or_default();
        return Err(RequestError::Status { status, body });
    }
    let mut parser = SseParser::default();
    while let Some(frame) = connection.next_frame(&mut body).await {
        let frame = frame.map_err(RequestError::Body)?;
        if let Some(bytes) = frame.data_ref() {
            let read_ns = connection.last_read_ns();
            parser.feed(bytes, |data| recorder.on_event(data, read_ns)).map_err(StreamFailure::from)?;
        }
    }
    drop(body);
    recorder.verdict()?;
    target.give_back(connection);
    Ok(())
}

/// Sends a request on an idle connection or a new one, and waits for the head of the response.
///
/// A request that the server's closing of an idle connection kept from being written goes out on a new connection. That
/// is no retry: the server has not seen it.
pub(super) async fn begin(
    target: &TargetClient,
    request: Request<Full<Bytes>>,
) -> Result<(Connection, http::Response<Incoming>), RequestError> {
    if let Some(mut connection) = target.reuse().await {
        match connection.send(request.clone()).await {
            Ok(response) => return Ok((connection, response)),
            Err(error) if error.is_canceled() => {}
            Err(error) => return Err(RequestError::Send(error)),
        }
    }
    let mut connection = target.open().await?;
    let response = connection.send(request).await.map_err(RequestError::Send)?;
    Ok((connection, response))
}

/// Reads a body to its end, or to `limit` bytes.
pub(super) async fn read_body(
    connection: &mut Connection,
    body: &mut Incoming,
    limit: usize,
) -> Result<Bytes, hyper::Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = connection.next_frame(body).await {
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
        }
        if bytes.len() == limit {
            break;
        }
    }
    Ok(bytes.freeze())
}

/// Reads a body as text, at most `limit` bytes of it.
pub(super) async fn read_text(
    connection: &mut Connection,
    body: &mut Incoming,
    limit: usize,
) -> Result<String, hyper::Error> {
    Ok(String::from_utf8_lossy(&read_body(connection, body, limit).await?).trim().to_owned())
}
