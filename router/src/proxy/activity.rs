//! What a connection of a client does, seen from outside of HTTP: a client that sends nothing, half a head, or half the
//! preface of HTTP/2 looks the same here as one that is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request from its head to the end of its answer.
#[derive(Debug)]
pub struct OpenRequest(Arc<Activity>);

impl Activity {
    /// Notes that a request began.
    pub fn begin(self: &Arc<Self>) -> OpenRequest {
        self.begun.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    /// Returns once no request was open for `patience`, or up to twice as long.
    pub async fn ends(&self, patience: Duration) {
        let mut before = (0, 0);
        loop {
            tokio::time::sleep(patience).await;
            let (begun, ended) = (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
            if begun == ended && (begun, ended) == before {
                return;
            }
            before = (begun, ended);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
