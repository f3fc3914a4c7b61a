//! The access log: one line for every request, however it ends.

use std::time::Instant;

use http::{Method, Request, StatusCode};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client went away.
    Cancelled,
    /// The answer was passed on to its end.
    Whole,
    /// The worker broke off its answer.
    Broken,
    /// The router answered itself.
    Refused,
}

/// A line that is written when it is dropped: a request that is cancelled ends nowhere else.
#[derive(Debug)]
pub struct AccessLine {
    method: Method,
    path: String,
    /// The trace context as the client gave it.
    trace: Option<String>,
    began: Instant,
    head: Option<Head>,
    bytes: u64,
    outcome: Outcome,
}

#[derive(Debug)]
struct Head {
    status: StatusCode,
    /// `host:port` of the worker; none if the router answered itself.
    worker: Option<String>,
    milliseconds: f64,
}

impl AccessLine {
    /// The line of a request that has just come.
    pub fn new<B>(request: &Request<B>) -> Self {
        let trace = request.headers().get("traceparent").and_then(|trace| trace.to_str().ok());
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            trace: trace.map(ToOwned::to_owned),
            began: Instant::now(),
            head: None,
            bytes: 0,
            outcome: Outcome::Cancelled,
        }
    }

    /// Notes the head of the answer.
    pub fn head(&mut self, status: StatusCode, worker: Option<&str>) {
        let milliseconds = self.elapsed_ms();
        self.head = Some(Head { status, worker: worker.map(ToOwned::to_owned), milliseconds });
    }

    /// Notes bytes of the answer's body.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Notes the end.
    pub fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    fn elapsed_ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1000.0
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let Self { method, path, trace, began: _, head, bytes, outcome } = &*self;
        let outcome = match outcome {
            Outcome::Cancelled => "cancelled",
            Outcome::Whole => "whole",
            Outcome::Broken => "broken",
            Outcome::Refused => "refused",
        };
        let head = head.as_ref();
        tracing::info!(
            target: "teebench_router::access",
            %method,
            path,
            status = head.map(|head| head.status.as_u16()),
            worker = head.and_then(|head| head.worker.as_deref()),
            outcome,
            head_ms = head.map(|head| head.milliseconds),
            total_ms = self.elapsed_ms(),
            bytes,
            trace,
        );
    }
}
