//! Sleeping to the microsecond: a timer of the kernel's own.
//!
//! The runtime's timers tick each millisecond, which would round a gap of 4.7 ms between tokens to 4 or 5.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One timer; it serves one sleeper at a time.
pub struct Pacer(AsyncFd<Timer>);

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Pacer {
    /// A timer of the present runtime.
    ///
    /// # Errors
    /// When the system gives no more file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the timer owns its descriptor, gives the same one for as long as it lives, and lives in the result.
        let registered = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) };
        Ok(Self(registered.map_err(|error| error.into_parts().1)?))
    }

    /// Completes at `deadline`, or at once when that has passed.
    ///
    /// # Errors
    /// When the timer cannot be set or read, which the system does not do to a valid one.
    pub async fn sleep_until(&self, deadline: Instant) -> std::io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Ok(());
        }
        let expiration = Expiration::OneShot(TimeSpec::from_duration(left));
        self.0.get_ref().0.set(expiration, TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.0.readable().await?;
            // Reading takes the expiration back; a readiness left over from an earlier sleep finds nothing to read.
            match ready.try_io(|timer| Ok(nix::unistd::read(&timer.get_ref().0, &mut [0; 8])?)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_after_its_deadline_also_when_an_earlier_one_was_given_up() {
        let pacer = Pacer::new().unwrap();
        let start = Instant::now();
        let soon = start + Duration::from_micros(200);
        {
            let abandoned = pacer.sleep_until(start + Duration::from_micros(100));
            assert!(futures::poll!(std::pin::pin!(abandoned)).is_pending());
        }
        pacer.sleep_until(soon).await.unwrap();
        assert!(Instant::now() >= soon);
        pacer.sleep_until(soon).await.unwrap();
    }
}
