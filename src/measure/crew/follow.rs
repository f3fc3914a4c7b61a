//! The others of several load generators.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use teebench_loadgen::{
    client::{LoadError, LoadSpec, Progress, measure},
    record::{Measured, Window},
};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use super::{BEAT, Begin, Crew, CrewError, GATHER, SILENCE, unix_ns};

/// How long one request may take; a part of a large run takes the longest.
const ANSWER: Duration = Duration::from_secs(60);

/// One of the others could not do its share.
#[derive(Debug, Error)]
pub enum FollowError {
    /// Its number is not one of those that there are.
    #[error(transparent)]
    Crew(#[from] CrewError),
    /// The first is not there, or gone.
    #[error("the first load generator, at {meet}, does not answer; see its pod or its log")]
    Alone {
        /// Where it should be.
        meet: String,
    },
    /// The first refuses it.
    #[error("the first load generator, at {meet}, refuses this one: {status}")]
    Refused {
        /// Where it is.
        meet: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The load could not be sent.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It was told to end.
    #[error("stopped before the load was sent")]
    Stopped,
}

/// Sends this generator's share when the first says so, and hands in what it measured.
///
/// # Errors
/// The first is not there any more, or the load cannot be sent.
pub async fn follow(
    crew: &Crew,
    salt: &str,
    load: &LoadSpec,
    show: impl Fn(Progress, Duration),
    cancel: CancellationToken,
) -> Result<(), FollowError> {
    let share = crew.share()?;
    let first = First { http: client(), crew, salt };
    let (begin, behind_ns) = tokio::select! {
        begin = first.begin() => begin?,
        () = cancel.cancelled() => return Err(FollowError::Stopped),
    };
    let start_unix_ns = begin.start_unix_ns.saturating_add_signed(behind_ns.saturating_neg());
    let load = LoadSpec { share, start_unix_ns: Some(start_unix_ns), ..load.clone() };
    let (progress, mut seen) = watch::channel(Progress::default());
    let started = Instant::now();
    let sending = measure(&load, progress, cancel);
    tokio::pin!(sending);
    let mut measured = tokio::select! {
        measured = async {
            loop {
                tokio::select! {
                    measured = &mut sending => return measured,
                    Ok(()) = seen.changed() => show(*seen.borrow_and_update(), started.elapsed()),
                }
            }
        } => measured?,
        alone = first.gone() => return Err(alone),
    };
    // Told on the clock of the first, by which all parts are aligned.
    let Window { start_unix_ns, end_unix_ns, .. } = &mut measured.window;
    for instant in [start_unix_ns, end_unix_ns] {
        *instant = instant.saturating_add_signed(behind_ns);
    }
    first.hand_in(&measured).await
}

fn client() -> Client {
    let client = Client::builder().no_proxy().timeout(ANSWER).build();
    client.expect("a client without TLS and proxies has nothing to load")
}

/// The first load generator, as one of the others calls it.
struct First<'a> {
    http: Client,
    crew: &'a Crew,
    salt: &'a str,
}

impl First<'_> {
    /// Says that it is there until it is told when to begin; with how far its own clock is behind that of the first.
    async fn begin(&self) -> Result<(Begin, i64), FollowError> {
        let mut heard = Instant::now();
        let mut beats = interval(BEAT);
        let mut patience = GATHER;
        loop {
            beats.tick().await;
            let asked_ns = unix_ns();
            match self.ask().await? {
                Some(Some(begin)) => {
                    let middle_ns = i128::from(asked_ns.midpoint(unix_ns()));
                    let behind_ns = i128::from(begin.now_unix_ns) - middle_ns;
                    return Ok((begin, i64::try_from(behind_ns).unwrap_or(0)));
                }
                // From then on it is there, and must stay.
                Some(None) => (heard, patience) = (Instant::now(), SILENCE),
                None if heard.elapsed() >= patience => return Err(self.alone()),
                None => {}
            }
        }
    }

    /// Says that it is there for as long as it is polled; returns when the first is not.
    async fn gone(&self) -> FollowError {
        let mut heard = Instant::now();
        let mut beats = interval(BEAT);
        loop {
            beats.tick().await;
            match self.ask().await {
                Ok(Some(_)) => heard = Instant::now(),
                Ok(None) if heard.elapsed() < SILENCE => {}
                Ok(None) => return self.alone(),
                Err(refused) => return refused,
            }
        }
    }

    /// One call; nothing when it was not answered.
    async fn ask(&self) -> Result<Option<Option<Begin>>, FollowError> {
        let Ok(answer) = self.http.get(self.url("start")).bearer_auth(self.salt).timeout(SILENCE / 3).send().await
        else {
            return Ok(None);
        };
        match answer.status() {
            StatusCode::OK | StatusCode::ACCEPTED => Ok(answer.json().await.ok()),
            status => Err(self.refused(status)),
        }
    }

    async fn hand_in(&self, measured: &Measured) -> Result<(), FollowError> {
        let answer = self.http.put(self.url("part")).bearer_auth(self.salt).json(measured).send().await;
        match answer.map(|answer| answer.status()) {
            Ok(StatusCode::NO_CONTENT) => Ok(()),
            Ok(status) => Err(self.refused(status)),
            Err(_) => Err(self.alone()),
        }
    }

    fn url(&self, what: &str) -> String {
        format!("http://{}/v1/generators/{}/{what}", self.crew.meet, self.crew.number)
    }

    fn alone(&self) -> FollowError {
        FollowError::Alone { meet: self.crew.meet.clone() }
    }

    fn refused(&self, status: StatusCode) -> FollowError {
        FollowError::Refused { meet: self.crew.meet.clone(), status }
    }
}
