//! Waiting for conditions: with a deadline, and with what was seen last in the message when it passes.

use std::{fmt::Debug, pin::pin, time::Duration};

use anyhow::bail;
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use serde::de::DeserializeOwned;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often to look at what cannot be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Watches one object until `look` finds in it what is waited for; until then `look` gives what it sees instead.
///
/// # Errors
/// The deadline passed.
pub async fn until<K, T>(
    api: &Api<K>,
    name: &str,
    what: &str,
    within: Duration,
    mut look: impl FnMut(Option<&K>) -> Result<T, String>,
) -> anyhow::Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut last = "nothing yet".to_owned();
    let found = async {
        let mut versions = pin!(watch_object(api.clone(), name).default_backoff());
        loop {
            match versions.next().await {
                Some(Ok(object)) => match look(object.as_ref()) {
                    Ok(found) => return found,
                    Err(seen) => last = seen,
                },
                Some(Err(error)) => last = format!("a watch that failed: {error}"),
                None => last = "the end of the watch".to_owned(),
            }
        }
    };
    match timeout(within, found).await {
        Ok(found) => Ok(found),
        Err(_) => bail!("{what}: not within {} s; last seen: {last}", within.as_secs()),
    }
}

/// Asks again and again until the answer is what is waited for; until then `ask` gives what it sees instead.
///
/// # Errors
/// The deadline passed.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let mut last = "nothing yet".to_owned();
    let found = async {
        let mut ticks = interval(LOOK_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match ask().await {
                Ok(found) => return found,
                Err(seen) => last = seen,
            }
        }
    };
    match timeout(within, found).await {
        Ok(found) => Ok(found),
        Err(_) => bail!("{what}: not within {} s; last seen: {last}", within.as_secs()),
    }
}
