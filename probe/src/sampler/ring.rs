//! The bounded store of one GPU's samples: one thread writes, any number read.
//!
//! Samples lie in sealed chunks that readers share and one open chunk that they copy, so the lock is held for a few
//! microseconds on either side, however long the range that is asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Sample;

/// Samples in a chunk: small enough to copy under the lock, large enough that hours of samples are few chunks.
const CHUNK: usize = 256;

/// The last samples of one GPU.
#[derive(Debug)]
pub struct Ring {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sealed: VecDeque<Arc<[Sample]>>,
    open: Vec<Sample>,
    totals: Totals,
}

/// What was seen over the whole life of a ring, forgotten samples included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Samples taken.
    pub samples: u64,
    /// Samples in which a call failed.
    pub gaps: u64,
    /// The last value of every reading: power from the last sample, what is read less often from the last one that had it.
    pub latest: Sample,
}

impl Ring {
    /// A ring that keeps at least `capacity` samples.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    /// Adds the next sample, and forgets the oldest ones beyond the capacity.
    pub fn push(&self, sample: Sample) {
        let mut inner = self.lock();
        inner.totals.add(&sample);
        inner.open.push(sample);
        if inner.open.len() == CHUNK {
            let chunk = std::mem::replace(&mut inner.open, Vec::with_capacity(CHUNK));
            inner.sealed.push_back(chunk.into());
            while (inner.sealed.len() - 1) * CHUNK >= self.capacity {
                inner.sealed.pop_front();
            }
        }
    }

    /// The samples taken at `from` or later and before `to`, in nanoseconds since the Unix epoch.
    pub fn range(&self, from: u64, to: u64) -> Snapshot {
        let inner = self.lock();
        let mut chunks: Vec<Arc<[Sample]>> = inner.sealed.iter().cloned().collect();
        let open = inner.open.clone();
        drop(inner);
        chunks.push(open.into());
        Snapshot { chunks, from, to }
    }

    /// Totals over the ring's life.
    pub fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics between the steps of a push, so a poisoned lock guards whole data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn add(&mut self, sample: &Sample) {
        let nothing = Sample::default();
        let has_power = sample.power_instant_mw.is_some() || sample.power_average_mw.is_some();
        // A GPU that fails to tell its power, which every sample asks for, may be gone: nothing of it is shown as current.
        let latest = if has_power || sample.gap.is_none() { &self.latest } else { &nothing };
        self.latest = Sample {
            unix_ns: sample.unix_ns,
            mono_ns: sample.mono_ns,
            power_instant_mw: sample.power_instant_mw,
            power_average_mw: sample.power_average_mw,
            energy_mj: sample.energy_mj.or(latest.energy_mj),
            utilization_gpu_percent: sample.utilization_gpu_percent.or(latest.utilization_gpu_percent),
            utilization_memory_percent: sample.utilization_memory_percent.or(latest.utilization_memory_percent),
            clock_graphics_mhz: sample.clock_graphics_mhz.or(latest.clock_graphics_mhz),
            clock_memory_mhz: sample.clock_memory_mhz.or(latest.clock_memory_mhz),
            temperature_celsius: sample.temperature_celsius.or(latest.temperature_celsius),
            throttle_reasons: sample.throttle_reasons.or(latest.throttle_reasons),
            gap: sample.gap.clone(),
        };
        self.samples += 1;
        self.gaps += u64::from(sample.gap.is_some());
    }
}

/// Samples of a range, as they were when it was asked for.
#[derive(Clone, Debug)]
pub struct Snapshot {
    chunks: Vec<Arc<[Sample]>>,
    from: u64,
    to: u64,
}

impl Snapshot {
    /// The samples in the order in which they were taken.
    pub fn iter(&self) -> impl Iterator<Item = &Sample> {
        self.chunks.iter().flat_map(|chunk| self.within(chunk))
    }

    /// The chunks one after another, each as lines of JSON; what is not yet asked for is not yet written.
    pub fn into_lines(self) -> impl Iterator<Item = String> {
        let chunks = self.chunks.clone();
        chunks.into_iter().map(move |chunk| self.within(&chunk).map(Sample::to_line).collect::<String>())
    }

    // The wall clock can be set back, so a chunk is looked through rather than searched.
    fn within<'a>(&self, chunk: &'a [Sample]) -> impl Iterator<Item = &'a Sample> + use<'a> {
        let range = self.from..self.to;
        chunk.iter().filter(move |sample| range.contains(&sample.unix_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_ns: u64) -> Sample {
        Sample { unix_ns, mono_ns: unix_ns, energy_mj: Some(unix_ns), ..Sample::default() }
    }

    #[test]
    fn a_range_is_half_open_and_in_order() {
        let ring = Ring::new(10_000);
        (0..1_000).map(at).for_each(|sample| ring.push(sample));
        let taken: Vec<u64> = ring.range(250, 520).iter().map(|sample| sample.unix_ns).collect();
        assert_eq!(taken, (250..520).collect::<Vec<_>>());
        let lines: String = ring.range(998, u64::MAX).into_lines().collect();
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn the_ring_keeps_its_capacity_and_no_more_than_a_chunk_beyond() {
        let ring = Ring::new(1_000);
        (0..100_000).map(at).for_each(|sample| ring.push(sample));
        let kept: Vec<u64> = ring.range(0, u64::MAX).iter().map(|sample| sample.unix_ns).collect();
        assert!((1_000..=1_000 + 2 * CHUNK).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last(), Some(&99_999));
        assert_eq!(ring.totals().samples, 100_000);
    }

    #[test]
    fn totals_count_gaps_and_keep_the_last_value_of_each_reading() {
        let ring = Ring::new(10);
        ring.push(Sample { temperature_celsius: Some(40), ..at(1) });
        let power = Some(250_000);
        let gap = Some("energy: it failed".to_owned());
        ring.push(Sample { power_instant_mw: power, gap, ..Sample::default() });
        ring.push(at(3));
        let totals = ring.totals();
        assert_eq!((totals.samples, totals.gaps), (3, 1));
        assert_eq!((totals.latest.temperature_celsius, totals.latest.energy_mj), (Some(40), Some(3)));
    }

    #[test]
    fn nothing_that_a_gpu_told_before_it_was_lost_is_shown_as_current() {
        let ring = Ring::new(10);
        ring.push(Sample { power_instant_mw: Some(250_000), temperature_celsius: Some(40), ..at(1) });
        let lost = Sample { unix_ns: 2, gap: Some("power_instant: it is lost".to_owned()), ..Sample::default() };
        ring.push(lost.clone());
        assert_eq!(ring.totals().latest, lost);
    }

    #[test]
    fn readers_see_whole_samples_while_one_thread_writes() {
        let ring = Arc::new(Ring::new(2_000));
        let writer = std::thread::spawn({
            let ring = Arc::clone(&ring);
            move || (0..20_000).map(at).for_each(|sample| ring.push(sample))
        });
        while !writer.is_finished() {
            let snapshot = ring.range(0, u64::MAX);
            let taken: Vec<u64> = snapshot.iter().map(|sample| sample.unix_ns).collect();
            assert!(taken.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
        writer.join().unwrap();
        assert_eq!(ring.totals().samples, 20_000);
    }
}
