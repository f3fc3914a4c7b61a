//! Keeps several routers in step: each pushes what it learned to its peers and asks for a snapshot where it missed
//! something.
//!
//! Frames are numbered for each sender and epoch. They may come twice or late, for what they say is idempotent and
//! commutative; only a missing one matters, and the receiver finds it by the numbers. A peer that is slow or gone costs
//! a bounded log; one that lies is refused by the decoder's bounds or, at worst, makes this router's guesses worse.

pub mod frame;
mod inbox;
mod lessons;
mod log;
pub mod peer;
#[cfg(test)]
mod simulation;
mod slots;
#[cfg(test)]
mod slots_simulation;
pub mod wire;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use self::frame::{Frame, FrameBuilder, Header, WorkerNews};
use self::inbox::{Inbox, LoadChange};
use self::log::FrameLog;
use self::wire::FrameError;
use crate::epoch::{Epoch, State};
use crate::policy::Lesson;
use crate::policy::settings::Mode;
use crate::policy::slots::{SeatNews, SlotNews};
use crate::policy::worker::Load;
use crate::proxy::slot::serve_waiting;
use crate::tree::WorkerIndex;
use crate::tree::replica::{Delta, Generation, News};

/// Most hashes that wait to be sent; what comes on top is left to a snapshot.
const MOST_ANNOUNCED_HASHES: usize = 1 << 20;

/// Most bytes of a snapshot; of a larger tree the most recently used part is sent.
pub const MAXIMUM_SNAPSHOT_BYTES: usize = 64 << 20;

/// What one epoch heard from its peers and what they shall hear.
#[derive(Debug)]
pub struct Exchange {
    incarnation: u64,
    has_peers: bool,
    outbox: Mutex<Outbox>,
    log: Mutex<FrameLog>,
    inbox: Mutex<Inbox>,
    /// What was told of this router and of the workers last, so that nothing is told twice in vain; none before the first frame.
    told: Mutex<Option<(Option<SeatNews>, Vec<WorkerNews>)>>,
    /// Number of the last frame of the log.
    last_frame: watch::Sender<u64>,
    /// Wakes the one that tells the others, as soon as there is something to tell.
    has_news: Notify,
}

#[derive(Debug, Default)]
struct Outbox {
    announced: Vec<Announced>,
    hashes: usize,
    has_lost_some: bool,
}

#[derive(Debug)]
struct Announced {
    worker: WorkerIndex,
    generation: Generation,
    path: Box<[u64]>,
}

/// The answer to a frame.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The receiver's incarnation.
    pub incarnation: u64,
    /// Number of the receiver's own last frame.
    pub sequence: u64,
}

/// Why a frame was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It speaks of another epoch.
    #[error("the frame is of epoch {epoch} of run {run:?}, which is not in force here")]
    OtherEpoch {
        /// Number of its epoch.
        epoch: u64,
        /// Its run.
        run: String,
    },
}

impl Exchange {
    /// An exchange in which nothing was said.
    pub fn new(incarnation: u64, has_peers: bool) -> Self {
        Self {
            incarnation,
            has_peers,
            outbox: Mutex::default(),
            log: Mutex::default(),
            inbox: Mutex::default(),
            told: Mutex::default(),
            last_frame: watch::Sender::new(0),
            has_news: Notify::new(),
        }
    }

    /// Notes that a worker took a prompt, for the next frame.
    pub fn announce(&self, worker: WorkerIndex, generation: Generation, path: &[u64]) {
        if !self.has_peers {
            return;
        }
        let mut outbox = locked(&self.outbox);
        if outbox.hashes + path.len() > MOST_ANNOUNCED_HASHES {
            outbox.has_lost_some = true;
            return;
        }
        outbox.hashes += path.len();
        outbox.announced.push(Announced { worker, generation, path: path.into() });
    }

    /// Notes that a load changed, or that an answer taught something.
    pub fn note_news(&self) {
        if self.has_peers {
            self.has_news.notify_one();
        }
    }

