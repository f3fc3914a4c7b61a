//! A worker: a thread with an event loop and connections of its own, which sends its part of the load.
//!
//! Nothing of a request crosses threads: it is rendered, sent, read and recorded on one core. Workers share only the
//! concurrency limit and the caps of the targets.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;

use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::dispatch::{Dispatched, Dispatcher, admit, hold_while};
use super::payload::PayloadTemplate;
use super::probe::ProbeLoop;
use super::progress::Counters;
use super::recorder::Dispatch;
use super::request::{Shared, perform};
use super::share::Share;
use super::target::{ResolvedTarget, TargetClient};
use super::{LoadError, LoadSpec};
use crate::arrivals::Schedule;
use crate::client_file::CpuMeter;
use crate::record::{ProbeLatencies, RateChange, RequestRecord};

/// What a worker is given.
pub(super) struct Job {
    pub(super) number: u32,
    /// How many workers there are.
    pub(super) of: NonZeroU32,
    pub(super) spec: Arc<LoadSpec>,
    pub(super) schedule: Arc<Schedule>,
    pub(super) clock: Clock,
    pub(super) targets: Vec<Arc<ResolvedTarget>>,
    pub(super) template: Arc<PayloadTemplate>,
    /// The concurrency limit that all workers share.
    pub(super) admission: Option<Arc<Semaphore>>,
    pub(super) cancel: CancellationToken,
    pub(super) counters: Arc<Counters>,
}

/// What one worker, or all together, did in the window.
#[derive(Default)]
pub(super) struct Worked {
    pub(super) records: Vec<RequestRecord>,
    pub(super) rate_changes: Vec<RateChange>,
    pub(super) probe: Option<ProbeLatencies>,
    /// Share of one core: a worker has no more than one, however many the machine has.
    pub(super) cpu_share: f64,
    pub(super) sockets_opened: u64,
}

impl Worked {
    /// Adds another worker's; of the CPU shares the largest stays.
    pub(super) fn add(&mut self, other: Worked) {
        let Worked { records, rate_changes, probe, cpu_share, sockets_opened } = other;
        self.records.extend(records);
        self.rate_changes.extend(rate_changes);
        self.probe = self.probe.take().or(probe);
        self.cpu_share = self.cpu_share.max(cpu_share);
        self.sockets_opened += sockets_opened;
    }
}

/// A started worker, as the thread that started it sees it.
pub(super) struct Worker {
    counters: Arc<Counters>,
    warmed_up: Option<oneshot::Receiver<Result<Vec<String>, LoadError>>>,
    open: Option<oneshot::Sender<u64>>,
    worked: oneshot::Receiver<Result<Worked, LoadError>>,
}

impl Worker {
    /// Starts the thread, which begins to warm up at once.
    pub(super) fn start(job: Job) -> Result<Worker, LoadError> {
        let counters = Arc::clone(&job.counters);
        let (send_warmed_up, warmed_up) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        let (send_worked, worked) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::Worker)?;
        thread::Builder::new()
            .name(format!("load-{}", job.number))
            .spawn(move || {
                runtime.block_on(async move {
                    // A load of which one worker cannot send its part has failed: the others need not go on to its end.
                    let stop_others = job.cancel.clone().drop_guard();
                    let bench = Bench::of(job);
                    // Nobody left to tell, or to open the window, means that the run was given up.
                    let Ok(()) = send_warmed_up.send(bench.warm_up().await) else { return };
                    let Ok(start_ns) = opened.await else { return };
                    let worked = bench.work(start_ns).await;
                    if worked.is_ok() {
                        stop_others.disarm();
                    }
                    let _ = send_worked.send(worked);
                });
            })
            .map_err(LoadError::Worker)?;
        Ok(Worker { counters, warmed_up: Some(warmed_up), open: Some(open), worked })
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Waits for its warm-up; why requests of it failed.
    pub(super) async fn warmed_up(&mut self) -> Result<Vec<String>, LoadError> {
        match self.warmed_up.take() {
            Some(warmed_up) => warmed_up.await.map_err(|_| LoadError::WorkerGone)?,
            None => Ok(Vec::new()),
        }
    }

