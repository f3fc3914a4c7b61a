//! Questions to the driver, whose answer takes a while or never comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::error::Refusal;

/// The turn to ask the driver. One request at a time has it, so that a driver that hangs holds one thread and not one for
/// each request, and whoever asks is told soon.
#[derive(Clone, Debug, Default)]
pub struct DriverTurn(Arc<Mutex<()>>);

impl DriverTurn {
    /// Asks on a thread that may block; waiting for the turn counts as well.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let deadline = Instant::now() + patience;
        let silent = |_| Refusal::silent(format!("the driver did not answer within {} s", patience.as_secs_f64()));
        let turn = timeout_at(deadline, Arc::clone(&self.0).lock_owned()).await.map_err(silent)?;
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question();
            drop(turn);
            answer
        });
        timeout_at(deadline, asked).await.map_err(silent)?.map_err(Refusal::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_driver_that_hangs_holds_one_thread_and_everybody_who_asks_is_told() {
        let turn = DriverTurn::default();
        let (release, released) = mpsc::channel::<()>();
        let hung = turn.ask(SHORT, move || released.recv()).await.unwrap_err();
        assert_eq!(hung, Refusal::silent("the driver did not answer within 0.02 s"));
        let behind = turn.ask(SHORT, || panic!("it has no turn")).await;
        assert_eq!(behind.unwrap_err(), hung);
        // A driver that comes back is asked again.
        drop(release);
        assert_eq!(turn.ask(LONG, || 7).await, Ok(7));
    }
}
