//! One epoch of a router: the workers, the policy's state and the counters between two `PUT /epoch`.
//!
//! An epoch is never changed into another: a new one replaces it whole, so nothing of a run can reach the next. A request
//! keeps the epoch it came in with until it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use teebench_api::files::epoch::{EpochRequest, EpochState, Worker};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::metrics::EpochMetrics;
use crate::control::report::{PrefixReport, RouterMetrics, WorkerReport};
use crate::policy::Engine;
use crate::policy::settings::{Chunks, PolicyError, PolicySettings};
use crate::policy::slots::Seat;
use crate::proxy::waiting::WaitingLines;
use crate::sync::Exchange;
use crate::tree::chunk::ChunkPlan;
use crate::tree::sentry::Sentry;
use crate::tree::{BusyPrefix, WorkerIndex};

/// Most workers of an epoch: far above any node pool, and within [`WorkerIndex`].
pub const MAXIMUM_WORKERS: usize = 4096;

/// Most peers of an epoch.
pub const MAXIMUM_PEERS: usize = 256;

/// Most pairs of a router and a worker whose slots are accounted for: all of them fit a frame.
const MAXIMUM_ACCOUNTS: usize = 16_384;

/// Prefixes that `GET /debug/tree` shows.
const MOST_SHOWN_PREFIXES: usize = 50;

/// Requests of an epoch that are all watched for shared system prompts.
const WATCHED_WHOLLY: u64 = 512;

/// Of the later ones, one in so many: hashing a prompt once more takes a few microseconds.
const WATCHED_ONE_IN: u64 = 16;

/// Longest name of a run in bytes.
const MAXIMUM_RUN_BYTES: usize = 1024;

/// Longest name of a worker in bytes: all names, and a path of any length, must fit one frame between routers.
const MAXIMUM_NAME_BYTES: usize = 128;

/// A worker's name and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerAddress {
    /// Name, equal on every router.
    pub id: String,
    /// `host:port`.
    pub authority: String,
}

/// See the module.
#[derive(Debug)]
pub struct Epoch {
    /// Its number; 0 is the one before the first `PUT /epoch`.
    pub number: u64,
    /// The run that it belongs to.
    pub run: String,
    /// The policy.
    pub settings: PolicySettings,
    /// The workers.
    pub workers: Vec<WorkerAddress>,
    /// `host:port` of the other routers' control ports.
    pub peers: Vec<String>,
    /// Counters.
    pub metrics: EpochMetrics,
    /// What was heard from other routers and what they shall hear; lives on when the list of workers changes.
    pub exchange: Arc<Exchange>,
    /// Cancelled when another epoch begins.
    pub ended: CancellationToken,
    began: Instant,
    by_name: HashMap<String, WorkerIndex>,
    /// The same epoch with another list of workers, once that changed.
    successor: OnceLock<Arc<Epoch>>,
    plan: ArcSwap<ChunkPlan>,
    /// Learns how to cut prompts, where the policy says so.
    sentry: Option<Mutex<Sentry>>,
    /// Requests seen, of which the sentry watches some.
    requests: AtomicU64,
    state: Mutex<State>,
}

/// What changes from request to request, under one lock that is never held across an await.
#[derive(Debug)]
pub struct State {
    /// Decides.
    pub engine: Engine,
    /// Those that wait for a slot.
    pub waiting: WaitingLines,
    /// True once the epoch was replaced: nobody waits in it any more.
    pub is_over: bool,
}

/// Why an epoch cannot begin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EpochError {
    /// The policy cannot be routed by.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A later epoch is in force.
    #[error("epoch: {given} is below the current {current}; give a later number")]
    Stale {
        /// Number asked for.
        given: u64,
        /// Number in force.
        current: u64,
    },
    /// The number is taken by another run.
    #[error("epoch: {number} belongs to run {run:?} already; give the next number")]
    Taken {
        /// Number asked for.
        number: u64,
        /// Run in force.
        run: String,
    },
    /// Too few or too many entries.
    #[error("{field}: {given} are listed; list {minimum} to {maximum}")]
    Count {
        /// `workers` or `peers`.
        field: &'static str,
        /// Number of entries.
        given: usize,
        /// The least.
        minimum: usize,
        /// The most.
        maximum: usize,
    },
    /// A run's name is too long.
    #[error("run: the name has {0} bytes; give at most 1024")]
    Run(usize),
    /// A name that is empty, too long or given twice.
    #[error("workers[].id: {0:?} is empty, longer than 128 bytes or given twice; name each worker once")]
    Name(String),
    /// Routers that cannot be told apart.
    #[error("name: {0:?} or one of peers[].id is given twice; name each router once, or leave the name out")]
    Peer(String),
    /// An address that cannot be called.
    #[error("{field}: {url:?} is no address; give http://HOST:PORT")]
    Url {
        /// Path of the field.
        field: &'static str,
        /// What was given, cut.
        url: String,
    },
}

