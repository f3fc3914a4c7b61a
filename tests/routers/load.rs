//! Clients that send without a pause, each to the first router that is up, from one of its own on.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{eventually, process::complete};

/// Clients of each router.
const CLIENTS: usize = 3;

/// Where routers are, as their clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Clients send to this URL.
    Up(String),
    /// They do not, and what is in flight to it shall end well.
    Leaving,
    /// They do not, and what was in flight to it may be lost.
    Killed,
}

/// All routers, as their clients know them.
pub struct Places {
    places: Mutex<Vec<Place>>,
    /// Requests that clients have sent to each and that have not ended.
    open: Vec<AtomicU64>,
}

impl Places {
    /// Routers of which none is up.
    pub fn new(routers: usize) -> Arc<Self> {
        let open = (0..routers).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { places: Mutex::new(vec![Place::Killed; routers]), open })
    }

    pub fn put(&self, router: usize, place: Place) {
        self.places.lock().unwrap()[router] = place;
    }

    pub fn of(&self, router: usize) -> Place {
        self.places.lock().unwrap()[router].clone()
    }

    pub fn open(&self, router: usize) -> u64 {
        self.open[router].load(Ordering::Relaxed)
    }

    /// The first router that is up, from one on, and its URL.
    fn up(&self, from: usize) -> (usize, String) {
        let places = self.places.lock().unwrap();
        let mut indices = (0..places.len()).map(|step| (from + step) % places.len());
        let up = indices.find_map(|index| match &places[index] {
            Place::Up(url) => Some((index, url.clone())),
            Place::Leaving | Place::Killed => None,
        });
        up.expect("one router is always up")
    }
}

pub struct Load {
    stop: CancellationToken,
    served: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn start(places: &Arc<Places>) -> Self {
        let (stop, served) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        let routers = places.open.len();
        for number in 0..routers * CLIENTS {
            clients.spawn(send(number, places.clone(), stop.clone(), served.clone()));
        }
        Self { stop, served, clients }
    }

    /// Waits until so many more requests were served.
    pub async fn serves(&mut self, more: u64) {
        let before = self.served.load(Ordering::Relaxed);
        let served = async || self.served.load(Ordering::Relaxed);
        eventually("requests to be served", served, |served| *served >= before + more).await;
    }

    /// Ends the load; a request that was answered with anything but success fails the test here.
    pub async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

async fn send(number: usize, places: Arc<Places>, stop: CancellationToken, served: Arc<AtomicU64>) {
    // A connection that idles while its router ends says nothing about the router.
    let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    for request in 0_u64.. {
        if stop.is_cancelled() {
            return;
        }
        let (router, url) = places.up(number);
        places.open[router].fetch_add(1, Ordering::Relaxed);
        let prompt = prompt(request % 12, number as u64 * 1_000_000 + request);
        let outcome = match complete(&client, &url, &prompt, false).await {
            Ok(answer) => {
                let status = answer.status();
                answer.text().await.map(|body| (status, body))
            }
            Err(error) => Err(error),
        };
        let place = places.of(router);
        let was_killed = place != Place::Up(url) && place != Place::Leaving;
        match outcome {
            Ok((status, body)) => assert_eq!(status, StatusCode::OK, "{body}"),
            Err(error) => assert!(was_killed, "{place:?}: {error:?}"),
        }
        places.open[router].fetch_sub(1, Ordering::Relaxed);
        served.fetch_add(1, Ordering::Relaxed);
    }
}

/// A prompt of six chunks, of which a group shares the first four.
pub fn prompt(group: u64, own: u64) -> String {
    format!("{:-<1024}{own:-<512}", format!("group {group} "))
}