    /// Lets it begin, with the schedule's zero at `start_ns` of the run's clock.
    pub(super) fn open_window(&mut self, start_ns: u64) {
        if let Some(open) = self.open.take() {
            // A worker that is gone is noticed when it is to be finished.
            let _ = open.send(start_ns);
        }
    }

    /// Waits for its last request.
    pub(super) async fn finish(self) -> Result<Worked, LoadError> {
        self.worked.await.map_err(|_| LoadError::WorkerGone)?
    }
}

/// The worker on its own thread.
struct Bench {
    job: Job,
    shared: Arc<Shared>,
}

impl Bench {
    fn of(job: Job) -> Bench {
        let Job { spec, clock, targets, template, cancel, counters, .. } = &job;
        let shared = Shared {
            clock: *clock,
            targets: targets.iter().map(|target| TargetClient::new(Arc::clone(target))).collect(),
            endpoint: spec.endpoint.clone().unwrap_or_else(|| spec.backend.endpoint().to_owned()),
            template: Arc::clone(template),
            keep_texts: spec.keep_texts,
            request_timeout: spec.request_timeout,
            cancel: cancel.clone(),
            counters: Arc::clone(counters),
        };
        Bench { job, shared: Arc::new(shared) }
    }

    /// Sends its part of the warm-up, as many at once as the run may, and waits for all of it.
    async fn warm_up(&self) -> Result<Vec<String>, LoadError> {
        let Job { number, of, spec, admission, clock, .. } = &self.job;
        // Counted apart: progress is of the window.
        let counters = Arc::new(Counters::default());
        let mut tasks = JoinSet::new();
        for index in Share::WHOLE.part(*number, *of).indices(spec.warmup.len()) {
            let request = &spec.warmup[index];
            let payload = self.shared.template.render(request)?;
            let permit = admit(admission.as_ref()).await;
            let now_ns = clock.now_ns();
            let dispatch = Dispatch {
                index,
                target: index % self.shared.targets.len(),
                expected_prompt_tokens: request.expected_prompt_tokens,
                intended_ns: now_ns,
                arrived_ns: now_ns,
                admitted_ns: now_ns,
            };
            let (shared, counters) = (Arc::clone(&self.shared), Arc::clone(&counters));
            tasks.spawn(hold_while(permit, perform(shared, counters, dispatch, payload, request.max_tokens)));
        }
        let mut errors = Vec::new();
        while let Some(record) = tasks.join_next().await {
            errors.extend(record?.error);
        }
        Ok(errors)
    }

    async fn work(&self, start_ns: u64) -> Result<Worked, LoadError> {
        let Job { number, of, spec, schedule, admission, .. } = &self.job;
        // One stream of probe requests is enough, and its rate is of the whole run.
        let probe = match spec.probe_requests_per_s.filter(|_| *number == 0) {
            Some(rate) => Some(ProbeLoop::start(&self.shared, rate)?),
            None => None,
        };
        let cpu = CpuMeter::start();
        let share = spec.share.part(*number, *of);
        let dispatcher = Dispatcher { spec, shared: &self.shared, admission: admission.as_ref(), share };
        let dispatched = dispatcher.run(schedule, start_ns).await;
        let probe = match probe {
            Some(probe) => Some(probe.stop().await?),
            None => None,
        };
        let Dispatched { records, rate_changes } = dispatched?;
        Ok(Worked {
            records,
            rate_changes,
            probe,
            cpu_share: cpu.share(),
            sockets_opened: self.shared.targets.iter().map(TargetClient::sockets_opened).sum(),
        })
    }
}

/// The timer's error as the load's.
impl From<io::Error> for LoadError {
    fn from(source: io::Error) -> LoadError {
        LoadError::Timer(source)
    }
}
