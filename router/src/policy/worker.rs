//! What a router knows of one worker: its load, its latency, its reputation and whether it can be reached.

use std::collections::VecDeque;
use std::time::Duration;

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
    /// Tokens of prompts that the worker computes, or will, before it comes to the next request.
    pub awaited_tokens: u64,
    /// Requests without a first token.
    pub awaited: u32,
    /// Sum of the times at which their first tokens were due, in milliseconds on this router's clock.
    pub due_ms: i64,
    /// Sum of the times at which the requests in flight were sent, in milliseconds on this router's clock.
    pub sent_ms: i64,
}

impl Load {
    /// The same load with its due times counted from `now` on, as it is told to routers with other clocks.
    pub fn relative_to(self, now: Duration) -> Self {
        let due_ms = self.due_ms.saturating_sub(times(now, self.awaited));
        let sent_ms = self.sent_ms.saturating_sub(times(now, self.in_flight));
        Self { due_ms, sent_ms, ..self }
    }

    /// The same load with due times that count from `now` on put on this router's clock.
    pub fn absolute_from(self, now: Duration) -> Self {
        let due_ms = self.due_ms.saturating_add(times(now, self.awaited));
        let sent_ms = self.sent_ms.saturating_add(times(now, self.in_flight));
        Self { due_ms, sent_ms, ..self }
    }

    /// Time that the requests in flight have been under way, all added up, in milliseconds.
    pub fn age_ms(self, now: Duration) -> f64 {
        times(now, self.in_flight).saturating_sub(self.sent_ms).max(0) as f64
    }

    /// All figures added, up to their bounds.
    pub fn plus(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight.saturating_add(other.in_flight),
            tokens: self.tokens.saturating_add(other.tokens),
            awaited_tokens: self.awaited_tokens.saturating_add(other.awaited_tokens),
            awaited: self.awaited.saturating_add(other.awaited),
            due_ms: self.due_ms.saturating_add(other.due_ms),
            sent_ms: self.sent_ms.saturating_add(other.sent_ms),
        }
    }

    /// All figures subtracted, down to 0.
    pub fn minus(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight.saturating_sub(other.in_flight),
            tokens: self.tokens.saturating_sub(other.tokens),
            awaited_tokens: self.awaited_tokens.saturating_sub(other.awaited_tokens),
            awaited: self.awaited.saturating_sub(other.awaited),
            due_ms: self.due_ms.saturating_sub(other.due_ms),
            sent_ms: self.sent_ms.saturating_sub(other.sent_ms),
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

/// A first token that did not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// When it should come.
    pub due: Duration,
    /// Tokens of the prompt that the worker has to compute before.
    pub tokens: u64,
}

/// The requests of one worker whose first token did not come yet, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
struct Awaited {
    /// None once the token came or nobody waits for it any more.
    due: VecDeque<Option<Expected>>,
    /// Tokens of all of them.
    tokens: u64,
    /// How many still wait, and the sum of the times at which they were due, in milliseconds.
    count: u32,
    due_ms: i64,
    /// Number of the first of them.
    first: u64,
}

impl Awaited {
    fn push(&mut self, expected: Expected) -> u64 {
        self.tokens += expected.tokens;
        self.count += 1;
        self.due_ms += milliseconds(expected.due);
        self.due.push_back(Some(expected));
        self.first + self.due.len() as u64 - 1
    }

    fn remove(&mut self, number: u64) {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(expected) = place.and_then(|place| self.due.get_mut(place)?.take()) {
            self.tokens -= expected.tokens;
            self.count -= 1;
            self.due_ms -= milliseconds(expected.due);
        }
        while self.due.front() == Some(&None) {
            self.due.pop_front();
            self.first += 1;
        }
    }

    fn oldest(&self) -> Option<Duration> {
        self.due.front().copied().flatten().map(|expected| expected.due)
    }
}

pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The sum of `count` times that are all `time`.
fn times(time: Duration, count: u32) -> i64 {
    milliseconds(time).saturating_mul(count.into())
}

/// Answers before which a worker's pace is not judged.
const PACE_SAMPLES: u32 = 8;

/// Time in which what was seen of a worker's pace counts for half.
const PACE_HALF_LIFE_SECONDS: f64 = 5.0;

/// Ratios of a worker's pace to that of all within which it counts as equal: less is noise.
const EQUAL_PACES: (f64, f64) = (0.5, 2.0);

