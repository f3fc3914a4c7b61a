//! Lists of workers that change while requests run: none is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use teebench_router::control::members::Source;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use support::{Conversation, Router, Upstream, completion, eventually, streaming, within};

async fn put_workers(router: &Router, urls: &[(&str, &str)]) -> StatusCode {
    let workers: Vec<Value> = urls.iter().map(|(id, url)| json!({"id": id, "url": url})).collect();
    router.control(Method::PUT, "/workers", Bytes::from(Value::from(workers).to_string())).await.0
}

#[tokio::test]
async fn a_worker_that_stays_keeps_what_it_holds_and_one_that_left_gets_nothing() {
    let (first, second, third) =
        (Upstream::saying("first").await, Upstream::saying("second").await, Upstream::saying("third").await);
    let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {"loadBalancing": "None"}});
    let router = Router::with(policy, &[&first.url, &second.url]).await;
    let prompt = "a prompt that is long enough to be a chunk ".repeat(20);
    let holder = router.complete(&prompt).await;
    let (stays, leaves) = if holder == "first" { (&first, &second) } else { (&second, &first) };
    let stays_as = if holder == "first" { "w0" } else { "w1" };

    assert_eq!(put_workers(&router, &[("another", &third.url), (stays_as, &stays.url)]).await, StatusCode::OK);
    let before = leaves.requests().len();
    for _ in 0..4 {
        assert_eq!(router.complete(&prompt).await, holder);
    }
    for number in 0..20 {
        router.complete(&format!("{number} {prompt}")).await;
    }
    assert_eq!(leaves.requests().len(), before);
    assert!(!third.requests().is_empty());
}

