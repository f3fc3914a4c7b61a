//! Real `teebench router` processes: several that keep in step through joins, leaves, deaths and partitions, and one whose
//! workers die under load.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod load;
mod log;
mod process;
mod relay;
mod replicas;
mod worker;

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// Longest wait for a condition: far above what any needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `seen` is true of what `look` returns; the message of a failure says what was seen last.
async fn eventually<T: Debug, L: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> L,
    seen: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = look().await;
        if seen(&last) {
            return last;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}; last seen: {last:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a future, at most until the deadline.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
