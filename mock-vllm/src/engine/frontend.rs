//! The API server in front of the engine: one process whose time is shared equally among the requests in it.
//!
//! Requests that arrive together delay each other, so the first of a burst reaches the scheduler late. Each needs the
//! same work, hence they leave in the order of their arrival, and the sharing is computed exactly: `progress` is the
//! work that each present request has got, and grows by the reciprocal of their number.

use std::collections::VecDeque;
use std::time::Duration;

use super::request::{Request, RequestId};

/// Requests that the API server works on.
#[derive(Clone, Debug, Default)]
pub(super) struct Frontend {
    /// With the progress at which each is done, in the order of arrival.
    requests: VecDeque<(f64, Request)>,
    progress_s: f64,
    now: Duration,
}

impl Frontend {
    /// Takes a request that needs `work`. Arrivals that go back in time count as present ones.
    pub(super) fn push(&mut self, request: Request, work: Duration) {
        if self.requests.is_empty() {
            self.progress_s = 0.0;
            self.now = self.now.max(request.times.arrival);
        }
        self.requests.push_back((self.progress_s + work.as_secs_f64(), request));
    }

    /// Lets time pass up to `until`.
    pub(super) fn advance(&mut self, until: Duration) {
        if !self.requests.is_empty() {
            self.progress_s += until.saturating_sub(self.now).as_secs_f64() / self.requests.len() as f64;
        }
        self.now = self.now.max(until);
    }

    /// When the next request is done, should no other arrive.
    pub(super) fn next_done(&self) -> Option<Duration> {
        let (done_at, _) = self.requests.front()?;
        let left_s = (done_at - self.progress_s).max(0.0) * self.requests.len() as f64;
        // To the nanosecond above, so that a request is done once its time has come.
        Some(self.now + Duration::from_nanos((left_s * 1e9).ceil() as u64))
    }

    /// The next request that is done by `until`, and when it was; time passes up to that moment.
    pub(super) fn pop(&mut self, until: Duration) -> Option<(Duration, Request)> {
        let done = self.next_done().filter(|done| *done <= until)?;
        self.advance(done);
        let (_, request) = self.requests.pop_front()?;
        Some((done, request))
    }

    /// Drops a request; `false` when it is not here.
    pub(super) fn remove(&mut self, id: RequestId) -> bool {
        let before = self.requests.len();
        self.requests.retain(|(_, request)| request.id != id);
        self.requests.len() < before
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{NewRequest, SamplingKey, TokenId};

    const WORK: Duration = Duration::from_millis(6);

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Times at which requests with these arrivals are done.
    fn done(arrivals: &[u64]) -> Vec<f64> {
        let mut frontend = Frontend::default();
        let mut times = Vec::new();
        let mut drain = |frontend: &mut Frontend, until| {
            while let Some((time, _)) = frontend.pop(until) {
                times.push((time.as_secs_f64() * 1e6).round() / 1e3);
            }
            frontend.advance(until);
        };
        for (id, arrival) in (0..).zip(arrivals) {
            drain(&mut frontend, ms(*arrival));
            let prompt = vec![TokenId(0)];
            frontend.push(
                Request::new(NewRequest {
                    id: RequestId(id),
                    arrival: ms(*arrival),
                    sampling_key: SamplingKey::new(0, None, &prompt, 0),
                    prompt,
                    max_tokens: 1,
                    natural_tokens: None,
                    cache_salt: None,
                }),
                WORK,
            );
        }
        drain(&mut frontend, ms(1000));
        times
    }

    #[test]
    fn requests_that_arrive_together_delay_each_other() {
        assert_eq!(done(&[5]), [11.0]);
        assert_eq!(done(&[0, 0, 0]), [18.0, 18.0, 18.0]);
        assert_eq!(done(&[0, 20]), [6.0, 26.0]);
    }

    #[test]
    fn a_later_request_delays_what_is_left_of_an_earlier_one() {
        // Three of six milliseconds alone, three shared: the first leaves at 9, the second has three left then.
        assert_eq!(done(&[0, 3]), [9.0, 12.0]);
    }
}