    /// Names this router among its peers.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Forgets what waits to be sent, because workers get other indices; peers find the gap and ask for a snapshot.
    pub fn forget_announced(&self) {
        let mut outbox = locked(&self.outbox);
        outbox.has_lost_some |= !outbox.announced.is_empty();
        outbox.announced.clear();
        outbox.hashes = 0;
        *locked(&self.told) = None;
    }

    fn receipt(&self) -> Receipt {
        Receipt { incarnation: self.incarnation, sequence: locked(&self.log).last() }
    }
}

/// Takes a frame that another router sent.
pub fn receive(epoch: &Arc<Epoch>, bytes: &[u8]) -> Result<Receipt, ReceiveError> {
    let frame = check(epoch, bytes).inspect_err(|_| epoch.metrics.sync_refused_frames.inc())?;
    if frame.header.sender != epoch.exchange.incarnation {
        let mut changes = Vec::new();
        let Header { sender, sequence, .. } = frame.header;
        let noted = locked(&epoch.exchange.inbox).note_frame(sender, sequence, Instant::now(), &mut changes);
        if noted.has_gap {
            epoch.metrics.sync_gaps.inc();
        }
        let news = if noted.is_new { News::Fresh } else { News::Repeated };
        apply(epoch, &frame, changes, news);
        if news == News::Fresh {
            learn(epoch, &frame);
        }
        epoch.metrics.sync_received_bytes.inc_by(bytes.len() as u64);
    }
    Ok(epoch.exchange.receipt())
}

/// Takes a snapshot: frames, each after its length in four bytes.
fn receive_snapshot(epoch: &Arc<Epoch>, sender: u64, mut bytes: &[u8]) -> Result<(), ReceiveError> {
    let received = bytes.len() as u64;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (frame, rest) = rest.split_at_checked(length).ok_or(FrameError::CutOff("snapshot"))?;
        let frame = check(epoch, frame)?;
        if frame.header.sender != sender {
            return Err(FrameError::OutOfBounds("sender").into());
        }
        let mut changes = Vec::new();
        locked(&epoch.exchange.inbox).note_snapshot(sender, frame.header.sequence, Instant::now(), &mut changes);
        apply(epoch, &frame, changes, News::Repeated);
        bytes = rest;
    }
    epoch.metrics.sync_received_bytes.inc_by(received);
    Ok(())
}

fn check(epoch: &Epoch, bytes: &[u8]) -> Result<Frame, ReceiveError> {
    let frame = Frame::decode(bytes)?;
    let Header { sender: _, epoch: number, run, sequence: _, hash_bits, seat: _ } = &frame.header;
    if (*number, run) != (epoch.number, &epoch.run) {
        return Err(ReceiveError::OtherEpoch { epoch: *number, run: run.clone() });
    }
    if *hash_bits != self::hash_bits(epoch) {
        return Err(FrameError::HashBits(*hash_bits).into());
    }
    Ok(frame)
}

fn apply(epoch: &Arc<Epoch>, frame: &Frame, mut changes: Vec<LoadChange>, news: News) {
    let Header { sender, sequence, .. } = frame.header;
    let workers: Vec<_> = frame.workers.iter().map(|news| epoch.worker(&news.id)).collect();
    let known = || frame.workers.iter().zip(&workers).filter_map(|(news, worker)| Some((news, (*worker)?)));
    let now = epoch.now();
    let loads = known().map(|(news, worker)| (worker, news.load.absolute_from(now))).collect();
    locked(&epoch.exchange.inbox).replace_loads(sender, sequence, loads, &mut changes);
    {
        let mut state = epoch.state();
        for (news, worker) in known() {
            state.engine.reach_generation(worker, news.generation);
        }
    }
    hear_of_slots(epoch, frame, &workers);
    apply_loads(epoch, &changes);
    frame.for_each_held(|index, path| {
        if let Some(worker) = workers[index] {
            // The lock is taken for each path, so that requests get in between.
            let generation = frame.workers[index].generation;
            epoch.state().engine.apply(&Delta { worker, generation, path }, news);
        }
    });
}

