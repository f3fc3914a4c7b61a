//! The data port: takes requests of OpenAI's API, finds a worker for each and passes both bodies on byte for byte.
//!
//! Each I/O thread has a [`Proxy`] of its own, with its own connections and buffers; the threads share the epoch.

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

use std::sync::{Arc, Mutex, PoisonError};

use self::key::KeyBuffers;
use self::upstream::Upstreams;
use crate::shared::Shared;

/// Key buffers kept for reuse: about as many as requests of one thread are between their body and their answer's head.
const MOST_SPARE_BUFFERS: usize = 64;

/// The data port's side of one I/O thread.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    upstreams: Arc<Upstreams>,
    spare_buffers: Mutex<Vec<KeyBuffers>>,
}

impl Proxy {
    /// A proxy without connections.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, upstreams: Arc::default(), spare_buffers: Mutex::default() }
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
