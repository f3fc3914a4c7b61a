//! What the process uses of its machine's CPUs.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time since a moment.
pub(crate) struct CpuMeter {
    started: Instant,
    used_before: Duration,
}

impl CpuMeter {
    pub(crate) fn start() -> CpuMeter {
        CpuMeter { started: Instant::now(), used_before: used() }
    }

    /// Share of all CPUs that this process may use, used since the start (1 = all of them).
    pub(crate) fn share(&self) -> f64 {
        let cores = available_parallelism().map_or(1, usize::from) as f64;
        let elapsed_s = self.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        used().saturating_sub(self.used_before).as_secs_f64() / elapsed_s / cores
    }
}

/// User and system time of this process so far.
fn used() -> Duration {
    // It fails for an unknown `who` alone; were it to, the share would read 0.
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|usage| duration(usage.user_time()) + duration(usage.system_time()))
        .unwrap_or_default()
}

fn duration(value: TimeVal) -> Duration {
    let seconds = u64::try_from(value.tv_sec()).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(value.tv_usec()).unwrap_or_default())
}
