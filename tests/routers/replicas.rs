//! Three routers of the same workers.

use std::sync::{Arc, atomic::Ordering};

use nix::sys::signal::Signal;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    eventually,
    load::{Load, Place, Places, prompt},
    process::{Router, complete},
    relay::Relay,
    within,
    worker::Worker,
};

/// Requests in flight to one worker that all routers together may have.
const BOUND: u32 = 2;

struct Fleet {
    workers: Vec<Worker>,
    routers: Vec<Option<Router>>,
    /// By the router that calls and the one that is called.
    relays: Vec<Vec<Relay>>,
    places: Arc<Places>,
    epoch: u64,
}

impl Fleet {
    async fn new(routers: usize, release: &watch::Receiver<bool>) -> Self {
        let mut workers = Vec::new();
        for _ in 0..4 {
            workers.push(Worker::start(release.clone()).await);
        }
        let mut relays = Vec::new();
        for _ in 0..routers {
            let mut of_one = Vec::new();
            for _ in 0..routers {
                of_one.push(Relay::new().await);
            }
            relays.push(of_one);
        }
        let places = Places::new(routers);
        let routers = (0..routers).map(|_| None).collect();
        Self { workers, routers, relays, places, epoch: 1 }
    }

    fn router(&self, index: usize) -> &Router {
        self.routers[index].as_ref().unwrap()
    }

    fn epoch_of(&self, index: usize) -> Value {
        let named = |letter: &str, number: usize, url: &str| json!({"id": format!("{letter}{number}"), "url": url});
        let workers: Vec<_> =
            self.workers.iter().enumerate().map(|(number, worker)| named("w", number, &worker.url)).collect();
        let relays = self.relays[index].iter().enumerate().filter(|(other, _)| *other != index);
        let peers: Vec<_> = relays.map(|(other, relay)| named("r", other, &relay.url)).collect();
        json!({"epoch": self.epoch, "run": "processes", "name": format!("r{index}"), "workers": workers,
            "peers": peers, "policy": {"mode": "HashRadixTree", "maxInFlightPerServer": BOUND,
                "queue": {"timeoutMilliseconds": 120_000}, "hashRadixTree": {"syncMilliseconds": 10}}})
    }

    /// Starts a router and begins the epoch on it.
    async fn join(&mut self, index: usize) {
        let router = Router::start(&[]).await;
        let port = router.control.rsplit_once(':').unwrap().1.parse().unwrap();
        self.relays.iter().for_each(|of_one| of_one[index].port.store(port, Ordering::Relaxed));
        assert_eq!(router.begin(&self.epoch_of(index)).await, StatusCode::OK);
        self.places.put(index, Place::Up(router.data.clone()));
        self.routers[index] = Some(router);
    }

    fn part(&self, index: usize, is_cut: bool) {
        for other in 0..self.relays.len() {
            self.relays[index][other].cut(is_cut);
            self.relays[other][index].cut(is_cut);
        }
    }

    async fn nodes(&self) -> Vec<u64> {
        let mut nodes = Vec::new();
        for router in self.routers.iter().flatten() {
            nodes.push(router.nodes().await);
        }
        nodes
    }

    /// Waits until all routers know as much, which is something.
    async fn in_step(&self) -> u64 {
        let all_equal = |nodes: &Vec<u64>| nodes[0] > 0 && nodes.iter().all(|count| *count == nodes[0]);
        eventually("all routers in step", || self.nodes(), all_equal).await[0]
    }

    fn assert_bound(&self) {
        let most: Vec<u32> = self.workers.iter().map(Worker::most).collect();
        assert!(most.iter().all(|most| *most <= BOUND), "{most:?} were in flight at once");
    }
}

