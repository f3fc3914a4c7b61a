//! The live view of a campaign in the cluster: what is watched, what is made of it, and how it is shown.
//!
//! ```text
//! seen    campaigns, runs and the load's own words, as they come      view   what people want to know, pure
//! show    a screen that is redrawn, or a line an event
//! ```

mod seen;
mod show;
mod view;

use std::{process::ExitCode, time::Duration};

use kube::Client;
use teebench_api::{campaign::BenchmarkCampaign, conditions::ConditionStatus};
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};

use self::{seen::Seen, show::Show, view::View};
use crate::cli::{DONE, FAILED, INTERRUPTED};

/// How often the view is made anew: often enough to look live, and a request for the load's last words each time.
const REDRAW: Duration = Duration::from_millis(1000);

/// A campaign cannot be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    /// There is none of this name.
    #[error("campaign \"{name}\": there is none in namespace {namespace}; choose another by -n")]
    Unknown {
        /// The name that was given.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// It was there and is gone.
    #[error("campaign \"{0}\" was deleted; teebench fetch has its results")]
    Deleted(String),
    /// The cluster refuses or is not reached.
    #[error("campaigns cannot be watched")]
    Cluster(#[from] kube::runtime::watcher::Error),
    /// Standard output cannot be written to.
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
}

/// Shows a campaign until it has ended or the view is left.
///
/// # Errors
/// It is not there, the cluster refuses, or nothing can be shown.
pub async fn watch(client: &Client, namespace: &str, name: &str) -> Result<ExitCode, WatchError> {
    let mut seen = Seen::start(client, namespace, name).await?;
    let mut show = Show::new();
    let mut live = None;
    let mut redraws = interval(REDRAW);
    redraws.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // A state that lasts less than a redraw is told as well: each change is shown as it comes.
        let is_time = tokio::select! {
            changed = seen.changed() => changed.map(|()| false)?,
            _ = tokio::signal::ctrl_c() => {
                show.leave()?;
                return Ok(ExitCode::from(INTERRUPTED));
            }
            _ = redraws.tick() => true,
        };
        let campaign = seen.campaign().ok_or_else(|| WatchError::Deleted(name.to_owned()))?;
        if is_time {
            live = seen.live(&campaign).await;
        }
        show.draw(&View::of(&campaign, &seen.runs(), live.as_ref(), &seen.others()))?;
        if let Some(code) = ended(&campaign) {
            show.leave()?;
            return Ok(ExitCode::from(code));
        }
    }
}

/// The exit code of a campaign that has ended.
fn ended(campaign: &BenchmarkCampaign) -> Option<u8> {
    campaign.status.as_ref()?.completion_time.as_ref()?;
    let completed = view::succeeded(campaign).is_some_and(|condition| condition.status == ConditionStatus::True);
    Some(if completed { DONE } else { FAILED })
}
