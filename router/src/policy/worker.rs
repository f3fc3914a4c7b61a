//! What a router knows of one worker: its load, its latency, its reputation and whether it can be reached.

use teebench_api::policy::Reputation;
use xxhash_rust::xxh3::xxh3_64;

/// Failed connections in a row after which a worker is ejected until it answers a probe. One refusal may be an
/// overflowing accept queue; three in a row are a server that is gone.
const EJECT_AFTER_CONNECT_FAILURES: u8 = 3;

/// Work that a worker has taken and not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests in flight.
    pub in_flight: u32,
    /// Their estimated tokens, of prompts and of outputs.
    pub tokens: u64,
}

impl Load {
    /// Both figures added, up to their bounds.
    pub fn plus(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight.saturating_add(other.in_flight),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// Both figures subtracted, down to 0.
    pub fn minus(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight.saturating_sub(other.in_flight),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

/// An exponentially weighted mean: 0.875 of the old, 0.125 of the new (the paper's weights), seeded with the first
/// sample, because one that starts from 0 makes an unknown worker look eight times faster than it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ewma(Option<f64>);

impl Ewma {
    /// Takes a sample.
    pub fn observe(&mut self, sample: f64) {
        self.0 = Some(self.0.map_or(sample, |mean| 0.875 * mean + 0.125 * sample));
    }

    /// The mean; none before the first sample.
    pub fn mean(self) -> Option<f64> {
        self.0
    }
}

/// The outcomes of the last requests. What has not happened yet counts as success, so one early failure condemns nobody.
#[derive(Clone, Debug)]
struct Outcomes {
    failed: Box<[bool]>,
    next: usize,
    failures: usize,
}

impl Outcomes {
    fn new(window: u32) -> Self {
        Self { failed: vec![false; window.max(1) as usize].into(), next: 0, failures: 0 }
    }

    fn push(&mut self, failed: bool) {
        let oldest = std::mem::replace(&mut self.failed[self.next], failed);
        self.failures = self.failures + usize::from(failed) - usize::from(oldest);
        self.next = (self.next + 1) % self.failed.len();
    }

    fn success_permille(&self) -> usize {
        (self.failed.len() - self.failures) * 1000 / self.failed.len()
    }
}

/// State of one worker.
#[derive(Clone, Debug)]
pub struct WorkerState {
    /// Hash of the worker's name: routers that never spoke rank the workers alike by it.
    pub name_hash: u64,
    /// Load that this router put on the worker.
    pub own: Load,
    /// Load that other routers put on it, as far as they told.
    pub others: Load,
    /// Latency of successful requests in milliseconds, from sending to the last byte.
    pub latency_ms: Ewma,
    outcomes: Outcomes,
    threshold_permille: usize,
    connect_failures: u8,
    is_ejected: bool,
}

impl WorkerState {
    /// A worker of which only the name is known.
    pub fn new(name: &str, reputation: Reputation) -> Self {
        let Reputation { threshold_permille, window_requests } = reputation;
        Self {
            name_hash: xxh3_64(name.as_bytes()),
            own: Load::default(),
            others: Load::default(),
            latency_ms: Ewma::default(),
            outcomes: Outcomes::new(window_requests),
            threshold_permille: threshold_permille as usize,
            connect_failures: 0,
            is_ejected: false,
        }
    }

    /// The whole load, as far as it is known here.
    pub fn load(&self) -> Load {
        self.own.plus(self.others)
    }

    /// True while the worker is left out because it could not be reached.
    pub fn is_ejected(&self) -> bool {
        self.is_ejected
    }

    /// True while enough of the last requests succeeded.
    pub fn is_reputable(&self) -> bool {
        self.outcomes.success_permille() >= self.threshold_permille
    }

    /// Notes that the worker answered at all.
    pub fn answered(&mut self) {
        self.connect_failures = 0;
    }

    /// Notes a request or probe that succeeded.
    pub fn succeeded(&mut self) {
        self.outcomes.push(false);
    }

    /// Notes a request that failed on the worker's side.
    pub fn failed(&mut self) {
        self.outcomes.push(true);
    }

    /// Notes a connection that could not be made. Returns true if this ejects the worker.
    pub fn connect_failed(&mut self) -> bool {
        self.failed();
        self.connect_failures = self.connect_failures.saturating_add(1);
        let ejects = !self.is_ejected && self.connect_failures >= EJECT_AFTER_CONNECT_FAILURES;
        self.is_ejected |= ejects;
        ejects
    }

    /// Notes that the worker answered a probe, and takes it back.
    pub fn reinstate(&mut self) {
        self.answered();
        self.succeeded();
        self.is_ejected = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_seeded_with_the_first_sample() {
        let mut latency = Ewma::default();
        assert_eq!(latency.mean(), None);
        latency.observe(1000.0);
        assert_eq!(latency.mean(), Some(1000.0));
        latency.observe(200.0);
        assert_eq!(latency.mean(), Some(900.0));
    }

    #[test]
    fn reputation_is_the_share_of_the_last_requests_that_succeeded() {
        let mut worker = WorkerState::new("a", Reputation { threshold_permille: 500, window_requests: 4 });
        worker.failed();
        worker.failed();
        assert!(worker.is_reputable(), "half of four");
        worker.failed();
        assert!(!worker.is_reputable());
        for _ in 0..3 {
            worker.succeeded();
        }
        assert!(worker.is_reputable(), "the failures left the window");
    }

    #[test]
    fn refused_connections_in_a_row_eject_and_a_probe_brings_back() {
        let mut worker = WorkerState::new("a", Reputation::default());
        assert!(!worker.connect_failed());
        assert!(!worker.connect_failed());
        worker.answered();
        assert!(!worker.connect_failed());
        assert!(!worker.connect_failed());
        assert!(worker.connect_failed(), "the third in a row");
        assert!(!worker.connect_failed(), "ejected once");
        assert!(worker.is_ejected());
        worker.reinstate();
        assert!(!worker.is_ejected());
    }
}
