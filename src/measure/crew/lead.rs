//! The first of several load generators.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::{get, put},
};
use teebench_loadgen::{client::LoadSpec, merge::merge, record::Measured};
use tokio::{
    net::TcpListener,
    time::{Instant, interval},
};
use tokio_util::task::AbortOnDropHandle;

use super::{AHEAD, BEAT, Begin, Crew, CrewError, GATHER, SILENCE, nanoseconds, unix_ns};

/// The first of several load generators, with the place where the others call.
pub struct Lead {
    crew: Crew,
    state: Arc<Meeting>,
    _serving: AbortOnDropHandle<()>,
}

struct Meeting {
    salt: String,
    others: Mutex<Others>,
}

#[derive(Default)]
struct Others {
    heard: BTreeMap<u32, Instant>,
    parts: BTreeMap<u32, Measured>,
    start_unix_ns: Option<u64>,
}

impl Lead {
    /// Opens the meeting place.
    pub async fn open(crew: &Crew, salt: &str) -> Result<Self, CrewError> {
        let fail = |source| CrewError::Meet { meet: crew.meet.clone(), source };
        let listener = TcpListener::bind(listening(&crew.meet).map_err(fail)?).await.map_err(fail)?;
        Ok(Self::on(listener, crew, salt))
    }

    /// Opens it on this listener.
    pub(super) fn on(listener: TcpListener, crew: &Crew, salt: &str) -> Self {
        let state = Arc::new(Meeting { salt: salt.to_owned(), others: Mutex::default() });
        let routes = Router::new()
            .route("/v1/generators/{number}/start", get(start))
            .route("/v1/generators/{number}/part", put(part))
            .with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "load generators cannot meet any more");
            }
        });
        Self { crew: crew.clone(), state, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Waits until all others are there, their requests drawn.
    pub async fn gather(&self) -> Result<(), CrewError> {
        let begun = Instant::now();
        let mut looks = interval(BEAT);
        loop {
            looks.tick().await;
            let missing = {
                let others = self.state.lock();
                self.others().find(|number| !others.heard.contains_key(number))
            };
            match missing {
                None => return Ok(()),
                Some(number) if begun.elapsed() >= GATHER => return Err(CrewError::Missing { number }),
                Some(_) => {}
            }
        }
    }

    /// This generator's own share of the load, begun when all begin.
    pub fn share(&self, load: &LoadSpec) -> Result<LoadSpec, CrewError> {
        let start_unix_ns = unix_ns() + nanoseconds(AHEAD);
        self.state.lock().start_unix_ns = Some(start_unix_ns);
        Ok(LoadSpec { share: self.crew.share()?, start_unix_ns: Some(start_unix_ns), ..load.clone() })
    }

    /// Returns when one of the others, whose part has not come, is silent.
    pub async fn silent(&self) -> CrewError {
        let mut looks = interval(BEAT);
        loop {
            looks.tick().await;
            let others = self.state.lock();
            let is_silent = |number: &u32| {
                !others.parts.contains_key(number)
                    && others.heard.get(number).is_none_or(|heard| heard.elapsed() >= SILENCE)
            };
            if let Some(number) = self.others().find(is_silent) {
                return CrewError::Silent { number };
            }
        }
    }

    /// Waits for the parts of the others and merges them with its own.
    pub async fn merged(&self, own: Measured) -> Result<Measured, CrewError> {
        let all_there = async {
            let mut looks = interval(BEAT);
            loop {
                looks.tick().await;
                let others = self.state.lock();
                if self.others().all(|number| others.parts.contains_key(&number)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = all_there => {}
            silent = self.silent() => return Err(silent),
        }
        let others = std::mem::take(&mut self.state.lock().parts);
        // The first part is the reference of all clocks.
        Ok(merge([own].into_iter().chain(others.into_values()).collect())?)
    }

    fn others(&self) -> impl Iterator<Item = u32> + use<> {
        1..self.crew.of
    }
}

/// Where the first listens so that the others reach it at that place: at an address, if one is given, else at all.
fn listening(meet: &str) -> io::Result<SocketAddr> {
    let (host, port) = meet.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(SocketAddr::new(host.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port))
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, headers: &HeaderMap, number: u32) -> Result<(), StatusCode> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if token != Some(self.salt.as_str()) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        self.lock().heard.insert(number, Instant::now());
        Ok(())
    }
}

/// Says that one is there; tells it when to begin, once that is known.
async fn start(
    State(meeting): State<Arc<Meeting>>,
    Path(number): Path<u32>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Option<Begin>>), StatusCode> {
    meeting.admit(&headers, number)?;
    let start_unix_ns = meeting.lock().start_unix_ns;
    let begin = start_unix_ns.map(|start_unix_ns| Begin { start_unix_ns, now_unix_ns: unix_ns() });
    Ok((if begin.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(begin)))
}

/// Takes the part of one.
async fn part(
    State(meeting): State<Arc<Meeting>>,
    Path(number): Path<u32>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, StatusCode> {
    meeting.admit(&headers, number)?;
    // Whoever knows the salt is the attempt's own; a part is as large as what was measured.
    let body = to_bytes(body, usize::MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let measured = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    meeting.lock().parts.insert(number, measured);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_pod_by_its_name("small-5-0.small-load:8070", Some("0.0.0.0:8070"))]
    #[case::this_machine_alone("127.0.0.1:41234", Some("127.0.0.1:41234"))]
    #[case::no_port("127.0.0.1", None)]
    #[case::no_number("first:port", None)]
    fn the_first_listens_where_the_others_call(#[case] meet: &str, #[case] expected: Option<&str>) {
        assert_eq!(listening(meet).ok().map(|address| address.to_string()).as_deref(), expected);
    }
}
