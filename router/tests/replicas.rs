//! Several routers of the same servers: what one learns, all know.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use support::{Router, Upstream, epoch, event_stream, eventually, prompt};

fn tree() -> Value {
    json!({"mode": "HashRadixTree", "hashRadixTree": {"loadBalancing": "None", "syncMilliseconds": 10}})
}

async fn servers() -> [Upstream; 4] {
    [Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("c").await, Upstream::saying("d").await]
}

fn urls(servers: &[Upstream]) -> Vec<&str> {
    servers.iter().map(|server| server.url.as_str()).collect()
}

/// Begins an epoch on a router with all others as peers.
async fn begin(routers: &[Router], index: usize, number: u64, policy: Value, servers: &[&str]) {
    let others = routers.iter().enumerate().filter(|(other, _)| *other != index);
    let peers: Vec<&str> = others.map(|(_, router)| router.control.as_str()).collect();
    let (status, state) = routers[index].begin(&epoch(number, policy, servers, &peers)).await;
    assert_eq!(status, StatusCode::OK, "{state}");
}

async fn nodes(router: &Router) -> u64 {
    router.metrics().await.tree_nodes
}

#[tokio::test]
async fn what_one_router_learned_is_a_hit_at_the_others() {
    let servers = servers().await;
    let routers = [Router::neutral(), Router::neutral(), Router::neutral()];
    for index in 0..3 {
        begin(&routers, index, 1, tree(), &urls(&servers)).await;
    }
    let mut holders = Vec::new();
    for group in 0..12_usize {
        holders.push(routers[group % 3].complete(&prompt(&format!("group {group}"), "one")).await);
    }
    for router in &routers {
        eventually("all groups", async || nodes(router).await, |nodes| *nodes == 12 * 6).await;
    }
    for (group, holder) in holders.iter().enumerate() {
        let answer = routers[(group + 1) % 3].complete(&prompt(&format!("group {group}"), "two")).await;
        assert_eq!(&answer, holder, "group {group} is held there");
    }
    let mut hits = 0;
    for router in &routers {
        let metrics = router.metrics().await;
        assert!(metrics.sync_sent_bytes > 0 && metrics.sync_received_bytes > 0);
        hits += metrics.hits;
    }
    assert_eq!(hits, 12);
}

#[tokio::test]
async fn a_router_that_restarts_gets_what_it_missed() {
    let servers = servers().await;
    let mut routers = vec![Router::neutral(), Router::neutral()];
    for index in 0..2 {
        begin(&routers, index, 1, tree(), &urls(&servers)).await;
    }
    let holder = routers[0].complete(&prompt("group", "one")).await;
    eventually("the first delta", async || nodes(&routers[1]).await, |nodes| *nodes == 6).await;

    let port = routers[1].control.rsplit(':').next().unwrap().parse().unwrap();
    drop(routers.pop());
    routers[0].complete(&prompt("group", "two")).await;
    routers.push(Router::on_port(port));
    begin(&routers, 1, 1, tree(), &urls(&servers)).await;
    eventually("the snapshot", async || nodes(&routers[1]).await, |nodes| *nodes == 8).await;
    assert_eq!(routers[1].complete(&prompt("group", "three")).await, holder);
    assert_eq!(routers[1].metrics().await.hits, 1);
}

#[tokio::test]
async fn what_belongs_to_another_epoch_is_dropped_and_comes_once_the_epoch_does() {
    let servers = servers().await;
    let routers = [Router::neutral(), Router::neutral()];
    begin(&routers, 0, 2, tree(), &urls(&servers)).await;
    begin(&routers, 1, 1, tree(), &urls(&servers)).await;
    routers[0].complete(&prompt("group", "one")).await;
    routers[1].complete(&prompt("other", "one")).await;
    for router in &routers {
        let refused = async || router.metrics().await.sync_refused_frames;
        eventually("frames of the other epoch", refused, |refused| *refused > 0).await;
        assert_eq!(nodes(router).await, 6, "only its own");
    }
    begin(&routers, 1, 2, tree(), &urls(&servers)).await;
    eventually("the frames that were kept", async || nodes(&routers[1]).await, |nodes| *nodes == 6).await;
    assert_eq!(nodes(&routers[0]).await, 6);
}

#[tokio::test]
async fn a_router_sees_the_load_that_another_put_on_a_server() {
    let streams = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let open = streams.clone();
    let busy = Upstream::start(move |_, _| {
        let (response, sender) = event_stream();
        open.lock().unwrap().push(sender);
        async { response }
    })
    .await;
    let idle = Upstream::saying("idle").await;
    let routers = [Router::neutral(), Router::neutral()];
    let policy = json!({"mode": "LeastLoaded"});
    // The first router knows one server only, so all its load goes there.
    begin(&routers, 0, 1, policy.clone(), &[&busy.url]).await;
    begin(&routers, 1, 1, policy, &[&busy.url, &idle.url]).await;
    let mut client = support::Conversation::with(&routers[0].data).await;
    let response = client.post("/v1/completions", support::completion("long")).await;
    eventually("the news", async || routers[1].metrics().await.sync_received_bytes, |bytes| *bytes > 0).await;
    let in_step = async || {
        let (status, text) = routers[1].control(Method::GET, "/metrics", Bytes::new()).await;
        assert_eq!(status, StatusCode::OK);
        text.as_str().unwrap().contains("teebench_router_in_flight_of_others{worker=\"w0\"} 1")
    };
    eventually("the load", in_step, |seen| *seen).await;
    for _ in 0..4 {
        assert_eq!(routers[1].complete("short").await, "idle");
    }
    drop(response);
}

#[tokio::test]
async fn a_peer_that_lies_or_is_gone_harms_nobody() {
    let servers = servers().await;
    let router = Router::neutral();
    let gone = support::dead_url().await;
    let peers = [gone.strip_prefix("http://").unwrap(), router.control.as_str()];
    router.begin(&epoch(1, tree(), &urls(&servers), &peers)).await;
    for body in [b"".as_slice(), b"hrt\x01\x40", b"hrt\x02", &[0xff; 4096]] {
        let (status, answer) = router.control(Method::POST, "/deltas", Bytes::copy_from_slice(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    }
    let (status, _) = router.control(Method::POST, "/deltas", vec![0; (1 << 20) + 1].into()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    router.complete(&prompt("group", "one")).await;
    router.complete(&prompt("group", "one")).await;
    let metrics = router.metrics().await;
    assert_eq!((metrics.hits, metrics.tree_nodes, metrics.sync_refused_frames), (1, 6, 4));
}
