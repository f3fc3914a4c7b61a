//! Runs a load: starts the workers, lets them warm up, opens the window, gathers the records.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::available_parallelism;

use jiff::Zoned;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::payload::PayloadTemplate;
use super::progress::{Counters, Progress, report};
use super::target::ResolvedTarget;
use super::worker::{Job, Worked, Worker};
use super::{LoadError, LoadSpec};
use crate::record::{ClientUsage, Measured, Offered, RequestRecord, Window};

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
    let total = spec.share.indices(spec.requests.len()).len();
    if total == 0 {
        return Err(LoadError::NoRequest);
    }
    let schedule = Arc::new(spec.schedule()?);
    let limit = own_limit(spec)?;
    let clock = Clock::start();
    let targets = resolve(spec, clock).await?;
    // Dropping this future, too, ends the workers.
    let stop = cancel.child_token();
    let _stop_when_dropped = stop.clone().drop_guard();
    let admission = limit.map(|limit| Arc::new(Semaphore::new(limit.get() as usize)));
    let template = Arc::new(PayloadTemplate::new(spec.backend, &spec.model, spec.ignore_eos, true, &spec.extra_body));
    let count = worker_count(spec, total, limit);
    let mut workers = Vec::with_capacity(count.get() as usize);
    for number in 0..count.get() {
        workers.push(Worker::start(Job {
            number,
            of: count,
            spec: Arc::new(spec.clone()),
            schedule: Arc::clone(&schedule),
            clock,
            targets: targets.clone(),
            template: Arc::clone(&template),
            admission: admission.clone(),
            cancel: stop.clone(),
            counters: Arc::new(Counters::default()),
        })?);
    }
    warm_up(spec, &mut workers, &cancel).await?;

    let counters: Vec<Arc<Counters>> = workers.iter().map(Worker::counters).collect();
    let reporter = report(counters.clone(), total, progress.clone());
    let start_ns = spec.start_unix_ns.map_or(0, |unix_ns| clock.instant_of_unix_ns(unix_ns)).max(clock.now_ns());
    for worker in &mut workers {
        worker.open_window(start_ns);
    }
    let mut whole = Worked::default();
    for worker in workers {
        whole.add(worker.finish().await?);
    }
    let Worked { mut records, mut rate_changes, probe, cpu_share, sockets_opened } = whole;
    drop(reporter);
    progress.send_replace(Counters::progress(&counters, total));

    records.sort_unstable_by_key(|record| record.index);
    // The first worker to reach a rate has reached it for all.
    rate_changes.sort_unstable_by_key(|change| (change.rps, change.at));
    rate_changes.dedup_by_key(|change| change.rps);
    Ok(Measured {
        window: window(&records, &clock),
        records,
        ended_at: Zoned::now().datetime(),
        offered: Offered {
            planned_requests: total,
            timed: spec.arrivals.is_timed(),
            max_concurrency: limit.map(Into::into),
        },
        rate_changes,
        probe,
        client: ClientUsage { cpu_share, sockets_opened },
        partial: cancel.is_cancelled(),
    })
}

/// Most requests in flight of this generator.
fn own_limit(spec: &LoadSpec) -> Result<Option<NonZeroU32>, LoadError> {
    let Some(limit) = spec.max_concurrency else { return Ok(None) };
    let own = NonZeroU32::new(spec.share.of_limit(limit.get())).ok_or(LoadError::LimitTooLow { limit })?;
    Ok(Some(own))
}

/// One worker a core, but no more than have something to do at once.
fn worker_count(spec: &LoadSpec, total: usize, limit: Option<NonZeroU32>) -> NonZeroU32 {
    let cores = || available_parallelism().ok().and_then(|cores| NonZeroU32::try_from(cores).ok());
    let wanted = spec.workers.or_else(cores).unwrap_or(NonZeroU32::MIN);
    let busy = limit.map_or(u32::MAX, NonZeroU32::get).min(u32::try_from(total).unwrap_or(u32::MAX));
    NonZeroU32::new(wanted.get().min(busy)).unwrap_or(NonZeroU32::MIN)
}

async fn resolve(spec: &LoadSpec, clock: Clock) -> Result<Vec<Arc<ResolvedTarget>>, LoadError> {
    if spec.targets.is_empty() {
        return Err(LoadError::NoTarget);
    }
    let mut targets = Vec::with_capacity(spec.targets.len());
    for target in &spec.targets {
        targets.push(Arc::new(ResolvedTarget::resolve(target, &spec.http, clock).await?));
    }
    Ok(targets)
}

/// Waits for the warm-up of all workers; a load whose warm-up got no answer at all is not begun.
async fn warm_up(spec: &LoadSpec, workers: &mut [Worker], cancel: &CancellationToken) -> Result<(), LoadError> {
    let mut errors = Vec::new();
    for worker in workers {
        errors.extend(worker.warmed_up().await?);
    }
    match errors.first() {
        Some(first_error) if errors.len() == spec.warmup.len() && !cancel.is_cancelled() => {
            Err(LoadError::WarmUp { count: errors.len(), first_error: first_error.clone() })
        }
        Some(first_error) => {
            tracing::warn!(failed = errors.len(), sent = spec.warmup.len(), first_error, "warm-up requests failed");
            Ok(())
        }
        None => Ok(()),
    }
}

/// From the first start to the last end; empty, at the present, when nothing was sent.
fn window(records: &[RequestRecord], clock: &Clock) -> Window {
    let now_s = clock.monotonic_s(clock.now_ns());
    let start_s = records.iter().map(|record| record.start_s).min_by(f64::total_cmp).unwrap_or(now_s);
    let end_s = records.iter().map(|record| record.end_s).max_by(f64::total_cmp).unwrap_or(now_s);
    Window { start_s, end_s, start_unix_ns: clock.unix_ns_of(start_s), end_unix_ns: clock.unix_ns_of(end_s) }
}
