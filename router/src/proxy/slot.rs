//! A request's place at a worker: taken when it is admitted, returned on every way out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::waiting::{Ticket, Waiter};
use crate::epoch::{Epoch, State};
use crate::policy::{Choice, Flight, Prompt};
use crate::tree::WorkerIndex;

/// A taken slot. Dropping it returns it, and one that waits gets it.
#[derive(Debug)]
pub struct Slot {
    epoch: Arc<Epoch>,
    flight: Flight,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Its prompt.
    pub prompt: Prompt<'a>,
    /// Workers that failed it already.
    pub excluded: &'a [WorkerIndex],
    /// When the search for a worker began; the time from then on counts as the decision's.
    pub began: Instant,
}

/// Why a request got no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The epoch ended.
    EpochOver,
    /// Every worker was tried.
    NoWorker,
    /// The queue is full.
    QueueFull,
    /// No slot came free in time.
    QueueTimeout,
}

/// Longest wait for another router to give its slot of the worker that was chosen; an exchange takes a few milliseconds.
/// After that, any worker will do.
const WISH_LASTS: Duration = Duration::from_millis(20);

/// A slot on its way to the one that waited for it.
type Grant = (oneshot::Sender<Slot>, Slot);

impl Slot {
    /// Admits a request: chooses a worker for its prompt, and waits for a slot where the policy says so.
    pub async fn admit(epoch: &Arc<Epoch>, demand: Demand<'_>) -> Result<Self, Refusal> {
        let Demand { prompt, excluded, began } = demand;
        let (mut granted, ticket, wish) = {
            let mut state = epoch.state();
            if state.is_over && epoch.successor().is_some() {
                return Err(Refusal::EpochOver);
            }
            let choice = state.engine.choose(&prompt, excluded, epoch.now());
            epoch.metrics.decision_seconds.observe(began.elapsed().as_secs_f64());
            let (wanted, wish) = match choice {
                Choice::Send(worker) => return Ok(Self::take(epoch, &mut state, worker, &prompt)),
                Choice::Ask(worker) => (None, Some(worker)),
                Choice::WaitFor(worker) => (Some(worker), None),
                Choice::WaitForAny => (None, None),
                Choice::Nobody => return Err(Refusal::NoWorker),
            };
            if state.is_over {
                return Err(Refusal::EpochOver);
            }
            if state.waiting.count() >= epoch.settings.queue_limit {
                epoch.metrics.queue_full.inc();
                return Err(Refusal::QueueFull);
            }
            let (grant, granted) = oneshot::channel();
            let waiter = Waiter::new(&prompt, excluded, wish, grant);
            epoch.exchange.note_news();
            (granted, state.waiting.push(wanted, waiter), wish)
        };
        let _leave = LeaveLine { epoch, ticket };
        let waits = Instant::now();
        let outcome = tokio::time::timeout(epoch.settings.queue_timeout, async {
            if wish.is_some() {
                if let Ok(granted) = tokio::time::timeout(WISH_LASTS, &mut granted).await {
                    return granted;
                }
                epoch.state().waiting.drop_wish(ticket);
                serve_waiting(epoch);
                epoch.exchange.note_news();
            }
            granted.await
        })
        .await;
        epoch.metrics.queue_wait_seconds.observe(waits.elapsed().as_secs_f64());
        match outcome {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(Refusal::EpochOver),
            Err(_) => {
                epoch.metrics.queue_timeouts.inc();
                Err(Refusal::QueueTimeout)
            }
        }
    }

    /// The worker.
    pub fn worker(&self) -> WorkerIndex {
        self.flight.worker()
    }

    /// The request as the engine knows it.
    pub fn flight(&self) -> &Flight {
        &self.flight
    }

