//! One request from its head to the head of its answer: read, choose, send, and try elsewhere if a worker fails it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use super::Proxy;
use super::access::{AccessLine, Outcome};
use super::activity::OpenRequest;
use super::answer::{Answer, Exchange};
use super::body::{RequestBody, read_body};
use super::error::RequestError;
use super::headers::{announce_trailers, remove_from_request, remove_hop_by_hop, settle_host};
use super::key::read_key;
use super::paths::{Route, route};
use super::slot::{Demand, Refusal, Slot, note_unreachable};
use super::upstream::Connection;
use crate::epoch::Epoch;
use crate::policy::Prompt;
use crate::tree::WorkerIndex;
use crate::tree::sentry::Sentry;

/// An answer's body: a worker's, or the router's own.
pub type AnswerBody = Either<Answer, Full<Bytes>>;

/// A request's line of the access log, where there is one.
type Line = Option<Box<AccessLine>>;

/// What is sent to a worker, kept whole so that it can be sent to another.
struct Outgoing {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: RequestBody,
}

/// An answer whose head is there.
struct Begun {
    response: Response<Incoming>,
    connection: Connection,
}

/// How a worker failed a request before the first byte of an answer.
enum Failure {
    /// It could not be reached: the request certainly did no work.
    Unreachable,
    /// It took the request and broke off.
    BrokenOff,
}

impl Proxy {
    /// Answers one request, which is open until its answer ended.
    pub async fn answer(&self, request: Request<Incoming>, open: OpenRequest) -> Response<AnswerBody> {
        let mut line = self.shared.access_log.then(|| Box::new(AccessLine::new(&request)));
        match self.forward(request, &mut line).await {
            Ok(response) => response.map(|answer| Either::Left(answer.keeping(open))),
            Err(error) => {
                let response = error.response();
                if let Some(mut line) = line.take() {
                    line.head(response.status(), None);
                    line.end(Outcome::Refused);
                }
                response.map(Either::Right)
            }
        }
    }

    async fn forward(&self, request: Request<Incoming>, line: &mut Line) -> Result<Response<Answer>, RequestError> {
        let route = route(request.method(), request.uri().path())?;
        let epoch = self.epoch();
        if epoch.is_neutral() {
            return Err(RequestError::NoEpoch);
        }
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        remove_from_request(&mut headers);
        settle_host(&mut headers, &head.uri, head.version)?;
        let target = head.uri.path_and_query().cloned().ok_or(RequestError::MalformedTarget)?;
        let mut body = read_body(body, &self.shared.limits, &self.shared.bodies).await?;
        if let Some(trailers) = &mut body.trailers {
            remove_hop_by_hop(trailers);
            announce_trailers(&mut headers, trailers);
        }
        let outgoing = Outgoing { method: head.method, target, headers, body };
        match route {
            Route::Work => self.forward_work(&epoch, &outgoing, line).await,
            Route::Light => self.forward_light(&epoch, &outgoing, line).await,
        }
    }

    async fn forward_work(
        &self,
        epoch: &Arc<Epoch>,
        outgoing: &Outgoing,
        line: &mut Line,
    ) -> Result<Response<Answer>, RequestError> {
        let mut epoch = epoch;
        let mut borrowed = self.buffers();
        let mut began = Instant::now();
        if let Some(mut sentry) = epoch.watching_sentry() {
            read_key(&outgoing.body.data, &Sentry::grain_plan(), &mut borrowed.buffers);
            if let Some(plan) = sentry.watch(borrowed.buffers.path()) {
                epoch.cut_by(plan);
            }
        }
        let plan = &epoch.plan();
        let work = read_key(&outgoing.body.data, plan, &mut borrowed.buffers);
        let mut excluded = Vec::new();
        loop {
            let path = borrowed.buffers.path();
            let prompt = Prompt { path, plan, work };
            let slot = match Slot::admit(epoch, Demand { prompt, excluded: &excluded, began }).await {
                Ok(slot) => slot,
                Err(Refusal::EpochOver) if epoch.successor().is_some() => {
                    // The list of workers changed while it waited; those that failed it have other indices now.
                    epoch = latest(epoch);
                    excluded.clear();
                    continue;
                }
                Err(refusal) => return Err(refusal.into()),
            };
            let worker = slot.worker();
            match self.send(&epoch.workers[worker.at()].authority, outgoing).await {
                Ok(begun) => {
                    let is_failure = note_accepted(epoch, &slot, path, begun.response.status());
                    return Ok(begun.into_answer(Some(slot), is_failure, line.take()));
                }
                Err(failure) => note_failed(epoch, worker, &failure),
            }
            excluded.push(worker);
            began = Instant::now();
        }
    }

