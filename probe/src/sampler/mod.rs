//! Threads that read each GPU at a fixed pace, into a ring of its own.
//!
//! A call into the driver blocks for milliseconds, so each GPU has its own thread, and nobody waits for it: readers
//! take what lies in the ring.

mod ring;
mod sample;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use ring::{Ring, Snapshot, Totals};
pub use sample::Sample;

use crate::clock;
use crate::gpu::{GpuSource, SourceKind};

/// How long the end of sampling waits for calls into the driver.
const LONGEST_CALL: Duration = Duration::from_secs(2);

/// How to sample.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time from one sample to the next.
    pub interval: Duration,
    /// How often the energy counter is read with a sample; never, where it is `None`.
    pub counter: Option<Duration>,
    /// How often the slow readings are taken with a sample.
    pub slow: Duration,
    /// How many samples of each GPU are kept.
    pub keep: usize,
}

impl Pace {
    /// A pace for the rows of a CSV file: everything but the counter, with every sample, and nothing kept.
    pub(crate) fn rows(interval: Duration) -> Self {
        Self { interval, counter: None, slow: interval, keep: 0 }
    }

    /// A pace for energy, with the slow readings once a second, that keeps the samples of a span.
    pub fn keeping(interval: Duration, counter: Duration, span: Duration) -> Self {
        let keep = span.as_nanos() / interval.as_nanos().max(1);
        Self {
            interval,
            counter: Some(counter),
            slow: Duration::from_secs(1),
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
        }
    }
}

/// Tells which samples are the first of their span of wall-clock time: so every second has exactly one set of slow
/// readings, which is its row in a CSV file.
struct Every {
    span_ns: u64,
    last: Option<u64>,
}

impl Every {
    fn new(span: Duration) -> Self {
        Self { span_ns: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1), last: None }
    }

    fn is_due(&mut self, unix_ns: u64) -> bool {
        let this = Some(unix_ns / self.span_ns);
        std::mem::replace(&mut self.last, this) != this
    }
}

/// The rings of all GPUs, and the threads that fill them. Dropping it ends the threads after the call they are in,
/// for which it waits two seconds at most.
pub struct Sampler {
    rings: Rings,
    stop: Arc<Stop>,
    /// Never sends; it is disconnected when the last thread has ended.
    ended: Mutex<Option<Receiver<()>>>,
}

type Rings = Arc<RwLock<BTreeMap<String, Arc<Ring>>>>;

impl Sampler {
    /// Starts sampling every GPU of the source. GPUs of a simulator that has not yet started are awaited.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(source: Arc<dyn GpuSource>, pace: Pace) -> std::io::Result<Self> {
        let rings = Rings::default();
        let stop = Arc::new(Stop::default());
        let ended = match source.kind() {
            SourceKind::Absent { reason: _ } => None,
            SourceKind::Nvml | SourceKind::Simulated => {
                let (rings, stop) = (Arc::clone(&rings), Arc::clone(&stop));
                let (running, ended) = mpsc::channel();
                std::thread::Builder::new().name("gpu-finder".to_owned()).spawn(move || {
                    await_gpus(&source, pace, &rings, &stop);
                    drop(running);
                })?;
                Some(ended)
            }
        };
        Ok(Self { rings, stop, ended: Mutex::new(ended) })
    }

    /// UUIDs of the GPUs that are sampled.
    pub fn uuids(&self) -> Vec<String> {
        self.rings.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The ring of one GPU.
    pub fn ring(&self, uuid: &str) -> Option<Arc<Ring>> {
        self.rings.read().unwrap_or_else(PoisonError::into_inner).get(uuid).cloned()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.now();
        if let Some(ended) = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // A driver that hangs in a call must not keep the process from ending.
            let _ = ended.recv_timeout(LONGEST_CALL);
        }
    }
}

fn await_gpus(source: &Arc<dyn GpuSource>, pace: Pace, rings: &Rings, stop: &Arc<Stop>) {
    let uuids = loop {
        let uuids = source.uuids();
        if !uuids.is_empty() {
            break uuids;
        }
        if stop.within(pace.interval) {
            return;
        }
    };
    std::thread::scope(|scope| {
        for uuid in uuids {
            let ring = Arc::new(Ring::new(pace.keep));
            rings.write().unwrap_or_else(PoisonError::into_inner).insert(uuid.clone(), Arc::clone(&ring));
            scope.spawn(move || {
                each_sample(source.as_ref(), &uuid, pace, stop, |sample| {
                    ring.push(sample);
                    ControlFlow::Continue(())
                });
            });
        }
    });
}

/// Samples one GPU at the pace until stopped or until `sink` breaks off.
pub(crate) fn each_sample(
    source: &dyn GpuSource,
    uuid: &str,
    pace: Pace,
    stop: &Stop,
    mut sink: impl FnMut(Sample) -> ControlFlow<()>,
) {
    let mut taker = Taker::new(source, uuid, pace);
    let mut due = Instant::now();
    loop {
        if sink(taker.take()).is_break() {
            return;
        }
        due += pace.interval;
        let now = Instant::now();
        if due < now {
            // A call took longer than the interval. The missed moments are gone; the pace goes on from here.
            due = now;
        }
        if stop.within(due - now) {
            return;
        }
    }
}

