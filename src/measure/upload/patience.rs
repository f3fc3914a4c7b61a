//! How long and how often a request is tried again.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{UploadError, connection::Trouble};

/// How long a request is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time for one request, all its tries together.
    pub longest: Duration,
    /// Longest time once the program was told to stop.
    pub once_stopped: Duration,
    /// Pause before the second try; each further one is twice as long.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // An operator that moves to another node is back within a few minutes.
            longest: Duration::from_secs(600),
            // Less than the grace that a load pod has to end.
            once_stopped: Duration::from_secs(45),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(15),
        }
    }
}

impl Patience {
    /// Tries until the request is granted, refused for good, or the time is up.
    pub async fn until_granted<T, F>(
        &self,
        stop: &CancellationToken,
        mut request: impl FnMut() -> F,
    ) -> Result<T, UploadError>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let begun = Instant::now();
        let mut last = String::from("no answer");
        let mut pause = self.first_pause;
        let end = self.end(begun, stop);
        tokio::pin!(end);
        loop {
            let tried = tokio::select! {
                tried = request() => tried,
                () = &mut end => return Err(gave_up(begun, last)),
            };
            match tried {
                Ok(granted) => return Ok(granted),
                Err(Trouble::Refused { what, refusal }) => {
                    let (code, message) = (refusal.code, refusal.message);
                    return Err(UploadError::Refused { what, code, message });
                }
                Err(Trouble::Unreadable(error)) => return Err(error),
                Err(Trouble::Passing(reason)) => {
                    tracing::warn!(reason, "the results service will be tried again");
                    last = reason;
                }
            }
            // Pods that were cut off together do not come back together.
            let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
            tokio::select! {
                () = sleep(jittered) => {}
                () = &mut end => return Err(gave_up(begun, last)),
            }
            pause = (pause * 2).min(self.longest_pause);
        }
    }

    async fn end(&self, begun: Instant, stop: &CancellationToken) {
        tokio::select! {
            () = sleep_until(begun + self.longest) => {}
            () = async { stop.cancelled().await; sleep(self.once_stopped).await } => {}
        }
    }
}

fn gave_up(begun: Instant, last: String) -> UploadError {
    UploadError::GaveUp { seconds: begun.elapsed().as_secs(), last }
}
