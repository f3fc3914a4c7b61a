//! Several load generators of one attempt: each sends its share of the same planned requests at the same planned times,
//! and the first merges what all have measured.
//!
//! ```text
//! lead     the first: waits for the others, says when to begin, merges
//! follow   the others: report that they are there, send their share, hand in their part
//! ```
//!
//! The first can be called by nobody but the others: they share the attempt's salt. One that is silent fails the run.

mod follow;
mod lead;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use teebench_loadgen::{client::Share, merge::MergeError};
use thiserror::Error;

pub use self::{follow::follow, lead::Lead};

/// How long the first waits for the others to be there: pods are scheduled and images pulled one after another.
const GATHER: Duration = Duration::from_secs(300);
/// How long one may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// How often each of the others asks or reports.
const BEAT: Duration = Duration::from_millis(500);
/// Time between saying when to begin and beginning: all have heard it by then.
const AHEAD: Duration = Duration::from_secs(2);

/// Which load generator of how many, and where they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crew {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// Host and port of the first.
    pub meet: String,
}

/// The load generators did not do their work together.
#[derive(Debug, Error)]
pub enum CrewError {
    /// The number is not one of those that there are.
    #[error("load generator {number} of {of}: there is none of that number; count from 0")]
    Number {
        /// The number.
        number: u32,
        /// How many there are.
        of: u32,
    },
    /// The meeting place cannot be opened.
    #[error("load generators cannot meet at {meet}")]
    Meet {
        /// The place.
        meet: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// One never came.
    #[error("load generator {number} was not there within {} s; see its pod or its log", GATHER.as_secs())]
    Missing {
        /// Its number.
        number: u32,
    },
    /// One was there and is not heard of any more.
    #[error("load generator {number} was silent for {} s; see its pod or its log", SILENCE.as_secs())]
    Silent {
        /// Its number.
        number: u32,
    },
    /// Their parts are not those of one run.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// When to begin, as the first says.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Begin {
    /// When the first request could be sent, in nanoseconds since the Unix epoch on the clock of the first.
    start_unix_ns: u64,
    /// What that clock showed when it answered.
    now_unix_ns: u64,
}

impl Crew {
    /// This generator's share.
    pub fn share(&self) -> Result<Share, CrewError> {
        let Self { number, of, meet: _ } = self;
        Share::new(*number, *of).ok_or(CrewError::Number { number: *number, of: *of })
    }
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
