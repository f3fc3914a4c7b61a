//! The data port when a side goes away: a client, a server, or the router itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use support::{
    Conversation, Router, Upstream, completion, dead_url, event_stream, eventually, streaming, whole, within,
};

fn round_robin() -> Value {
    json!({"mode": "RoundRobin"})
}

#[rstest]
#[case::before_the_head(false)]
#[case::in_the_stream(true)]
#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request_at_once(#[case] is_streaming: bool) {
    let cancelled = Arc::new(Notify::new());
    let notify = cancelled.clone();
    let upstream = Upstream::start(move |_, _| {
        let notify = notify.clone();
        async move {
            let (response, sender) = event_stream();
            if is_streaming {
                sender.send(Ok(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
                tokio::spawn(async move {
                    sender.closed().await;
                    notify.notify_one();
                });
                response
            } else {
                // Dropped with the connection, which is how a server sees that its client is gone.
                let _guard = NotifyOnDrop(notify);
                std::future::pending().await
            }
        }
    })
    .await;
    let policy = json!({"mode": "LeastLoaded", "maxInFlightPerServer": 1});
    let router = Router::with(policy, &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    if is_streaming {
        let mut response = client.post("/v1/completions", completion("hello")).await;
        within("an event", response.frame()).await.unwrap().unwrap();
        client.hang_up().await;
    } else {
        let request = Request::post("/v1/completions").header("host", "a").body(Full::from(completion("hello")));
        let waits = tokio::spawn(client.sender.send_request(request.unwrap()));
        eventually("the request", async || upstream.requests().len(), |requests| *requests == 1).await;
        waits.abort();
        client.hang_up().await;
    }
    within("the server to see it", cancelled.notified()).await;
    eventually("the slot", async || router.worker(0).await.in_flight, |in_flight| *in_flight == 0).await;
    assert_eq!(router.worker(0).await.errors, 0, "it was not the server's fault");
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_replaced_without_the_client_seeing_it() {
    let upstream = Upstream::saying("alive").await;
    let router = Router::with(round_robin(), &[&dead_url().await, &upstream.url]).await;
    for _ in 0..8 {
        assert_eq!(router.complete("hello").await, "alive");
    }
    let metrics = router.metrics().await;
    assert_eq!((metrics.requests, metrics.workers[0].requests), (8, 0));
    assert_eq!(metrics.workers[0].retries, 3, "after three refused connections in a row it is left out");
}

#[tokio::test]
async fn a_server_that_dies_before_the_first_byte_is_replaced_without_the_client_seeing_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // It takes the request and breaks off.
            drop(stream.read(&mut [0; 1024]).await);
        }
    });
    let upstream = Upstream::saying("alive").await;
    let router = Router::with(round_robin(), &[&dying, &upstream.url]).await;
    for _ in 0..4 {
        assert_eq!(router.complete("hello").await, "alive");
    }
    let dying = router.worker(0).await;
    assert_eq!((dying.errors, dying.retries, dying.requests, dying.in_flight), (2, 2, 0, 0));
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_not_the_clients_problem() {
    // A server that closes every connection after one answer, without announcing it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The request comes in one piece: it is short.
                if stream.read(&mut [0; 4096]).await? > 0 {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
                }
                io::Result::Ok(())
            });
        }
    });
    let router = Router::with(round_robin(), &[&url]).await;
    for _ in 0..50 {
        assert_eq!(router.complete("hello").await, "ok");
    }
    assert_eq!(router.metrics().await.errors, 0);
}