    /// The epoch that the request belongs to.
    pub fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    fn take(epoch: &Arc<Epoch>, state: &mut State, worker: WorkerIndex, prompt: &Prompt<'_>) -> Self {
        epoch.exchange.note_news();
        Self { epoch: epoch.clone(), flight: state.engine.begin(worker, prompt, epoch.now()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (mut epoch, mut flight) = (self.epoch.clone(), self.flight);
        let name = self.epoch.workers[flight.worker().at()].id.clone();
        loop {
            let grants = {
                let mut state = epoch.state();
                state.engine.end(&flight);
                epoch.exchange.note_news();
                grants_for(&epoch, &mut state, flight.worker())
            };
            deliver(grants);
            // Where the list of workers changed meanwhile, the slot was counted there too.
            let Some(successor) = epoch.successor().cloned() else { break };
            let Some(worker) = successor.worker(&name) else { break };
            (epoch, flight) = (successor, flight.at(worker));
        }
    }
}

/// Gives free slots to those that wait; called when something but a returned slot may have freed one: a worker came back
/// or was ejected, or another router told of less load.
pub fn serve_waiting(epoch: &Arc<Epoch>) {
    let grants = {
        let mut state = epoch.state();
        if state.waiting.count() == 0 {
            return;
        }
        let workers = (0..).map(WorkerIndex).take(epoch.workers.len());
        workers.flat_map(|worker| grants_for(epoch, &mut state, worker)).collect()
    };
    deliver(grants);
}

/// Notes that a worker could not be reached; after several times in a row it is ejected, and who waits for it takes another.
pub fn note_unreachable(epoch: &Arc<Epoch>, worker: WorkerIndex) {
    let ejected = {
        let mut state = epoch.state();
        let ejected = state.engine.connect_failed(worker);
        if ejected {
            state.waiting.release(worker);
        }
        ejected
    };
    if ejected {
        tracing::warn!(worker = epoch.workers[worker.at()].id, "ejected: it cannot be reached");
        serve_waiting(epoch);
    }
}

fn grants_for(epoch: &Arc<Epoch>, state: &mut State, worker: WorkerIndex) -> Vec<Grant> {
    let mut grants = Vec::new();
    while state.waiting.count() > 0 {
        let State { engine, waiting, is_over: _ } = &mut *state;
        let Some(waiter) = waiting.pop_for(worker, engine) else { break };
        let slot = Slot::take(epoch, state, worker, &waiter.prompt(&epoch.plan()));
        grants.push((waiter.grant, slot));
    }
    grants
}

/// Hands the slots over. One whose receiver is gone is dropped here, which returns it; so the lock must be free.
fn deliver(grants: Vec<Grant>) {
    for (grant, slot) in grants {
        drop(grant.send(slot));
    }
}

/// Takes a request out of its line when it no longer waits, for whatever reason.
struct LeaveLine<'a> {
    epoch: &'a Epoch,
    ticket: Ticket,
}

impl Drop for LeaveLine<'_> {
    fn drop(&mut self) {
        self.epoch.state().waiting.remove(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use serde_json::{Value, json};

    use super::*;
    use crate::policy::Work;

    fn epoch(policy: &Value) -> Arc<Epoch> {
        let request = json!({"epoch": 1, "run": "r", "policy": policy, "workers": [
            {"id": "a", "url": "http://127.0.0.1:1"}, {"id": "b", "url": "http://127.0.0.1:2"},
        ]});
        Arc::new(Epoch::new(&serde_json::from_value(request).unwrap(), 0).unwrap())
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn in_flight(epoch: &Epoch) -> Vec<u32> {
        epoch.state().engine.workers().iter().map(|worker| worker.own.in_flight).collect()
    }

    async fn admit_for(epoch: &Arc<Epoch>, path: &[u64]) -> Result<Slot, Refusal> {
        let prompt = Prompt { path, plan: &epoch.plan(), work: Work::default() };
        Slot::admit(epoch, Demand { prompt, excluded: &[], began: Instant::now() }).await
    }

    async fn admit(epoch: &Arc<Epoch>) -> Result<Slot, Refusal> {
        admit_for(epoch, &[]).await
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_are_served_in_their_order() {
        let epoch = epoch(&json!({"mode": "RoundRobin", "maxInFlightPerServer": 1}));
        let (first, second) = (admit(&epoch).await.unwrap(), admit(&epoch).await.unwrap());
        let (mut third, mut fourth) = (pin!(admit(&epoch)), pin!(admit(&epoch)));
        assert!(poll(third.as_mut()).is_pending());
        assert!(poll(fourth.as_mut()).is_pending());
        drop(second);
        assert!(poll(fourth.as_mut()).is_pending(), "the third came before it");
        let Poll::Ready(Ok(third)) = poll(third.as_mut()) else { panic!("a slot came free") };
        assert_eq!(third.worker(), WorkerIndex(1));
        drop(first);
        assert!(matches!(poll(fourth.as_mut()), Poll::Ready(Ok(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_returns_on_every_way_out() {
        let epoch = epoch(&json!({"mode": "RoundRobin", "maxInFlightPerServer": 1}));
        let (first, second) = (admit(&epoch).await.unwrap(), admit(&epoch).await.unwrap());
        {
            let mut left = pin!(admit(&epoch));
            assert!(poll(left.as_mut()).is_pending());
        }
        assert_eq!(epoch.state().waiting.count(), 0, "who leaves does not wait any more");
        {
            let mut granted = pin!(admit(&epoch));
            assert!(poll(granted.as_mut()).is_pending());
            drop(first);
            assert_eq!(in_flight(&epoch), [1, 1], "the slot waits for the one that waited for it");
        }
        assert_eq!(in_flight(&epoch), [0, 1], "who leaves with a slot on its way returns it");
        drop(second);
        assert_eq!(in_flight(&epoch), [0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_and_a_long_wait_ends() {
        let queue = json!({"maximum": 1, "timeoutMilliseconds": 500});
        let epoch = epoch(&json!({"mode": "RoundRobin", "maxInFlightPerServer": 1, "queue": queue}));
        let _slots = (admit(&epoch).await.unwrap(), admit(&epoch).await.unwrap());
        let mut waits = pin!(admit(&epoch));
        assert!(poll(waits.as_mut()).is_pending());
        assert_eq!(admit(&epoch).await.unwrap_err(), Refusal::QueueFull);
        assert_eq!(waits.await.unwrap_err(), Refusal::QueueTimeout);
        assert_eq!((epoch.metrics.queue_full.get(), epoch.metrics.queue_timeouts.get()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_epoch_ends_the_wait() {
        let epoch = epoch(&json!({"mode": "RoundRobin", "maxInFlightPerServer": 1}));
        let _slots = (admit(&epoch).await.unwrap(), admit(&epoch).await.unwrap());
        let mut waits = pin!(admit(&epoch));
        assert!(poll(waits.as_mut()).is_pending());
        epoch.end();
        assert_eq!(waits.await.unwrap_err(), Refusal::EpochOver);
        assert_eq!(admit(&epoch).await.unwrap_err(), Refusal::EpochOver);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_worker_that_is_ejected_takes_another() {
        let epoch = epoch(&json!({"mode": "HashRadixTree", "maxInFlightPerServer": 1,
            "hashRadixTree": {"loadBalancing": "None"}}));
        let path = [1, 2, 3];
        let holder = admit_for(&epoch, &path).await.unwrap();
        epoch.state().engine.accepted(holder.worker(), &path);
        epoch.state().engine.accepted(WorkerIndex(1 - holder.worker().0), &[9]);
        epoch.state().engine.accepted(WorkerIndex(1 - holder.worker().0), &[8]);
        let mut waits = pin!(admit_for(&epoch, &path));
        assert!(poll(waits.as_mut()).is_pending(), "without balancing the holder is waited for");
        {
            let mut state = epoch.state();
            while !state.engine.connect_failed(holder.worker()) {}
            state.waiting.release(holder.worker());
        }
        serve_waiting(&epoch);
        let Poll::Ready(Ok(slot)) = poll(waits.as_mut()) else { panic!("the other worker is free") };
        assert_ne!(slot.worker(), holder.worker());
    }
}
