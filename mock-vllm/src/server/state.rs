//! What the handlers of one server share.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::handle::EngineHandle;
use crate::faults::{Fate, ResetReply, ServerFaults};

/// What a server is made of.
pub struct ServerSettings {
    /// The engine.
    pub engine: EngineHandle,
    /// Served model name.
    pub model: String,
    /// `--max-model-len`.
    pub max_model_len: u32,
    /// Version given by `/version`.
    pub version: String,
    /// Seed of answers, request ids and random faults.
    pub seed: u64,
    /// Number among the servers of its arm.
    pub ordinal: u32,
    /// Faults.
    pub faults: ServerFaults,
    /// From when on the server is loaded.
    pub ready_at: Instant,
}

/// One server's state.
pub struct ServerState {
    /// What it is made of.
    pub settings: ServerSettings,
    /// Cancelled when the process ends.
    pub shutdown: CancellationToken,
    /// Cancelled when this server crashes.
    pub crashed: CancellationToken,
    generation_requests: AtomicU64,
    in_progress: AtomicI64,
}

/// A generation request that is being handled; counts towards `/load` until dropped.
pub struct InProgress(std::sync::Arc<ServerState>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A generation request's number and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// Number among the server's generation requests, from 1.
    pub ordinal: u64,
    /// What becomes of it.
    pub fate: Fate,
}

impl ServerState {
    /// State of a server that has not been asked anything.
    #[must_use]
    pub fn new(settings: ServerSettings, shutdown: CancellationToken) -> Self {
        Self {
            settings,
            shutdown,
            crashed: CancellationToken::new(),
            generation_requests: AtomicU64::new(0),
            in_progress: AtomicI64::new(0),
        }
    }

    /// Whether loading has ended.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.settings.faults.never_ready && Instant::now() >= self.settings.ready_at
    }

    /// Numbers a generation request and decides its fate.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        let ordinal = self.generation_requests.fetch_add(1, Ordering::Relaxed) + 1;
        let server_seed = self.settings.seed.wrapping_add(u64::from(self.settings.ordinal));
        Ticket { ordinal, fate: self.settings.faults.fate(server_seed, ordinal) }
    }

    /// The part of a generation request's id that tells it from those of all other servers.
    #[must_use]
    pub fn request_id(&self, ticket: Ticket) -> String {
        format!("{:016x}{:04x}{:012x}", self.settings.seed, self.settings.ordinal, ticket.ordinal)
    }

    /// Counts a request towards `/load`.
    #[must_use]
    pub fn enter(self: &std::sync::Arc<Self>) -> InProgress {
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        InProgress(self.clone())
    }

    /// Requests being handled.
    #[must_use]
    pub fn in_progress(&self) -> i64 {
        self.in_progress.load(Ordering::Relaxed)
    }

    /// Resets the prefix cache, or pretends to, and says what to answer.
    #[must_use]
    pub fn reset_prefix_cache(&self) -> (ResetReply, bool) {
        let usual = ResetReply::of_version(&self.settings.version);
        if let Some(reply) = self.settings.faults.reset_refused {
            (reply, false)
        } else if self.settings.faults.reset_not_done {
            (usual, true)
        } else {
            (usual, self.settings.engine.reset_prefix_cache())
        }
    }
}

/// Seconds since the Unix epoch, as in the `created` fields.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