impl Epoch {
    /// Makes the epoch of a request. `incarnation` names this router among its peers.
    pub fn new(request: &EpochRequest, incarnation: u64) -> Result<Self, EpochError> {
        let EpochRequest { epoch, run, policy, workers, peers, name } = request;
        count("peers", peers.len(), 0, MAXIMUM_PEERS)?;
        if run.len() > MAXIMUM_RUN_BYTES {
            return Err(EpochError::Run(run.len()));
        }
        let (addresses, by_name) = addresses(workers)?;
        let seat = seat(name, peers.iter().map(|peer| peer.id.as_str()), addresses.len())?;
        let peers = peers.iter().map(|peer| authority("peers[].url", &peer.url)).collect::<Result<Vec<_>, _>>()?;
        let settings = PolicySettings::try_from(policy)?;
        let epoch = Self::assemble(*epoch, run.clone(), settings, addresses, by_name, peers, incarnation);
        if let Some(seat) = seat {
            epoch.state().engine.share_slots(seat, incarnation, false);
        }
        Ok(epoch)
    }

    /// The same epoch with another list of workers. Those that stay keep their requests, their reputation and what they
    /// hold; requests that wait are told to ask the successor; those in flight go on to their end, at workers that left
    /// too.
    pub fn with_workers(&self, workers: &[Worker]) -> Result<Arc<Self>, EpochError> {
        let (addresses, by_name) = addresses(workers)?;
        let mut state = self.state();
        let old_names: Vec<&str> = self.workers.iter().map(|worker| worker.id.as_str()).collect();
        let names: Vec<&str> = addresses.iter().map(|worker| worker.id.as_str()).collect();
        let engine = state.engine.with_workers(&self.settings, &old_names, &names, self.peers.len() + 1);
        let mut successor = Self::assemble(
            self.number,
            self.run.clone(),
            self.settings.clone(),
            addresses,
            by_name,
            self.peers.clone(),
            self.exchange.incarnation(),
        );
        successor.began = self.began;
        successor.exchange = self.exchange.clone();
        successor.plan = ArcSwap::new(self.plan());
        successor.state().engine = engine;
        self.exchange.forget_announced();
        let successor = Arc::new(successor);
        // Under the lock: who returns a slot afterwards finds the successor, and returns it there too.
        self.successor.get_or_init(|| successor.clone());
        self.ended.cancel();
        state.is_over = true;
        state.waiting.clear();
        Ok(successor)
    }

    /// The same epoch with another list of workers, if that changed.
    pub fn successor(&self) -> Option<&Arc<Self>> {
        self.successor.get()
    }

    /// The epoch before the first: no workers, so nothing is served.
    pub fn neutral(settings: PolicySettings, incarnation: u64) -> Self {
        Self::assemble(0, String::new(), settings, Vec::new(), HashMap::new(), Vec::new(), incarnation)
    }