/// Bounds of a worker's pace, so that no single answer condemns or exalts it.
const PACE_BOUNDS: (f64, f64) = (0.125, 8.0);

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
    /// New prefixes that were placed here lately, and a part of all other requests: a count that fades, comparable among
    /// workers.
    pub placements: f64,
    awaited: Awaited,
    pace: Ewma,
    pace_samples: u32,
    paced: Duration,
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
            placements: 0.0,
            awaited: Awaited::default(),
            pace: Ewma::default(),
            pace_samples: 0,
            paced: Duration::ZERO,
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

    /// Notes that a request was sent whose first token will be seen. Returns its number.
    pub fn await_first_token(&mut self, expected: Expected) -> u64 {
        let number = self.awaited.push(expected);
        self.note_awaited();
        number
    }

    /// Notes that the first token of the request of a number came, or that it is not waited for any more.
    pub fn no_longer_await(&mut self, number: u64) {
        self.awaited.remove(number);
        self.note_awaited();
    }

    fn note_awaited(&mut self) {
        let Awaited { due: _, tokens, count, due_ms, first: _ } = &self.awaited;
        self.own = Load { awaited_tokens: *tokens, awaited: *count, due_ms: *due_ms, ..self.own };
    }

    /// How long the oldest request without a first token is overdue, in milliseconds; of the other routers' requests,
    /// how long they are on average; 0 if none is. Whoever comes now will hardly be served sooner.
    pub fn overdue_ms(&self, now: Duration) -> f64 {
        let own = self.awaited.oldest().map_or(0.0, |due| now.saturating_sub(due).as_secs_f64() * 1000.0);
        if self.others.awaited == 0 {
            return own;
        }
        let others = milliseconds(now) as f64 - self.others.due_ms as f64 / f64::from(self.others.awaited);
        own.max(others)
    }

    /// Notes how long the worker took where `expected_ms` were expected of it.
    pub fn observe_pace(&mut self, elapsed_ms: f64, expected_ms: f64, now: Duration) {
        if expected_ms > 0.0 {
            self.paced = now;
            self.pace_samples = self.pace_samples.saturating_add(1);
            self.pace.observe((elapsed_ms / expected_ms).clamp(PACE_BOUNDS.0, PACE_BOUNDS.1));
        }
    }

    /// How many times longer than expected the worker takes; exactly 1 where that may be chance. It fades while nothing
    /// is seen of the worker, so that one that was slow is tried again.
    pub fn pace(&self, now: Duration) -> f64 {
        let pace = self.pace.mean().filter(|_| self.pace_samples >= PACE_SAMPLES).unwrap_or(1.0);
        let halvings = now.saturating_sub(self.paced).as_secs_f64() / PACE_HALF_LIFE_SECONDS;
        let pace = 1.0 + (pace - 1.0) * (-halvings).exp2();
        if (EQUAL_PACES.0..=EQUAL_PACES.1).contains(&pace) { 1.0 } else { pace }
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
    fn the_oldest_request_without_a_token_tells_of_a_worker_that_hangs() {
        let mut worker = WorkerState::new("a", Reputation::default());
        let at = Duration::from_millis;
        let expected = |time| Expected { due: at(time * 100), tokens: time };
        let numbers: Vec<u64> = (1..=3).map(|time| worker.await_first_token(expected(time))).collect();
        assert_eq!(worker.own.awaited_tokens, 6);
        assert_eq!(worker.overdue_ms(at(1000)), 900.0);
        worker.no_longer_await(numbers[1]);
        assert_eq!(worker.overdue_ms(at(1000)), 900.0);
        worker.no_longer_await(numbers[0]);
        worker.no_longer_await(numbers[0]);
        assert_eq!(worker.overdue_ms(at(1000)), 700.0);
        worker.no_longer_await(numbers[2]);
        assert_eq!((worker.overdue_ms(at(1000)), worker.own.awaited_tokens), (0.0, 0));
    }

    #[test]
    fn requests_of_other_routers_tell_of_a_worker_that_hangs_whatever_their_clocks_say() {
        let (at, mut theirs) = (Duration::from_millis, WorkerState::new("a", Reputation::default()));
        for due in [at(1_000), at(1_200)] {
            theirs.await_first_token(Expected { due, tokens: 5 });
        }
        let told = theirs.own.relative_to(at(1_500));
        assert_eq!((told.awaited, told.awaited_tokens, told.due_ms), (2, 10, -800));
        let ours =
            WorkerState { others: told.absolute_from(at(90_500)), ..WorkerState::new("a", Reputation::default()) };
        assert_eq!(ours.overdue_ms(at(90_600)), 500.0, "on average");
        assert_eq!(told.absolute_from(at(1_500)), theirs.own);
    }

    #[test]
    fn only_a_pace_that_is_clearly_different_counts() {
        let mut worker = WorkerState::new("a", Reputation::default());
        for _ in 0..20 {
            worker.observe_pace(150.0, 100.0, Duration::ZERO);
        }
        assert_eq!(worker.pace(Duration::ZERO), 1.0);
        for _ in 0..40 {
            worker.observe_pace(300.0, 100.0, Duration::ZERO);
        }
        let (now, later) = (worker.pace(Duration::ZERO), worker.pace(Duration::from_secs(60)));
        assert!((now - 3.0).abs() < 0.1, "{now}");
        assert_eq!(later, 1.0, "it is tried again");
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
