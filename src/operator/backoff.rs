//! How long to wait after a pass that failed: longer each time, and never all at once.

use std::{collections::HashMap, sync::Mutex, time::Duration};

/// The first wait. A conflict or a lost watch is over by then.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait: an API server that is down for long is asked by a thousand campaigns three times a second.
const LONGEST: Duration = Duration::from_mins(5);

/// How often each object failed in a row.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// The wait after another failure of an object.
    pub fn after_failure(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_insert(0);
        *count += 1;
        wait(*count, rand::random::<f64>())
    }

    /// An object succeeded, or is gone.
    pub fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(uid);
    }
}

/// Doubles with each failure; `jitter` from 0 to 1 takes away up to half.
fn wait(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST).mul_f64(1.0 - jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first(1, 0.0, 500)]
    #[case::second(2, 0.0, 1000)]
    #[case::jitter(2, 1.0, 500)]
    #[case::bounded(12, 0.0, 300_000)]
    #[case::far_beyond(4000, 0.0, 300_000)]
    fn waits_grow_to_a_bound(#[case] failures: u32, #[case] jitter: f64, #[case] milliseconds: u64) {
        assert_eq!(wait(failures, jitter), Duration::from_millis(milliseconds));
    }

    #[test]
    fn a_success_begins_anew() {
        let backoff = Backoff::default();
        for _ in 0..10 {
            backoff.after_failure("a");
        }

        backoff.reset("a");

        assert!(backoff.after_failure("a") <= FIRST);
    }
}
