//! The engine's clock: steps begin and end at their exact times, however late a timer fires.
//!
//! A step begins where the previous one ended, not when the timer fired, so lateness does not add up; a request that
//! arrives while the timer is late still waits for a step that begins after its arrival.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handle::EngineHandle;
use super::pacer::Pacer;
use crate::engine::Begin;

/// Tokens that are due within that time of each other leave together, so that a timer is not set for each of them.
const DELIVERY_GRAIN: Duration = Duration::from_micros(200);

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
                while let Some(next) = handle.next_delivery().filter(|next| *next < ends) {
                    let until = ends.min(next + DELIVERY_GRAIN);
                    pacer.sleep_until(handle.instant(until)).await?;
                    handle.deliver(until);
                    tokio::task::yield_now().await;
                }
                pacer.sleep_until(handle.instant(ends)).await?;
                now = ends;
                handle.finish_step();
                handle.deliver(now);
                // When the process is late the next step is over at once; connections must get their turn all the same.
                tokio::task::yield_now().await;
            }
            Begin::IdleUntil(time) => {
                pacer.sleep_until(handle.instant(time)).await?;
                now = time;
                handle.deliver(now);
            }
            Begin::Idle => {
                // A request that came meanwhile may have moved the API server on to tokens that nobody has taken yet.
                handle.deliver(handle.elapsed());
                handle.submitted().await;
            }
        }
    }
}