    fn assemble(
        number: u64,
        run: String,
        settings: PolicySettings,
        workers: Vec<WorkerAddress>,
        by_name: HashMap<String, WorkerIndex>,
        peers: Vec<String>,
        incarnation: u64,
    ) -> Self {
        let names = || workers.iter().map(|worker| worker.id.as_str());
        // Alone, a router starts with the first worker; among others, each with one of its own.
        let first_turn = if peers.is_empty() { 0 } else { incarnation as usize };
        let engine = Engine::new(&settings, names(), peers.len() + 1, first_turn);
        let waiting = WaitingLines::new(workers.len());
        let (plan, sentry) = match &settings.chunks {
            Chunks::Planned(plan) => (plan.clone(), None),
            Chunks::Learned { remainder } => {
                let sentry = Sentry::new(*remainder);
                (sentry.first_plan(), Some(sentry))
            }
        };
        Self {
            number,
            run,
            metrics: EpochMetrics::new(names()),
            exchange: Arc::new(Exchange::new(incarnation, !peers.is_empty())),
            successor: OnceLock::new(),
            settings,
            workers,
            peers,
            ended: CancellationToken::new(),
            began: Instant::now(),
            by_name,
            plan: ArcSwap::from_pointee(plan),
            sentry: sentry.map(Mutex::new),
            requests: AtomicU64::new(0),
            state: Mutex::new(State { engine, waiting, is_over: false }),
        }
    }

    /// Locks the state. A panic elsewhere does not stop routing: every step leaves the state whole.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How prompts are cut now.
    pub fn plan(&self) -> Arc<ChunkPlan> {
        self.plan.load_full()
    }

    /// The sentry, if it shall watch the request at hand: the first few hundred, and then one in sixteen.
    pub fn watching_sentry(&self) -> Option<MutexGuard<'_, Sentry>> {
        let sentry = self.sentry.as_ref()?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let is_watched = number < WATCHED_WHOLLY || number.is_multiple_of(WATCHED_ONE_IN);
        is_watched.then(|| sentry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cuts prompts in another way from now on. What the tree holds by the old way fades.
    pub fn cut_by(&self, plan: ChunkPlan) {
        tracing::info!(?plan, "the traffic's shared prompts changed how prompts are cut");
        self.plan.store(Arc::new(plan));
    }

    /// Time since the epoch began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The worker of a name.
    pub fn worker(&self, name: &str) -> Option<WorkerIndex> {
        self.by_name.get(name).copied()
    }

    /// True before the first `PUT /epoch`.
    pub fn is_neutral(&self) -> bool {
        self.workers.is_empty()
    }

    /// Ends the epoch: waiting requests are answered, its tasks stop; requests in flight go on to their end.
    pub fn end(&self) {
        self.ended.cancel();
        let mut state = self.state();
        state.is_over = true;
        state.waiting.clear();
    }

    /// What `GET /epoch` answers.
    pub fn describe(&self) -> EpochState {
        EpochState {
            epoch: self.number,
            run: self.run.clone(),
            workers: self.workers.len(),
            tree_nodes: self.state().engine.tree().map_or(0, crate::tree::HashRadixTree::len),
        }
    }

    /// The prefixes with the most recent traffic, as `GET /debug/tree` shows them.
    pub fn top_prefixes(&self) -> Vec<PrefixReport> {
        let busiest = self.state().engine.tree().map(|tree| tree.busiest(MOST_SHOWN_PREFIXES)).unwrap_or_default();
        let report = |BusyPrefix { edge, chunks, recent_requests, holders }: BusyPrefix| PrefixReport {
            hash: format!("{edge:016x}"),
            chunks,
            recent_requests,
            holders: holders.iter().map(|holder| self.workers[holder.at()].id.clone()).collect(),
        };
        busiest.into_iter().map(report).collect()
    }

    /// Brings the gauges up to date and returns all metrics in Prometheus' text format.
    pub fn metrics_text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.refresh_gauges();
        self.metrics.text()
    }

