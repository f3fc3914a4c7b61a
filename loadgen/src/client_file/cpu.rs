//! What a thread uses of its core.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time of the calling thread since a moment.
pub(crate) struct CpuMeter {
    started: Instant,
    used_before: Duration,
}

impl CpuMeter {
    pub(crate) fn start() -> CpuMeter {
        CpuMeter { started: Instant::now(), used_before: used() }
    }

    /// Share of one core that this thread has used since the start, which it must have made itself.
    pub(crate) fn share(&self) -> f64 {
        let elapsed_s = self.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        used().saturating_sub(self.used_before).as_secs_f64() / elapsed_s
    }
}

/// User and system time of this thread so far.
fn used() -> Duration {
    // It fails for an unknown `who` alone; were it to, the share would read 0.
    getrusage(UsageWho::RUSAGE_THREAD)
        .map(|usage| duration(usage.user_time()) + duration(usage.system_time()))
        .unwrap_or_default()
}

fn duration(value: TimeVal) -> Duration {
    let seconds = u64::try_from(value.tv_sec()).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(value.tv_usec()).unwrap_or_default())
}
