//! What clients may take of a router: bytes, connections and time.

use std::time::Duration;

/// See the module. Its defaults are those of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one request's body.
    pub body_bytes: usize,
    /// Most bytes of all requests' bodies together.
    pub bodies_bytes: usize,
    /// Most connections of clients; who comes beyond waits in the system's queue.
    pub connections: usize,
    /// Longest time for a request's head. It runs on an idle connection too, so it must outlast the pauses of a client that
    /// keeps its connections.
    pub head_timeout: Duration,
    /// Longest time for a request's body.
    pub body_timeout: Duration,
    /// Longest time in which a client takes nothing of an answer that is there for it.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            bodies_bytes: 512 << 20,
            connections: 8192,
            // nginx's choices.
            head_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
        }
    }
}
