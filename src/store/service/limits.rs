//! How much the results service takes: every bound in one place, with its reason.

use std::time::Duration;

/// Bounds of the results service.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of one file. The largest is `bench.json`: a detailed request takes about 4 kB, and a run has at most a
    /// million requests.
    pub blob_bytes: u64,
    /// Most bytes of one attempt: its largest file, and as much again for texts, samples and logs.
    pub attempt_bytes: u64,
    /// Most files of one attempt: 64 servers of 8 GPUs have two files for each GPU and ten more.
    pub attempt_files: usize,
    /// Most bytes of `run.json`: 64 servers take about 1 MiB.
    pub run_file_bytes: u64,
    /// Uploads of files at once; one more is asked to come again. A campaign has one load at a time.
    pub uploads_at_once: usize,
    /// Listings and downloads at once.
    pub reads_at_once: usize,
    /// Connections at once on each port; more wait in the socket's queue.
    pub connections: usize,
    /// Longest time for a TLS handshake, and for the head of a request.
    pub head_timeout: Duration,
    /// Longest pause within a body, and longest wait for a client to read on.
    pub pause_timeout: Duration,
    /// Longest time for a body, beside what its bytes may take.
    pub body_timeout: Duration,
    /// Slowest body that is borne, in bytes a second: far below any cluster's network.
    pub slowest_bytes_per_second: u64,
    /// How old what an upload left may be at a start of the service: longer than any client keeps trying.
    pub staging_age: Duration,
    /// How long requests that are under way may take when the service is told to stop.
    pub stop_grace: Duration,
}

impl Limits {
    /// Most bytes of a commit's list: a line has a sum, two spaces, a path and its end.
    pub const fn list_bytes(&self) -> usize {
        self.attempt_files * 300
    }

    /// Longest time for a body of so many bytes.
    pub fn time_for(&self, bytes: u64) -> Duration {
        self.body_timeout + Duration::from_secs(bytes / self.slowest_bytes_per_second.max(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes: 4 << 30,
            attempt_bytes: 8 << 30,
            attempt_files: 8192,
            run_file_bytes: 16 << 20,
            uploads_at_once: 8,
            reads_at_once: 8,
            connections: 64,
            head_timeout: Duration::from_secs(10),
            pause_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            slowest_bytes_per_second: 1 << 20,
            staging_age: Duration::from_secs(3600),
            stop_grace: Duration::from_secs(20),
        }
    }
}