/// Takes what the sender told of slots; whoever asks is answered with the next frame.
fn hear_of_slots(epoch: &Epoch, frame: &Frame, workers: &[Option<WorkerIndex>]) {
    let mut state = epoch.state();
    let names: Vec<_> = state.engine.workers().iter().map(|worker| worker.name_hash).collect();
    let (Some(seat), Some(slots)) = (&frame.header.seat, state.engine.slots()) else { return };
    let was_settled = slots.is_settled();
    if !slots.hear(frame.header.sender, seat) {
        return;
    }
    for (news, worker) in frame.workers.iter().zip(workers) {
        if let Some(worker) = worker {
            slots.hear_of(seat.rank, names[worker.at()], &news.slots);
        }
    }
    let knows_us = seat.known.contains(&epoch.exchange.incarnation);
    if slots.is_asked() || !knows_us || was_settled != slots.is_settled() {
        epoch.exchange.note_news();
    }
}

fn learn(epoch: &Epoch, frame: &Frame) {
    let now = epoch.now();
    let mut state = epoch.state();
    for lesson in &frame.lessons {
        let lesson = match *lesson {
            Lesson::FirstToken { worker, is_streamed, seen } => {
                let Some(worker) = epoch.worker(&frame.workers[worker.at()].id) else { continue };
                Lesson::FirstToken { worker, is_streamed, seen }
            }
            Lesson::Latency { .. } => *lesson,
        };
        state.engine.learn(&lesson, now);
    }
}

fn apply_loads(epoch: &Arc<Epoch>, changes: &[LoadChange]) {
    if changes.is_empty() {
        return;
    }
    {
        let at = epoch.now();
        let mut state = epoch.state();
        for LoadChange { worker, before, now } in changes {
            state.engine.replace_load_of_others(*worker, *before, *now, at);
        }
    }
    serve_waiting(epoch);
}

/// Puts what was learned since the last call, and the loads, into the log. Says nothing where there is nothing to say.
fn flush(epoch: &Epoch) {
    let exchange = &epoch.exchange;
    // Requests announce while they hold the state, so the outbox must be free again before the state is locked here.
    let Outbox { announced, hashes: _, has_lost_some } = std::mem::take(&mut *locked(&exchange.outbox));
    let (seat, workers, generations, lessons) = {
        let mut state = epoch.state();
        let seat = share_slots(&mut state);
        (seat, worker_news(epoch, &mut state), state.engine.generations().to_vec(), state.engine.take_lessons())
    };
    let mut told = locked(&exchange.told);
    let is_idle = workers.iter().all(|news| news.load == Load::default() && news.slots.wanted == 0)
        && seat.as_ref().is_none_or(|seat| seat.waiting == 0 && !seat.known.contains(&0));
    let is_silent = announced.is_empty() && lessons.is_empty() && !has_lost_some;
    if is_silent && is_idle && told.as_ref().is_some_and(|told| (&told.0, &told.1) == (&seat, &workers)) {
        return;
    }
    let mut log = locked(&exchange.log);
    if has_lost_some {
        log.skip();
    }
    let start = |log: &FrameLog| {
        FrameBuilder::new(Header { seat: seat.clone(), ..header(epoch, log.last() + 1) }, workers.clone())
    };
    let mut builder = start(&log);
    builder.teach(lessons);
    for Announced { worker, generation, path } in &announced {
        if generations.get(worker.at()) != Some(generation) {
            continue;
        }
        if !builder.add(worker.at(), path) {
            log.push(Bytes::from(builder.finish().encode()));
            builder = start(&log);
            builder.add(worker.at(), path);
        }
    }
    log.push(Bytes::from(builder.finish().encode()));
    exchange.last_frame.send_replace(log.last());
    *told = Some((seat, workers));
}

