//! Wakes a worker at the planned times.
//!
//! tokio's timer rounds up to a millisecond, which is the whole lateness that may be spent at 1,000 requests per second;
//! and a thread that sleeps in the worker's stead would have to wake it. A timer of the kernel beside the sockets in the
//! worker's own event loop is exact to a few microseconds (no timer slack applies to it) and wakes nobody else.

use std::hint::spin_loop;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock::Clock;

/// How long before an instant the worker wakes to spin: what waking up usually takes on an idle core.
const SPIN_NS: u64 = 50_000;
/// The least mean gap between instants for which it spins, so that spinning takes at most 1/40 of the core.
const SPIN_FROM_GAP_NS: u64 = 40 * SPIN_NS;

/// Waits for instants of the run's clock.
pub(super) struct Pacer {
    clock: Clock,
    timer: AsyncFd<Timer>,
    spin_ns: u64,
}

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Pacer {
    /// A pacer in the event loop of the runtime that calls this, for instants `mean_gap_ns` apart.
    pub(super) fn new(clock: Clock, mean_gap_ns: u64) -> io::Result<Pacer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Timer(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: the descriptor is the timer's own, which the AsyncFd owns: it stays the same and open until then.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Pacer {
            clock,
            timer: timer.map_err(io::Error::from)?,
            spin_ns: if mean_gap_ns >= SPIN_FROM_GAP_NS { SPIN_NS } else { 0 },
        })
    }

    /// Waits until `instant_ns` and returns the time at which it woke; at once, with `instant_ns`, when that is past.
    pub(super) async fn wait_until(&self, instant_ns: u64) -> io::Result<u64> {
        if self.clock.now_ns() >= instant_ns {
            return Ok(instant_ns);
        }
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= instant_ns {
                return Ok(now_ns);
            }
            if now_ns + self.spin_ns >= instant_ns {
                spin_loop();
                continue;
            }
            let wake = self.clock.monotonic(instant_ns - self.spin_ns);
            // Setting it anew also forgets an expiry that was not waited for.
            let expiration = Expiration::OneShot(TimeSpec::from_duration(wake));
            self.timer.get_ref().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.timer.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::spinning(SPIN_FROM_GAP_NS)]
    #[case::not_spinning(0)]
    #[tokio::test]
    async fn instants_come_in_order_and_never_early(#[case] mean_gap_ns: u64) {
        let clock = Clock::start();
        let pacer = Pacer::new(clock, mean_gap_ns).unwrap();
        let start_ns = clock.now_ns();
        for index in 0..20 {
            let instant_ns = start_ns + index * 200_000;
            pacer.wait_until(instant_ns).await.unwrap();
            assert!(clock.now_ns() >= instant_ns);
        }
    }

    #[tokio::test]
    async fn an_instant_that_is_past_is_not_waited_for() {
        let clock = Clock::start();
        let pacer = Pacer::new(clock, 0).unwrap();
        let past_ns = clock.now_ns();
        assert_eq!(pacer.wait_until(past_ns).await.unwrap(), past_ns);
    }
}
