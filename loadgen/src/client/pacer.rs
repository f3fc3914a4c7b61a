//! Wakes the dispatcher at the planned times.
//!
//! A thread of its own that sleeps on the system's high-resolution timer: tokio's timer rounds up to a millisecond,
//! which is the whole lateness that may be spent at 1,000 requests per second.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::clock::Clock;

/// Gives one tick for each planned time; dropping it ends its thread.
pub(super) struct Pacer {
    ticks: UnboundedReceiver<u64>,
    _stop: mpsc::Sender<()>,
}

impl Pacer {
    /// Starts ticking at the given instants, which ascend.
    pub(super) fn start(clock: Clock, instants_ns: Vec<u64>) -> io::Result<Pacer> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (send_tick, ticks) = unbounded_channel();
        thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            for instant_ns in instants_ns {
                let wait = clock.until(instant_ns);
                if !wait.is_zero() && stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                if send_tick.send(clock.now_ns()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Pacer { ticks, _stop: stop })
    }

    /// Waits for the next planned time; returns when it really came. Pending for ever after the last.
    pub(super) async fn tick(&mut self) -> u64 {
        match self.ticks.recv().await {
            Some(arrived_ns) => arrived_ns,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticks_come_in_order_and_never_early() {
        let clock = Clock::start();
        let instants: Vec<u64> = (0..20).map(|index| clock.now_ns() + index * 200_000).collect();
        let mut pacer = Pacer::start(clock, instants.clone()).unwrap();
        for instant_ns in instants {
            assert!(pacer.tick().await >= instant_ns);
        }
    }
}
