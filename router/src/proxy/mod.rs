//! The data port: takes requests of OpenAI's API, finds a worker for each and passes both bodies on byte for byte.
//!
//! Each I/O thread has a [`Proxy`] of its own, with its own connections and buffers; the threads share the epoch.

mod access;
mod activity;
mod answer;
mod body;
mod error;
mod forward;
mod headers;
pub mod key;
mod paths;
mod quote;
mod scan;
pub(crate) mod server;
pub(crate) mod slot;
mod upstream;
pub(crate) mod waiting;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::key::KeyBuffers;
use self::upstream::Upstreams;
use crate::epoch::Epoch;
use crate::shared::Shared;

/// Key buffers kept for reuse: about as many as requests of one thread are between their body and their answer's head.
const MOST_SPARE_BUFFERS: usize = 64;

/// The data port's side of one I/O thread.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    upstreams: Arc<Upstreams>,
    spare_buffers: Mutex<Vec<KeyBuffers>>,
    /// Address of the epoch to whose workers there are idle connections.
    connected: AtomicUsize,
}

impl Proxy {
    /// A proxy without connections.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, upstreams: Arc::default(), spare_buffers: Mutex::default(), connected: AtomicUsize::new(0) }
    }

    /// The epoch in force; when it changed, the idle connections to workers that left are closed.
    fn epoch(&self) -> Arc<Epoch> {
        let epoch = self.shared.epoch();
        // Where an address is used again, what is left over stays until the next change.
        let address = Arc::as_ptr(&epoch).addr();
        if self.connected.swap(address, Ordering::Relaxed) != address {
            let kept: HashSet<&str> = epoch.workers.iter().map(|worker| worker.authority.as_str()).collect();
            self.upstreams.keep_only(|authority| kept.contains(authority));
        }
        epoch
    }

    /// Buffers to read a key into; they return when dropped.
    fn buffers(&self) -> BorrowedBuffers<'_> {
        let mut spare = self.spare_buffers.lock().unwrap_or_else(PoisonError::into_inner);
        BorrowedBuffers { proxy: self, buffers: spare.pop().unwrap_or_default() }
    }
}

/// Key buffers on loan, so that no request pays for allocating a path in proportion to its prompt.
struct BorrowedBuffers<'a> {
    proxy: &'a Proxy,
    buffers: KeyBuffers,
}

impl Drop for BorrowedBuffers<'_> {
    fn drop(&mut self) {
        let mut spare = self.proxy.spare_buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE_BUFFERS {
            spare.push(std::mem::take(&mut self.buffers));
        }
    }
}
