//! What drives an HTTP/2 connection without a task of its own.
//!
//! hyper hands the reading of an HTTP/2 connection to an executor. This executor only keeps what it is given; the task
//! that uses the connection polls it, as it polls a connection of HTTP/1.1.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::Executor;

type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps what hyper spawns until the driver takes it.
#[derive(Clone, Default)]
pub(super) struct Inbox(Arc<Mutex<Vec<Spawned>>>);

impl Inbox {
    fn take(&self) -> Vec<Spawned> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Inbox {
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(future));
    }
}

/// A connection together with all that it spawned; ends when the connection has.
pub(super) struct Driver<C> {
    connection: Pin<Box<C>>,
    inbox: Inbox,
    running: Vec<Spawned>,
}

impl<C> Driver<C> {
    pub(super) fn new(connection: C, inbox: Inbox) -> Driver<C> {
        Driver { connection: Box::pin(connection), inbox, running: Vec::new() }
    }
}

impl<C: Future> Future for Driver<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ended = self.connection.as_mut().poll(context).is_ready();
        loop {
            self.running.retain_mut(|future| future.as_mut().poll(context).is_pending());
            let spawned = self.inbox.take();
            if spawned.is_empty() {
                break;
            }
            self.running.extend(spawned);
        }
        if ended { Poll::Ready(()) } else { Poll::Pending }
    }
}
