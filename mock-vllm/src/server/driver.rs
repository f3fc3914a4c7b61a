//! The engine's clock: steps begin and end at their exact times, however late a timer fires.
//!
//! A step begins where the previous one ended, not when the timer fired, so lateness does not add up; a request that
//! arrives while the timer is late still waits for a step that begins after its arrival.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handle::EngineHandle;
use crate::engine::Begin;

/// Runs an engine in real time until shut down; then breaks off all answers.
pub async fn drive(handle: EngineHandle, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(run(&handle)).await;
    handle.close();
}

async fn run(handle: &EngineHandle) {
    let mut now = Duration::ZERO;
    loop {
        match handle.begin_step(now) {
            Begin::Step { ends, batch: _ } => {
                sleep_until(handle, ends).await;
                now = ends;
                handle.finish_step();
                // When timers are late the next one is over at once; connections must get their turn all the same.
                tokio::task::yield_now().await;
            }
            Begin::IdleUntil(time) => {
                sleep_until(handle, time).await;
                now = time;
            }
            Begin::Idle => handle.submitted().await,
        }
    }
}

async fn sleep_until(handle: &EngineHandle, time: Duration) {
    tokio::time::sleep_until(handle.instant(time).into()).await;
}