/// The whole tree as frames, each after its length; of a tree that is too large, the most recently used part.
pub fn snapshot(epoch: &Epoch) -> Vec<u8> {
    // The sequence is read first: what is announced meanwhile comes twice rather than never.
    let sequence = locked(&epoch.exchange.log).last();
    let (tree, workers) = {
        let mut state = epoch.state();
        (state.engine.tree().cloned(), worker_news(epoch, &mut state))
    };
    let mut frames: VecDeque<Vec<u8>> = VecDeque::new();
    let mut bytes = 0;
    let mut keep = |frame: Frame| {
        let frame = frame.encode();
        bytes += frame.len() + 4;
        frames.push_back(frame);
        while bytes > MAXIMUM_SNAPSHOT_BYTES
            && let Some(oldest) = frames.pop_front()
        {
            bytes -= oldest.len() + 4;
        }
    };
    let start = || FrameBuilder::new(header(epoch, sequence), workers.clone());
    let mut builder = start();
    if let Some(tree) = tree {
        tree.for_each_held(|path, holders| {
            for worker in holders {
                if !builder.add(worker.at(), path) {
                    keep(std::mem::replace(&mut builder, start()).finish());
                    builder.add(worker.at(), path);
                }
            }
        });
    }
    keep(builder.finish());
    let mut snapshot = Vec::with_capacity(bytes);
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("a frame has at most a mebibyte");
        snapshot.extend_from_slice(&length.to_le_bytes());
        snapshot.extend_from_slice(&frame);
    }
    snapshot
}

fn header(epoch: &Epoch, sequence: u64) -> Header {
    Header {
        sender: epoch.exchange.incarnation,
        epoch: epoch.number,
        run: epoch.run.clone(),
        sequence,
        hash_bits: hash_bits(epoch),
        seat: None,
    }
}

fn hash_bits(epoch: &Epoch) -> u8 {
    match epoch.settings.mode {
        Mode::HashRadixTree(tree) => tree.hash_bits.clamp(8, 64) as u8,
        Mode::RoundRobin | Mode::LeastLoaded => 64,
    }
}

/// Gives free slots to routers that wait for them, and returns what this router tells of itself.
fn share_slots(state: &mut State) -> Option<SeatNews> {
    let State { engine, waiting, is_over: _ } = state;
    let loads: Vec<_> = engine.workers().iter().map(|worker| (worker.name_hash, worker.own.in_flight)).collect();
    let slots = engine.slots()?;
    let (wanted, mut any) = waiting.wanted();
    for ((name, in_flight), wanted) in loads.into_iter().zip(wanted) {
        slots.give(name, in_flight, wanted + any);
        // One that waits for any worker needs no more than one slot.
        any = any.saturating_sub(slots.held(name).saturating_sub(in_flight));
    }
    let (_, waiting) = waiting.wanted();
    Some(slots.seat_news(waiting))
}

/// All workers in their order, so that a worker's index in a frame is its index here.
fn worker_news(epoch: &Epoch, state: &mut State) -> Vec<WorkerNews> {
    let State { engine, waiting, is_over: _ } = state;
    let now = epoch.now();
    let (wanted, _) = waiting.wanted();
    let slots: Vec<SlotNews> = {
        let loads: Vec<_> = engine.workers().iter().map(|worker| (worker.name_hash, worker.own.in_flight)).collect();
        let slots = engine.slots();
        let of = |((name, in_flight), wanted)| {
            slots.as_ref().map(|slots| slots.slot_news(name, in_flight, wanted)).unwrap_or_default()
        };
        loads.into_iter().zip(wanted).map(of).collect()
    };
    let generations = engine.generations();
    let news = epoch.workers.iter().zip(engine.workers()).zip(slots).enumerate();
    news.map(|(index, ((address, worker), slots))| WorkerNews {
        id: address.id.clone(),
        generation: generations.get(index).copied().unwrap_or_default(),
        load: worker.own.relative_to(now),
        slots,
    })
    .collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
