//! What the handlers of one server share.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::handle::EngineHandle;
use crate::faults::{ActiveFaults, Fate, ResetReply, ServerFaults};

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
    pub faults: ActiveFaults,
}

/// One server's state.
pub struct ServerState {
    /// What it is made of.
    pub settings: ServerSettings,
    /// Cancelled when the process ends.
    pub shutdown: CancellationToken,
    /// Cancelled when this server crashes.
    pub crashed: CancellationToken,
    /// What replies say of the server: version and a digest of what is served, as vLLM's default.
    pub system_fingerprint: String,
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
        let digest = xxh3_64(settings.model.as_bytes()) as u32;
        Self {
            system_fingerprint: format!("vllm-{}-{digest:08x}", settings.version),
            settings,
            shutdown,
            crashed: CancellationToken::new(),
            generation_requests: AtomicU64::new(0),
            in_progress: AtomicI64::new(0),
        }
    }

    /// The faults that are on.
    #[must_use]
    pub fn faults(&self) -> ServerFaults {
        self.settings.faults.plan().server
    }

    /// Numbers a generation request and decides its fate.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        let ordinal = self.generation_requests.fetch_add(1, Ordering::Relaxed) + 1;
        let server_seed = self.settings.seed.wrapping_add(u64::from(self.settings.ordinal));
        Ticket { ordinal, fate: self.faults().fate(server_seed, ordinal) }
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

    /// Resets the prefix cache, or pretends to, and says what to answer; with `preempt` running requests start over.
    #[must_use]
    pub fn reset_prefix_cache(&self, preempt: bool) -> (ResetReply, bool) {
        let usual = ResetReply::of_version(&self.settings.version);
        if let Some(reply) = self.faults().reset_refused {
            (reply, false)
        } else if self.faults().reset_not_done {
            (usual, true)
        } else {
            (usual, self.settings.engine.reset_prefix_cache(preempt))
        }
    }
}

/// Seconds since the Unix epoch, as in the `created` fields.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
