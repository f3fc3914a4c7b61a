//! Runs a load: warm-up, then the window, then the records.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Zoned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::pacer::Pacer;
use super::payload::PayloadTemplate;
use super::probe::ProbeLoop;
use super::progress::{Counters, Progress, report};
use super::recorder::Dispatch;
use super::request::{Shared, perform};
use super::target::TargetClient;
use super::{LoadError, LoadSpec};
use crate::arrivals::{Arrivals, Schedule};
use crate::client_file::CpuMeter;
use crate::record::{ClientUsage, Measured, Offered, RateChange, RequestRecord, Window};

/// Sends the load and records every request of it.
///
/// Cancelling ends it at once: requests under way become failures, the rest is not sent, and what was measured is
/// returned as partial.
///
/// # Errors
/// When the load cannot be run at all; requests that fail are records.
pub async fn measure(
    spec: &LoadSpec,
    progress: watch::Sender<Progress>,
    cancel: CancellationToken,
) -> Result<Measured, LoadError> {
    let total = spec.requests.len();
    if total == 0 {
        return Err(LoadError::NoRequest);
    }
    let schedule = spec.schedule()?;
    let shared = Arc::new(prepare(spec, cancel.clone()).await?);
    let limit = spec.max_concurrency.map(|limit| Arc::new(Semaphore::new(limit.get() as usize)));

    warm_up(spec, &shared, limit.as_ref()).await?;

    let counters = Arc::new(Counters::default());
    let reporter = report(Arc::clone(&counters), total, progress.clone());
    let probe = spec.probe_requests_per_s.map(|rate| ProbeLoop::start(&shared, rate)).transpose()?;
    let cpu = CpuMeter::start();
    let dispatched = Dispatcher { spec, shared: &shared, counters: &counters, limit }.run(schedule).await;
    let probe = match probe {
        Some(probe) => Some(probe.stop().await?),
        None => None,
    };
    let Dispatched { mut records, rate_changes } = dispatched?;
    let cpu_share = cpu.share();
    drop(reporter);
    progress.send_replace(counters.progress(total));

    records.sort_unstable_by_key(|record| record.index);
    Ok(Measured {
        window: window(&records, &shared.clock),
        records,
        ended_at: Zoned::now().datetime(),
        offered: Offered {
            planned_requests: total,
            timed: spec.arrivals.is_timed(),
            max_concurrency: spec.max_concurrency.map(Into::into),
        },
        rate_changes,
        probe,
        client: ClientUsage {
            cpu_share,
            sockets_opened: shared.targets.iter().map(TargetClient::sockets_opened).sum(),
        },
        partial: cancel.is_cancelled(),
    })
}

async fn prepare(spec: &LoadSpec, cancel: CancellationToken) -> Result<Shared, LoadError> {
    if spec.targets.is_empty() {
        return Err(LoadError::NoTarget);
    }
    let clock = Clock::start();
    let mut targets = Vec::with_capacity(spec.targets.len());
    for target in &spec.targets {
        targets.push(TargetClient::resolve(target, &spec.headers, clock).await?);
    }
    Ok(Shared {
        clock,
        targets,
        endpoint: spec.endpoint.clone().unwrap_or_else(|| spec.backend.endpoint().to_owned()),
        template: PayloadTemplate::new(spec.backend, &spec.model, spec.ignore_eos, true, &spec.extra_body),
        keep_texts: spec.keep_texts,
        request_timeout: spec.request_timeout,
        cancel,
    })
}