#[tokio::test]
async fn routers_stay_in_step_and_within_the_bound_through_joins_leaves_deaths_and_partitions() {
    let (release, is_released) = watch::channel(false);
    let mut fleet = Fleet::new(3, &is_released).await;
    let client = Client::new();

    // A router that joins late learns what the others know.
    fleet.join(0).await;
    fleet.join(1).await;
    let mut load = Load::start(&fleet.places);
    load.serves(150).await;
    fleet.join(2).await;
    load.serves(150).await;
    load.end().await;
    fleet.in_step().await;

    // One that leaves lets what is in flight end, and loses nothing; it comes back and knows all.
    let mut load = Load::start(&fleet.places);
    let held = tokio::spawn({
        let (client, url) = (client.clone(), fleet.router(2).data.clone());
        async move { complete(&client, &url, &format!("hold{:-<600}", ""), false).await.unwrap().status() }
    });
    load.serves(50).await;
    fleet.places.put(2, Place::Leaving);
    eventually("the end of the others", async || fleet.places.open(2), |open| *open == 0).await;
    eventually("the held request alone", || fleet.router(2).in_flight(), |in_flight| *in_flight == 1).await;
    let leaving = fleet.routers[2].take().unwrap().process;
    leaving.send(Signal::SIGTERM);
    load.serves(50).await;
    release.send_replace(true);
    assert_eq!(within("the held request", held).await.unwrap(), StatusCode::OK);
    assert_eq!(leaving.ended().await.code(), Some(0));
    fleet.join(2).await;
    load.serves(100).await;
    load.end().await;
    fleet.in_step().await;

    // One that dies loses what its own clients had in flight, and nothing else; it comes back and knows all.
    let mut load = Load::start(&fleet.places);
    load.serves(100).await;
    fleet.places.put(1, Place::Killed);
    fleet.routers[1].take().unwrap().process.kill().await;
    load.serves(50).await;
    fleet.join(1).await;
    load.serves(100).await;
    load.end().await;
    fleet.in_step().await;

    // What a router learns while it is cut off comes once it is not, and the bound holds meanwhile.
    // The first router has a slot when it is cut off, for it was the last to ask for one.
    let url = fleet.router(0).data.clone();
    assert_eq!(complete(&client, &url, &prompt(100, 0), false).await.unwrap().status(), StatusCode::OK);
    let before = fleet.in_step().await;
    fleet.part(0, true);
    for (router, own) in [(0, 1), (1, 2), (2, 3)] {
        let url = fleet.router(router).data.clone();
        let answer = complete(&client, &url, &prompt(100 + own, own), false).await.unwrap();
        let status = answer.status();
        assert_eq!(status, StatusCode::OK, "{:?}", answer.text().await);
    }
    let parted = vec![before + 6, before + 12, before + 12];
    eventually("two routers in step without the third", || fleet.nodes(), |nodes| *nodes == parted).await;
    let mut load = Load::start(&fleet.places);
    load.serves(100).await;
    fleet.part(0, false);
    load.serves(100).await;
    load.end().await;
    assert!(fleet.in_step().await >= before + 18);

    // Nothing of an epoch is left in the next, and none goes back.
    fleet.epoch = 2;
    for index in 0..3 {
        assert_eq!(fleet.router(index).begin(&fleet.epoch_of(index)).await, StatusCode::OK);
    }
    assert_eq!(fleet.nodes().await, [0, 0, 0]);
    let mut earlier = fleet.epoch_of(0);
    earlier["epoch"] = 1.into();
    assert_eq!(fleet.router(0).begin(&earlier).await, StatusCode::CONFLICT);
    let mut load = Load::start(&fleet.places);
    load.serves(150).await;
    load.end().await;
    fleet.in_step().await;

    fleet.assert_bound();
    assert!(fleet.workers.iter().any(|worker| worker.most() == BOUND), "the bound was never reached");
    let idle = async || fleet.workers.iter().map(Worker::in_flight).sum::<u32>();
    eventually("the end of all requests", idle, |in_flight| *in_flight == 0).await;
}
