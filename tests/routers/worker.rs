//! A server that counts what is in flight to it at once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, http::Uri};
use tokio::{net::TcpListener, sync::watch};

/// Time that a request takes: long enough for those of several routers to meet.
const SERVICE_TIME: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Counts {
    in_flight: u32,
    most: u32,
}

#[derive(Clone)]
struct Counting {
    counts: Arc<Mutex<Counts>>,
    release: watch::Receiver<bool>,
}

pub struct Worker {
    pub url: String,
    counts: Arc<Mutex<Counts>>,
}

impl Worker {
    /// A server on a free port. It answers a prompt that begins with `hold` only once `release` is true.
    pub async fn start(release: watch::Receiver<bool>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::<Mutex<Counts>>::default();
        let routes = Router::new().fallback(answer).with_state(Counting { counts: counts.clone(), release });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, counts }
    }

    /// The most that was in flight at once, ever.
    pub fn most(&self) -> u32 {
        self.counts.lock().unwrap().most
    }

    pub fn in_flight(&self) -> u32 {
        self.counts.lock().unwrap().in_flight
    }
}

/// A request in flight. Its drop ends it, also where the client is gone.
struct InFlight(Arc<Mutex<Counts>>);

impl InFlight {
    fn new(counts: Arc<Mutex<Counts>>) -> Self {
        let mut locked = counts.lock().unwrap();
        locked.in_flight += 1;
        locked.most = locked.most.max(locked.in_flight);
        drop(locked);
        Self(counts)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

async fn answer(State(mut counting): State<Counting>, uri: Uri, body: String) -> &'static str {
    if uri.path() == "/health" {
        return "";
    }
    let in_flight = InFlight::new(counting.counts.clone());
    if body.contains("\"hold") {
        // The sender lives as long as the test.
        let _ = counting.release.wait_for(|is_released| *is_released).await;
    } else {
        tokio::time::sleep(SERVICE_TIME).await;
    }
    drop(in_flight);
    "{}"
}
