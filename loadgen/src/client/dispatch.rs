//! Begins each of a worker's requests at its time.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Zoned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::pacer::Pacer;
use super::recorder::Dispatch;
use super::request::{Shared, perform};
use super::share::Share;
use super::{LoadError, LoadSpec};
use crate::arrivals::{Arrivals, Schedule};
use crate::record::{RateChange, RequestRecord};

/// Waits for the concurrency limit; those who wait are let through in turn, whichever worker they are of.
pub(super) async fn admit(limit: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    match limit {
        Some(limit) => Some(Arc::clone(limit).acquire_owned().await.expect("the limit's semaphore is never closed")),
        None => None,
    }
}

/// Gives the permit back when the exchange has ended.
pub(super) async fn hold_while<T>(permit: Option<OwnedSemaphorePermit>, exchange: impl Future<Output = T>) -> T {
    let output = exchange.await;
    drop(permit);
    output
}

/// A worker's requests and when they come.
pub(super) struct Dispatcher<'a> {
    pub(super) spec: &'a LoadSpec,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) admission: Option<&'a Arc<Semaphore>>,
    pub(super) share: Share,
}

/// What came of them.
pub(super) struct Dispatched {
    pub(super) records: Vec<RequestRecord>,
    pub(super) rate_changes: Vec<RateChange>,
}

impl Dispatcher<'_> {
    /// Sends the requests and waits for all of them; the schedule counts from `start_ns` of the run's clock.
    pub(super) async fn run(self, schedule: &Schedule, start_ns: u64) -> Result<Dispatched, LoadError> {
        let Schedule { offsets_s, rates } = schedule;
        let clock = self.shared.clock;
        let indices = self.share.indices(offsets_s.len());
        let pacer = Pacer::new(clock, mean_gap_ns(offsets_s, indices.len()))?;
        let timed = self.spec.arrivals.is_timed();
        let mut ramp = RampSteps::new(&self.spec.arrivals);
        let mut tasks = JoinSet::new();
        let mut records = Vec::with_capacity(indices.len());
        for index in indices {
            let intended_ns = start_ns + (offsets_s[index] * 1e9) as u64;
            // Rendered before its time comes, so that it is not late by the rendering.
            let request = self.spec.requests.request(index)?;
            let payload = self.shared.template.render(&request)?;
            let admission = async {
                if !timed {
                    // Lets requests begun already go ahead: on this one thread nothing else would.
                    tokio::task::yield_now().await;
                }
                let arrived_ns = pacer.wait_until(intended_ns).await?;
                Ok::<_, LoadError>((arrived_ns, admit(self.admission).await, clock.now_ns()))
            };
            let (arrived_ns, permit, admitted_ns) = tokio::select! {
                biased;
                () = self.shared.cancel.cancelled() => break,
                admission = admission => admission?,
            };
            if let Some(rate) = rates.get(index) {
                ramp.reached(*rate);
            }
            let dispatch = Dispatch {
                index,
                target: index % self.shared.targets.len(),
                expected_prompt_tokens: request.expected_prompt_tokens,
                intended_ns,
                arrived_ns,
                // Without a limit nothing but the plan decides when a request may begin.
                admitted_ns: if permit.is_some() { admitted_ns } else { intended_ns },
            };
            tasks.spawn(self.exchange(dispatch, payload, request.max_tokens, permit));
            while let Some(record) = tasks.try_join_next() {
                records.push(record?);
            }
        }
        while let Some(record) = tasks.join_next().await {
            records.push(record?);
        }
        Ok(Dispatched { records, rate_changes: ramp.changes })
    }

    fn exchange(
        &self,
        dispatch: Dispatch,
        payload: Bytes,
        max_tokens: u32,
        permit: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = RequestRecord> + Send + 'static {
        let counters = Arc::clone(&self.shared.counters);
        hold_while(permit, perform(Arc::clone(self.shared), counters, dispatch, payload, max_tokens))
    }
}

/// Mean time between the requests of a worker that sends `count` of those planned.
fn mean_gap_ns(offsets_s: &[f64], count: usize) -> u64 {
    (offsets_s.last().copied().unwrap_or(0.0) / count.max(1) as f64 * 1e9) as u64
}

/// Notes when a ramp reaches each whole rate.
struct RampSteps {
    reached_rps: u32,
    changes: Vec<RateChange>,
}

impl RampSteps {
    fn new(arrivals: &Arrivals) -> RampSteps {
        match *arrivals {
            Arrivals::Ramp { start_rps, strategy: _, end_rps: _, burstiness: _ } => RampSteps {
                reached_rps: start_rps,
                changes: vec![RateChange { rps: start_rps, at: Zoned::now().datetime() }],
            },
            Arrivals::AllAtOnce { .. } | Arrivals::Rate { .. } | Arrivals::Recorded => {
                RampSteps { reached_rps: 0, changes: Vec::new() }
            }
        }
    }

    fn reached(&mut self, rate: f64) {
        let rps = rate as u32;
        if rps > self.reached_rps {
            let at = Zoned::now().datetime();
            self.changes.extend((self.reached_rps + 1..=rps).map(|rps| RateChange { rps, at }));
            self.reached_rps = rps;
        }
    }
}