#[tokio::test]
async fn when_all_servers_are_gone_the_client_is_told() {
    let router = Router::with(round_robin(), &[&dead_url().await, &dead_url().await]).await;
    let (status, body) = router.request(Method::POST, "/v1/completions", completion("hello")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["type"], "BadGatewayError");
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let other = Upstream::saying("other").await;
    let router = Router::with(round_robin(), &[&format!("http://{address}"), &other.url]).await;
    eventually(
        "its ejection",
        async || {
            router.complete("hello").await;
            router.worker(0).await.errors
        },
        |errors| *errors == 3,
    )
    .await;
    let _back = Upstream::serve(TcpListener::bind(address).await.unwrap(), |_, _| async { whole("back") });
    eventually("its return", async || router.complete("hello").await, |answer| answer == "back").await;
}

#[tokio::test]
async fn a_server_that_fails_its_requests_is_left_out_until_it_is_well() {
    let is_well = Arc::new(AtomicBool::new(false));
    let health = is_well.clone();
    let sick = Upstream::start(move |_, _| {
        let mut response = whole("sick");
        if !health.load(Ordering::Relaxed) {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        async { response }
    })
    .await;
    let other = Upstream::saying("other").await;
    let reputation = json!({"windowRequests": 4});
    let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {"reputation": reputation}});
    let router = Router::with(policy, &[&sick.url, &other.url]).await;
    let number = AtomicU64::new(0);
    let ask = async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        router.request(Method::POST, "/v1/completions", completion(&format!("prompt {number}"))).await
    };
    let mut in_a_row = 0;
    for asked in 0.. {
        let (status, _) = ask().await;
        in_a_row = if status == StatusCode::OK { in_a_row + 1 } else { 0 };
        if in_a_row == 40 {
            break;
        }
        assert!(asked < 400, "it still gets requests: {:?}", router.worker(0).await);
    }
    is_well.store(true, Ordering::Relaxed);
    eventually("its return", ask, |(_, answer)| answer == "sick").await;
}

#[tokio::test]
async fn a_stream_that_the_server_breaks_off_ends_with_an_error_event() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let mut response = client.post("/v1/completions", completion("hello")).await;
    let stream = within("the stream", started.recv()).await.unwrap();
    stream.send(Ok(Bytes::from_static(b"data: {\"half"))).await.unwrap();
    let frame = within("an event", response.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "data: {\"half");
    stream.send(Err(io::Error::other("the engine died"))).await.unwrap();

    let frame = within("the error", response.frame()).await.unwrap().unwrap().into_data().unwrap();
    let event = str::from_utf8(&frame).unwrap().strip_prefix("\n\ndata: ").unwrap();
    assert_eq!(serde_json::from_str::<Value>(event).unwrap()["error"]["code"], 502);
    assert!(within("the break", response.frame()).await.unwrap().is_err(), "a broken answer must not look whole");
    let worker = router.worker(0).await;
    assert_eq!((worker.requests, worker.errors, worker.in_flight), (1, 1, 0));
}

#[tokio::test]
async fn a_router_that_ends_lets_requests_end_first() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let mut response = client.post("/v1/completions", completion("hello")).await;
    let stream = within("the stream", started.recv()).await.unwrap();
    stream.send(Ok(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
    within("an event", response.frame()).await.unwrap().unwrap();

    let data = router.data.clone();
    let stopping = tokio::task::spawn_blocking(move || router.stop(Duration::from_secs(60)));
    eventually("the closed port", async || TcpStream::connect(&data).await.is_err(), |is_closed| *is_closed).await;
    stream.send(Ok(Bytes::from_static(b"data: 2\n\n"))).await.unwrap();
    drop(stream);
    assert_eq!(within("the rest", response.collect()).await.unwrap().to_bytes(), "data: 2\n\n");
    within("the end", stopping).await.unwrap();
}

#[tokio::test]
async fn a_router_whose_patience_is_over_breaks_off() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let response = client.post("/v1/completions", completion("hello")).await;
    let _stream = within("the stream", started.recv()).await.unwrap();
    let stopping = tokio::task::spawn_blocking(move || router.stop(Duration::from_millis(10)));
    within("the end", stopping).await.unwrap();
    assert!(within("the break", response.collect()).await.is_err());
}