#[tokio::test]
async fn a_stream_of_a_worker_that_leaves_goes_on_and_those_that_wait_take_another() {
    let (old, mut started) = streaming().await;
    let new = Upstream::saying("new").await;
    let router = Router::with(json!({"mode": "LeastLoaded", "maxInFlightPerServer": 1}), &[&old.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let first = client.post("/v1/completions", completion("first")).await;
    let stream = within("the stream", started.recv()).await.unwrap();

    let data = router.data.clone();
    let second = tokio::spawn(async move {
        let mut client = Conversation::with(&data).await;
        client.post("/v1/completions", completion("second")).await.collect().await.unwrap().to_bytes()
    });
    let waiting = async || router.control(Method::GET, "/metrics", Bytes::new()).await.1.to_string();
    eventually("the second to wait", waiting, |metrics| metrics.contains("teebench_router_waiting 1")).await;

    assert_eq!(put_workers(&router, &[("new", &new.url)]).await, StatusCode::OK);
    assert_eq!(within("the second", second).await.unwrap(), "new");
    stream.send(Ok(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
    drop(stream);
    assert_eq!(within("the first", first.collect()).await.unwrap().to_bytes(), "data: 1\n\n");
}

#[tokio::test]
async fn a_slot_taken_before_a_change_is_free_after_its_request() {
    let (upstream, mut started) = streaming().await;
    let other = Upstream::saying("other").await;
    let policy = json!({"mode": "RoundRobin", "maxInFlightPerServer": 1});
    let router = Router::with(policy, &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let first = client.post("/v1/completions", completion("first")).await;
    let stream = within("the stream", started.recv()).await.unwrap();
    assert_eq!(put_workers(&router, &[("w0", &upstream.url), ("b", &other.url)]).await, StatusCode::OK);
    for _ in 0..3 {
        assert_eq!(router.complete("while the first is busy").await, "other");
    }
    drop(stream);
    first.collect().await.unwrap();
    let in_flight = async || router.worker(0).await.in_flight;
    eventually("the slot", in_flight, |in_flight| *in_flight == 0).await;
}

#[tokio::test]
async fn a_list_that_is_wrong_changes_nothing() {
    let upstream = Upstream::saying("still").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    assert_eq!(put_workers(&router, &[]).await, StatusCode::BAD_REQUEST);
    assert_eq!(put_workers(&router, &[("a", "https://a")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(router.complete("hello").await, "still");
    assert_eq!(put_workers(&Router::neutral(), &[("a", "http://a")]).await, StatusCode::CONFLICT);
}

#[tokio::test]
async fn the_tree_is_shown_without_a_word_of_the_prompts() {
    let upstream = Upstream::saying("yes").await;
    let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {}});
    let router = Router::with(policy, &[&upstream.url]).await;
    for own in 0..4 {
        router.complete(&format!("{}{own}", "secret words ".repeat(60))).await;
    }
    let (status, tree) = router.control(Method::GET, "/debug/tree", Bytes::new()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(tree[0]["recentRequests"], 4);
    assert_eq!(tree[0]["holders"][0], "w0");
    assert!(router.metrics().await.saved_tokens > 0);
}

/// Requests without a pause over several connections, until told to end.
struct Load {
    stop: CancellationToken,
    clients: JoinSet<u64>,
}

impl Load {
    fn on(router: &Router) -> Self {
        let (stop, mut clients) = (CancellationToken::new(), JoinSet::new());
        for number in 0..8 {
            let (stop, data) = (stop.clone(), router.data.clone());
            clients.spawn(async move {
                let mut client = Conversation::with(&data).await;
                let mut served = 0;
                while !stop.is_cancelled() {
                    let response = client.post("/v1/completions", completion(&format!("{number} {served}"))).await;
                    assert_eq!(response.status(), StatusCode::OK);
                    within("a body", response.collect()).await.unwrap();
                    served += 1;
                }
                served
            });
        }
        Self { stop, clients }
    }

    /// Ends the load; returns how many requests were served, which are all that were sent.
    async fn end(self) -> u64 {
        self.stop.cancel();
        self.clients.join_all().await.into_iter().sum()
    }
}

async fn count(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|seen| seen.target == "/v1/completions").count()
}

/// Changes a watched list from the first two servers to the last two, to one that is no list, and back.
async fn change_under_load(router: Router, servers: &[Upstream; 3], list: impl Fn(&[&Upstream])) {
    let load = Load::on(&router);
    eventually("requests at the first", || count(&servers[0]), |requests| *requests > 20).await;
    list(&[&servers[1], &servers[2]]);
    eventually("requests at the third", || count(&servers[2]), |requests| *requests > 20).await;
    let left = count(&servers[0]).await;
    list(&[]);
    let before = count(&servers[1]).await;
    eventually("more requests", || count(&servers[1]), |requests| *requests > before + 20).await;
    // What was on its way when the list changed may have come since.
    assert!(count(&servers[0]).await <= left + 2, "it left");
    list(&[&servers[0]]);
    eventually("requests at the first again", || count(&servers[0]), |requests| *requests > left + 20).await;
    let served = load.end().await;
    let mut seen = 0;
    for server in servers {
        seen += count(server).await as u64;
    }
    assert_eq!(served, seen, "each request was served once");
    assert_eq!(router.metrics().await.errors, 0);
}

async fn three() -> [Upstream; 3] {
    [Upstream::saying("1").await, Upstream::saying("2").await, Upstream::saying("3").await]
}

#[tokio::test]
async fn a_file_that_changes_under_load_loses_no_request() {
    let servers = three().await;
    let path = std::env::temp_dir().join(format!("teebench-live-workers-{}", std::process::id()));
    let write = |servers: &[&Upstream]| {
        let lines: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
    };
    write(&[&servers[0], &servers[1]]);
    change_under_load(Router::watching(Source::File(path.clone())), &servers, write).await;
    std::fs::remove_file(&path).unwrap();
}

/// What the name resolves to in the test below, whose resolver is a plain function.
static ADDRESSES: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

#[tokio::test]
async fn a_name_that_resolves_anew_under_load_loses_no_request() {
    let servers = three().await;
    let resolve_to = |servers: &[&Upstream]| {
        let address = |server: &&Upstream| server.url.strip_prefix("http://").unwrap().parse().unwrap();
        *ADDRESSES.lock().unwrap() = servers.iter().map(address).collect();
    };
    resolve_to(&[&servers[0], &servers[1]]);
    let source = Source::Dns {
        name: "workers.example:8000".into(),
        resolve: |_| match ADDRESSES.lock().unwrap().clone() {
            none if none.is_empty() => Err(std::io::Error::other("the resolver fails for a moment")),
            addresses => Ok(addresses),
        },
    };
    change_under_load(Router::watching(source), &servers, resolve_to).await;
}

#[tokio::test]
async fn connections_to_a_worker_that_left_are_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let closed = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold").await.unwrap();
        stream.read(&mut [0; 1]).await.unwrap()
    });
    let new = Upstream::saying("new").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&url]).await;
    let mut client = Conversation::with(&router.data).await;
    let body = client.post("/v1/completions", completion("hello")).await.collect().await.unwrap().to_bytes();
    assert_eq!(body, "old");
    assert_eq!(put_workers(&router, &[("new", &new.url)]).await, StatusCode::OK);
    let body = client.post("/v1/completions", completion("hello")).await.collect().await.unwrap().to_bytes();
    assert_eq!(body, "new");
    assert_eq!(within("the close", closed).await.unwrap(), 0);
}