    /// All counters as one object.
    pub fn report(self: &Arc<Self>) -> RouterMetrics {
        self.refresh_gauges();
        let metrics = &self.metrics;
        let latencies: Vec<_> = self.state().engine.workers().iter().map(|worker| worker.latency_ms.mean()).collect();
        let workers: Vec<_> = self
            .workers
            .iter()
            .zip(&metrics.workers)
            .zip(latencies)
            .map(|((address, counters), latency_ms)| WorkerReport {
                id: address.id.clone(),
                requests: counters.requests.get(),
                hits: counters.hits.get(),
                errors: counters.errors.get(),
                retries: counters.retries.get(),
                in_flight: counters.in_flight.get().unsigned_abs(),
                latency_ms,
            })
            .collect();
        RouterMetrics {
            epoch: self.number,
            run: self.run.clone(),
            requests: workers.iter().map(|worker| worker.requests).sum(),
            hits: workers.iter().map(|worker| worker.hits).sum(),
            errors: workers.iter().map(|worker| worker.errors).sum(),
            retries: workers.iter().map(|worker| worker.retries).sum(),
            cancelled: metrics.cancelled.get(),
            prompt_chunks: metrics.prompt_chunks.get(),
            held_chunks: metrics.held_chunks.get(),
            saved_tokens: metrics.saved_tokens.get(),
            queue_full: metrics.queue_full.get(),
            queue_timeouts: metrics.queue_timeouts.get(),
            queue_waits: metrics.queue_wait_seconds.get_sample_count(),
            queue_wait_seconds: metrics.queue_wait_seconds.get_sample_sum(),
            decisions: metrics.decision_seconds.get_sample_count(),
            decision_seconds: metrics.decision_seconds.get_sample_sum(),
            tree_nodes: metrics.tree_nodes.get().unsigned_abs(),
            tree_bytes: metrics.tree_bytes.get().unsigned_abs(),
            tree_evictions: metrics.tree_evictions.get().unsigned_abs(),
            sync_sent_bytes: metrics.sync_sent_bytes.get(),
            sync_received_bytes: metrics.sync_received_bytes.get(),
            sync_gaps: metrics.sync_gaps.get(),
            sync_refused_frames: metrics.sync_refused_frames.get(),
            workers,
        }
    }

    fn refresh_gauges(&self) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let state = self.state();
        for (metrics, worker) in self.metrics.workers.iter().zip(state.engine.workers()) {
            metrics.in_flight.set(worker.own.in_flight.into());
            metrics.in_flight_of_others.set(worker.others.in_flight.into());
        }
        self.metrics.waiting.set(gauge(state.waiting.count()));
        if let Some(tree) = state.engine.tree() {
            self.metrics.tree_nodes.set(gauge(tree.len()));
            self.metrics.tree_bytes.set(gauge(tree.bytes()));
            self.metrics.tree_evictions.set(i64::try_from(tree.evictions()).unwrap_or(i64::MAX));
        }
    }
}

type Addresses = (Vec<WorkerAddress>, HashMap<String, WorkerIndex>);

fn addresses(workers: &[Worker]) -> Result<Addresses, EpochError> {
    count("workers", workers.len(), 1, MAXIMUM_WORKERS)?;
    let mut addresses = Vec::with_capacity(workers.len());
    let mut by_name = HashMap::with_capacity(workers.len());
    for (index, worker) in (0..).map(WorkerIndex).zip(workers) {
        let id = worker.id.clone();
        if id.is_empty() || id.len() > MAXIMUM_NAME_BYTES || by_name.insert(id.clone(), index).is_some() {
            return Err(EpochError::Name(cut(&id)));
        }
        addresses.push(WorkerAddress { id, authority: authority("workers[].url", &worker.url)? });
    }
    Ok((addresses, by_name))
}

/// The place of a router among its peers; none where it is alone or not named, or where the accounts of who gave whom how
/// many slots would not fit a frame.
fn seat<'a>(name: &str, peers: impl Iterator<Item = &'a str>, workers: usize) -> Result<Option<Seat>, EpochError> {
    let mut names: Vec<&str> = peers.collect();
    let routers = names.len() + 1;
    if name.is_empty() || routers == 1 || routers * workers > MAXIMUM_ACCOUNTS {
        return Ok(None);
    }
    names.sort_unstable();
    names.dedup();
    if names.len() + 1 != routers || names.contains(&name) {
        return Err(EpochError::Peer(cut(name)));
    }
    Ok(Some(Seat { rank: names.partition_point(|peer| *peer < name), routers }))
}

fn count(field: &'static str, given: usize, minimum: usize, maximum: usize) -> Result<(), EpochError> {
    if (minimum..=maximum).contains(&given) {
        return Ok(());
    }
    Err(EpochError::Count { field, given, minimum, maximum })
}

/// `host:port` of a plain http URL without a path.
pub(crate) fn authority(field: &'static str, url: &str) -> Result<String, EpochError> {
    let wrong = || EpochError::Url { field, url: cut(url) };
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let is_plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    if !is_plain || authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(wrong());
    }
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)))
}

/// The beginning of a text that came from outside, short enough for a message.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