/// Sends the warm-up requests, as many at once as the run may, and waits for all of them.
async fn warm_up(spec: &LoadSpec, shared: &Arc<Shared>, limit: Option<&Arc<Semaphore>>) -> Result<(), LoadError> {
    let counters = Arc::new(Counters::default());
    let mut tasks = JoinSet::new();
    for (index, request) in spec.warmup.iter().enumerate() {
        let payload = shared.template.render(request)?;
        let permit = admit(limit).await;
        let now_ns = shared.clock.now_ns();
        let dispatch = Dispatch {
            index,
            target: index % shared.targets.len(),
            expected_prompt_tokens: request.expected_prompt_tokens,
            intended_ns: now_ns,
            arrived_ns: now_ns,
            admitted_ns: now_ns,
        };
        let exchange = perform(Arc::clone(shared), Arc::clone(&counters), dispatch, payload, request.max_tokens);
        tasks.spawn(hold_while(permit, exchange));
    }
    let mut errors = Vec::new();
    while let Some(record) = tasks.join_next().await {
        errors.extend(record?.error);
    }
    match errors.first() {
        Some(first_error) if errors.len() == spec.warmup.len() && !shared.cancel.is_cancelled() => {
            Err(LoadError::WarmUp { count: errors.len(), first_error: first_error.clone() })
        }
        Some(first_error) => {
            tracing::warn!(failed = errors.len(), sent = spec.warmup.len(), first_error, "warm-up requests failed");
            Ok(())
        }
        None => Ok(()),
    }
}

async fn admit(limit: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    match limit {
        Some(limit) => Some(Arc::clone(limit).acquire_owned().await.expect("the limit's semaphore is never closed")),
        None => None,
    }
}

async fn hold_while<T>(permit: Option<OwnedSemaphorePermit>, exchange: impl Future<Output = T>) -> T {
    let output = exchange.await;
    drop(permit);
    output
}

/// Begins each request at its time.
struct Dispatcher<'a> {
    spec: &'a LoadSpec,
    shared: &'a Arc<Shared>,
    counters: &'a Arc<Counters>,
    limit: Option<Arc<Semaphore>>,
}

struct Dispatched {
    records: Vec<RequestRecord>,
    rate_changes: Vec<RateChange>,
}

impl Dispatcher<'_> {
    async fn run(self, schedule: Schedule) -> Result<Dispatched, LoadError> {
        let Schedule { offsets_s, rates } = schedule;
        let clock = self.shared.clock;
        let start_ns = clock.now_ns();
        let intended_ns: Vec<u64> = offsets_s.iter().map(|offset_s| start_ns + (offset_s * 1e9) as u64).collect();
        let mut pacer = match self.spec.arrivals.is_timed() {
            true => Some(Pacer::start(clock, intended_ns.clone()).map_err(LoadError::Pacer)?),
            false => None,
        };
        let mut ramp = RampSteps::new(&self.spec.arrivals);
        let mut tasks = JoinSet::new();
        let mut records = Vec::with_capacity(intended_ns.len());
        for (index, &intended_ns) in intended_ns.iter().enumerate() {
            // Rendered before its time comes, so that it is not late by the rendering.
            let request = self.spec.requests.request(index)?;
            let payload = self.shared.template.render(&request)?;
            let admission = async {
                let arrived_ns = match &mut pacer {
                    Some(pacer) => pacer.tick().await,
                    None => {
                        // Lets requests begun already go ahead: on a single thread nothing else would.
                        tokio::task::yield_now().await;
                        start_ns
                    }
                };
                (arrived_ns, admit(self.limit.as_ref()).await, clock.now_ns())
            };
            let (arrived_ns, permit, admitted_ns) = tokio::select! {
                biased;
                () = self.shared.cancel.cancelled() => break,
                admission = admission => admission,
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
        let exchange = perform(Arc::clone(self.shared), Arc::clone(self.counters), dispatch, payload, max_tokens);
        hold_while(permit, exchange)
    }
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

/// From the first start to the last end; empty, at the present, when nothing was sent.
fn window(records: &[RequestRecord], clock: &Clock) -> Window {
    let now_s = clock.monotonic_s(clock.now_ns());
    let start_s = records.iter().map(|record| record.start_s).min_by(f64::total_cmp).unwrap_or(now_s);
    let end_s = records.iter().map(|record| record.end_s).max_by(f64::total_cmp).unwrap_or(now_s);
    Window { start_s, end_s, start_unix_ns: clock.unix_ns_of(start_s), end_unix_ns: clock.unix_ns_of(end_s) }
}