/// Takes samples of one GPU.
struct Taker<'a> {
    source: &'a dyn GpuSource,
    uuid: &'a str,
    counter: Option<Every>,
    slow: Option<Every>,
}

impl<'a> Taker<'a> {
    fn new(source: &'a dyn GpuSource, uuid: &'a str, pace: Pace) -> Self {
        // A span of one interval is due with every sample, however the samples fall on the wall clock's spans.
        let slow = (pace.slow > pace.interval).then(|| Every::new(pace.slow));
        Self { source, uuid, counter: pace.counter.map(Every::new), slow }
    }

    fn take(&mut self) -> Sample {
        // Power and energy are stamped with the middle of their call.
        let (unix_before, mono_before) = (clock::unix_ns(), clock::mono_ns());
        let counter = self.counter.as_mut().is_some_and(|every| every.is_due(unix_before));
        let fast = self.source.fast(self.uuid, counter);
        let half_call = clock::mono_ns().saturating_sub(mono_before) / 2;
        let unix_ns = unix_before.saturating_add(half_call);
        let slow = self.slow.as_mut().is_none_or(|every| every.is_due(unix_ns)).then(|| self.source.slow(self.uuid));
        Sample::new(unix_ns, mono_before + half_call, fast, slow)
    }
}

/// A flag to end on, that can be waited for.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn now(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until stopped or for `duration`; tells whether it is stopped.
    pub(crate) fn within(&self, duration: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) = self
            .changed
            .wait_timeout_while(stopped, duration, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Absent, Simulated, fixture};

    fn await_that(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}: not within 20 s");
            std::thread::yield_now();
        }
    }

    fn fast_pace() -> Pace {
        Pace::keeping(Duration::from_millis(1), Duration::from_millis(500), Duration::from_secs(100))
    }

    #[test]
    fn a_simulator_that_starts_later_is_sampled_once_its_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let source = Arc::new(Simulated::new(folder.path().join("gpu.json")));
        let sampler = Sampler::start(source, fast_pace()).unwrap();
        assert!(sampler.uuids().is_empty());
        fixture::write(folder.path(), &fixture::gpu_file());
        await_that("gpu found", || sampler.uuids() == [fixture::UUID]);
        let ring = sampler.ring(fixture::UUID).unwrap();
        await_that("three samples", || ring.totals().samples >= 3);
        let samples: Vec<Sample> = ring.range(0, u64::MAX).iter().cloned().collect();
        assert_eq!(samples[0].power_instant_mw, Some(300_000));
        assert!(samples.windows(2).all(|pair| pair[0].mono_ns < pair[1].mono_ns));
    }

    #[test]
    fn costly_readings_come_with_the_first_sample_of_each_span_only() {
        let folder = tempfile::tempdir().unwrap();
        let source = Simulated::new(fixture::write(folder.path(), &fixture::gpu_file()));
        let mut taker = Taker::new(&source, fixture::UUID, fast_pace());
        let samples: Vec<Sample> = (0..50).map(|_| taker.take()).collect();
        for (index, sample) in samples.iter().enumerate() {
            let first = index == 0 || sample.unix_ns / 1_000_000_000 != samples[index - 1].unix_ns / 1_000_000_000;
            assert_eq!(sample.temperature_celsius.is_some(), first, "sample {index}");
        }
        assert!(samples[0].energy_mj.is_some());
        assert!(samples.iter().filter(|sample| sample.energy_mj.is_some()).count() < 50);
    }

    #[test]
    fn rows_have_every_slow_reading_and_no_counter() {
        let folder = tempfile::tempdir().unwrap();
        let source = Simulated::new(fixture::write(folder.path(), &fixture::gpu_file()));
        let mut taker = Taker::new(&source, fixture::UUID, Pace::rows(Duration::from_millis(1)));
        for sample in (0..50).map(|_| taker.take()) {
            assert!(sample.temperature_celsius.is_some() && sample.energy_mj.is_none(), "{sample:?}");
        }
    }

    #[test]
    fn a_file_that_goes_stale_leaves_gaps_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = fixture::gpu_file();
        file.gpus[0].updated_unix_us -= 5_000_000;
        let source = Arc::new(Simulated::new(fixture::write(folder.path(), &file)));
        let sampler = Sampler::start(source, fast_pace()).unwrap();
        await_that("a gap", || sampler.ring(fixture::UUID).is_some_and(|ring| ring.totals().gaps > 0));
        let totals = sampler.ring(fixture::UUID).unwrap().totals();
        assert!(totals.latest.gap.unwrap().contains("not updated"));
        assert_eq!(totals.latest.power_instant_mw, None);
    }

    #[test]
    fn without_a_gpu_nothing_is_sampled_and_no_thread_waits() {
        let sampler = Sampler::start(Arc::new(Absent::new("none")), fast_pace()).unwrap();
        assert!(sampler.uuids().is_empty() && sampler.ended.lock().unwrap().is_none());
    }

    #[test]
    fn the_ring_holds_the_span_that_was_asked_for() {
        let (interval, counter) = (Duration::from_millis(100), Duration::from_millis(500));
        let pace = Pace::keeping(interval, counter, Duration::from_secs(3600));
        assert_eq!(pace.keep, 36_000);
    }
}