    async fn forward_light(
        &self,
        epoch: &Arc<Epoch>,
        outgoing: &Outgoing,
        line: &mut Line,
    ) -> Result<Response<Answer>, RequestError> {
        let mut excluded = Vec::new();
        loop {
            let chosen = epoch.state().engine.choose_for_light_request(&excluded);
            let worker = chosen.ok_or(RequestError::NoWorker)?;
            match self.send(&epoch.workers[worker.at()].authority, outgoing).await {
                Ok(begun) => {
                    epoch.state().engine.answered(worker);
                    return Ok(begun.into_answer(None, false, line.take()));
                }
                Err(failure) => note_failed(epoch, worker, &failure),
            }
            excluded.push(worker);
        }
    }

    /// Sends to one worker and waits for the head of its answer.
    async fn send(&self, authority: &str, outgoing: &Outgoing) -> Result<Begun, Failure> {
        loop {
            let mut connection = self.upstreams.connect(authority).await.map_err(|error| {
                tracing::debug!(worker = authority, error = &error as &dyn std::error::Error, "cannot connect");
                Failure::Unreachable
            })?;
            match connection.send(outgoing.request(authority)).await {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    tracing::debug!(worker = authority, "switched to a protocol that nobody asked for");
                    return Err(Failure::BrokenOff);
                }
                Ok(response) => return Ok(Begun { response, connection }),
                // The worker closed an idle connection at the moment of its reuse; a new one tells whether it lives.
                Err(_) if connection.was_idle() => self.upstreams.discard_idle(authority),
                Err(error) => {
                    tracing::debug!(worker = authority, error = &error as &dyn std::error::Error, "broke off");
                    return Err(Failure::BrokenOff);
                }
            }
        }
    }
}

impl Outgoing {
    fn request(&self, authority: &str) -> Request<RequestBody> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.headers_mut() = self.headers.clone();
        if !self.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(authority)
        {
            request.headers_mut().insert(HOST, host);
        }
        request
    }
}

impl Begun {
    fn into_answer(self, slot: Option<Slot>, is_failure: bool, mut line: Line) -> Response<Answer> {
        let Self { response, connection } = self;
        let (mut head, body) = response.into_parts();
        remove_hop_by_hop(&mut head.headers);
        // The client's connection has a version of its own.
        head.version = Version::default();
        let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_event_stream = content_type.is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        if let Some(line) = &mut line {
            line.head(head.status, Some(connection.authority()));
        }
        let exchange = Exchange { connection, slot, is_failure, line, open: None };
        let answer = Answer::new(body, exchange, is_event_stream);
        Response::from_parts(head, answer)
    }
}

/// The epoch with the last list of workers.
fn latest(mut epoch: &Arc<Epoch>) -> &Arc<Epoch> {
    while let Some(successor) = epoch.successor() {
        epoch = successor;
    }
    epoch
}

/// Records what the head of an answer says. Returns true if the worker failed the request; a request that was refused
/// as a bad one is no failure, but it leaves no prefix behind either.
fn note_accepted(epoch: &Arc<Epoch>, slot: &Slot, path: &[u64], status: StatusCode) -> bool {
    let worker = slot.worker();
    let metrics = &epoch.metrics.workers[worker.at()];
    metrics.requests.inc();
    let is_failure = status.is_server_error();
    if is_failure {
        metrics.errors.inc();
    }
    let mut state = epoch.state();
    state.engine.answered(worker);
    if !status.is_success() {
        return is_failure;
    }
    let accepted = state.engine.accepted(worker, path);
    if accepted.is_news {
        let generation = state.engine.generations().get(worker.at()).copied().unwrap_or_default();
        epoch.exchange.announce(worker, generation, path);
    }
    drop(state);
    if accepted.is_hit {
        metrics.hits.inc();
    }
    epoch.metrics.hit_depth_chunks.observe(accepted.held_chunks as f64);
    epoch.metrics.saved_tokens.inc_by(slot.flight().held_tokens());
    epoch.metrics.prompt_chunks.inc_by(path.len() as u64);
    epoch.metrics.held_chunks.inc_by(accepted.held_chunks as u64);
    is_failure
}

/// Records a failure before the first byte; the request goes on to another worker.
fn note_failed(epoch: &Arc<Epoch>, worker: WorkerIndex, failure: &Failure) {
    let metrics = &epoch.metrics.workers[worker.at()];
    metrics.errors.inc();
    metrics.retries.inc();
    match failure {
        Failure::BrokenOff => epoch.state().engine.failed(worker),
        Failure::Unreachable => note_unreachable(epoch, worker),
    }
}
