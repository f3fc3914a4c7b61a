//! Where an engine leaves the tokens of one request for its connection to take, all that are there at once.
//!
//! One for each request, filled once a step and emptied when the connection is polled. Both sides keep their buffers,
//! so that after the first tokens nothing is allocated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The engine's side; dropping all of them closes the box.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The connection's side.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    waker: Option<Waker>,
    senders: usize,
}

/// An empty box with one sender.
#[must_use]
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared(Mutex::new(State { items: Vec::new(), waker: None, senders: 1 })));
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Shared<T> {
    /// No code that could panic runs under the lock, so its state is whole whatever happened elsewhere.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Leaves an item, and wakes who waits for it.
    pub fn send(&self, item: T) {
        let mut state = self.0.lock();
        state.items.push(item);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let waker = if state.senders == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Moves all items to the end of `into`; ready with `false` once the box is empty and closed.
    pub fn poll_take(&self, context: &Context<'_>, into: &mut Vec<T>) -> Poll<bool> {
        let mut state = self.0.lock();
        if !state.items.is_empty() {
            if into.is_empty() {
                std::mem::swap(&mut state.items, into);
            } else {
                into.append(&mut state.items);
            }
            return Poll::Ready(true);
        }
        if state.senders == 0 {
            return Poll::Ready(false);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn all_items_are_taken_at_once_and_the_last_sender_closes() {
        let (sender, receiver) = mailbox();
        let other = sender.clone();
        sender.send(1);
        other.send(2);
        drop(sender);
        let context = Context::from_waker(Waker::noop());
        let mut items = vec![0];
        assert_eq!(receiver.poll_take(&context, &mut items), Poll::Ready(true));
        assert_eq!(items, [0, 1, 2]);
        assert_eq!(receiver.poll_take(&context, &mut items), Poll::Pending);
        drop(other);
        assert_eq!(receiver.poll_take(&context, &mut items), Poll::Ready(false));
    }

    #[test]
    fn who_waits_is_woken_by_an_item_and_by_the_end() {
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(count.clone());
        let context = Context::from_waker(&waker);
        let woken = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        let (sender, receiver) = mailbox();
        let mut items = Vec::new();
        assert_eq!(receiver.poll_take(&context, &mut items), Poll::Pending);
        sender.send(1);
        assert_eq!((woken(), receiver.poll_take(&context, &mut items)), (1, Poll::Ready(true)));
        assert_eq!(receiver.poll_take(&context, &mut items), Poll::Pending);
        drop(sender);
        assert_eq!((woken(), receiver.poll_take(&context, &mut items)), (2, Poll::Ready(false)));
    }
}
