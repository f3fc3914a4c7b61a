//! The engine's clock: steps begin and end at their exact times, however late a timer fires.
//!
//! A step begins where the previous one ended, not when the timer fired, so lateness does not add up; a request that
//! arrives while the timer is late still waits for a step that begins after its arrival.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handle::EngineHandle;
use super::pacer::Pacer;
use crate::engine::Begin;

/// Runs an engine in real time until shut down; then breaks off all answers.
///
/// # Errors
/// When the system gives no timer.
pub async fn drive(handle: EngineHandle, shutdown: CancellationToken) -> std::io::Result<()> {
    let outcome = shutdown.run_until_cancelled(run(&handle)).await;
    handle.close();
    outcome.unwrap_or(Ok(()))
}

async fn run(handle: &EngineHandle) -> std::io::Result<()> {
    let pacer = Pacer::new()?;
    let mut now = Duration::ZERO;
    loop {
        match handle.begin_step(now) {
            Begin::Step { ends, batch: _, computing_share: _ } => {
                pacer.sleep_until(handle.instant(ends)).await?;
                now = ends;
                handle.finish_step();
                // When the process is late the next step is over at once; connections must get their turn all the same.
                tokio::task::yield_now().await;
            }
            Begin::IdleUntil(time) => {
                pacer.sleep_until(handle.instant(time)).await?;
                now = time;
            }
            Begin::Idle => handle.submitted().await,
        }
    }
}
