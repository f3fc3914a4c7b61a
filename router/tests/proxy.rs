//! The data port with real servers behind it: what passes, what is refused, and what happens when a side goes away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use support::{Conversation, Router, Upstream, completion, dead_url, epoch, event_stream, eventually, whole, within};

fn round_robin() -> Value {
    json!({"mode": "RoundRobin"})
}

/// A server whose streams a test feeds: each request's sender comes over the channel.
async fn streaming() -> (Upstream, mpsc::UnboundedReceiver<mpsc::Sender<io::Result<Bytes>>>) {
    let (streams, started) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |_, _| {
        let (response, sender) = event_stream();
        streams.send(sender).unwrap();
        async { response }
    });
    (upstream.await, started)
}

#[tokio::test]
async fn events_pass_byte_for_byte_as_they_come() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let mut response = client.post("/v1/completions", completion("hello")).await;
    let stream = within("the stream", started.recv()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");

    let mut passed = Vec::new();
    // An event in one piece, one cut in a character, two at once, and bytes that are no text at all.
    let pieces: [&[u8]; 5] =
        [b"data: {\"a\": 1}\n\n", b"data: \xc3", b"\xa9\n\n", b"data: 2\n\ndata: 3\n\n", b"\0\xff\r\n"];
    for piece in pieces {
        stream.send(Ok(Bytes::from_static(piece))).await.unwrap();
        let mut received = Vec::new();
        // The next piece is not sent before this one is here: nothing may be held back.
        while received.len() < piece.len() {
            let frame = within("an event", response.frame()).await.unwrap().unwrap();
            received.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!(received, piece);
        passed.extend(received);
    }
    drop(stream);
    assert!(within("the end", response.frame()).await.is_none());
    assert_eq!(passed, pieces.concat());
}

#[tokio::test]
async fn bodies_and_headers_pass_untouched() {
    let upstream = Upstream::start(|_, body| async {
        let mut response = whole(body);
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("x-request-id", "7".parse().unwrap());
        response
    })
    .await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let mut client = Conversation::with(&router.data).await;
    let body = Bytes::from_static(b" {\"model\" : \"m\",\"prompt\":\"\\u00e9\" , \"x\" : 1e2 }\n");
    let request = Request::post("/v1/completions?debug=1")
        .header("host", "models.example")
        .header("authorization", "Bearer secret")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body(Full::new(body.clone()))
        .unwrap();
    let response = within("an answer", client.sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.headers()["x-request-id"], "7");
    assert_eq!(response.collect().await.unwrap().to_bytes(), body);

    let seen = upstream.requests().remove(0);
    assert_eq!((seen.target.as_str(), &seen.body), ("/v1/completions?debug=1", &body));
    assert_eq!(seen.headers["host"], "models.example");
    assert_eq!(seen.headers["authorization"], "Bearer secret");
    assert!(!seen.headers.contains_key("x-hop"));
}

#[tokio::test]
async fn http_2_is_served_too() {
    let upstream = Upstream::saying("two").await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let stream = TcpStream::connect(&router.data).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/v1/completions", router.data);
    let request = Request::post(uri).body(Full::new(Bytes::from(completion("hello")))).unwrap();
    let response = within("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "two");
    assert_eq!(upstream.requests()[0].headers["host"], router.data.as_str());
}

#[rstest]
#[case::development_path(Method::POST, "/reset_prefix_cache", StatusCode::NOT_FOUND)]
#[case::no_path(Method::GET, "/", StatusCode::NOT_FOUND)]
#[case::method(Method::GET, "/v1/completions", StatusCode::METHOD_NOT_ALLOWED)]
#[tokio::test]
async fn what_is_not_served_is_refused_in_openais_words(
    #[case] method: Method,
    #[case] path: &str,
    #[case] expected: StatusCode,
) {
    let upstream = Upstream::saying("no").await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let (status, body) = router.request(method, path, "").await;
    assert_eq!(status, expected);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], expected.as_u16());
    assert!(body["error"]["message"].is_string());
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let upstream = Upstream::saying("no").await;
    let router = Router::with(round_robin(), &[&upstream.url]).await;
    let (status, _) = router.request(Method::POST, "/v1/completions", vec![b'x'; (1 << 20) + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    stream.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [b"80000\r\n".as_slice(), &[b'x'; 0x80000], b"\r\n"].concat();
    for _ in 0..3 {
        // The router may answer and close before the last chunk is written.
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut head = [0; 12];
    within("an answer", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn what_is_no_prompt_is_the_servers_to_judge() {
    let upstream = Upstream::saying("judged").await;
    let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {}});
    let router = Router::with(policy, &[&upstream.url]).await;
    for body in ["", "no json", "{\"prompt\": \"", "{\"model\": \"unknown\"}", "{\"prompt\": \"\"}"] {
        let (status, answer) = router.request(Method::POST, "/v1/completions", body).await;
        assert_eq!((status, answer.as_ref()), (StatusCode::OK, b"judged".as_slice()));
    }
    let bodies: Vec<Bytes> = upstream.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[1], "no json");
    assert_eq!(router.metrics().await.tree_nodes, 0);
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
async fn a_full_queue_answers_429_and_those_that_wait_are_served() {
    let (upstream, mut started) = streaming().await;
    let policy = json!({"mode": "LeastLoaded", "maxInFlightPerServer": 1, "queue": {"maximum": 1}});
    let router = Router::with(policy, &[&upstream.url]).await;
    let mut first = Conversation::with(&router.data).await;
    let first = first.post("/v1/completions", completion("first")).await;
    let stream = within("the stream", started.recv()).await.unwrap();

    let data = router.data.clone();
    let second = tokio::spawn(async move {
        let mut client = Conversation::with(&data).await;
        client.post("/v1/completions", completion("second")).await.collect().await.unwrap().to_bytes()
    });
    let waiting = async || router.control(Method::GET, "/metrics", Bytes::new()).await.1.to_string();
    eventually("the second to wait", waiting, |metrics| metrics.contains("teebench_router_waiting 1")).await;

    let mut third = Conversation::with(&router.data).await;
    let third = third.post("/v1/completions", completion("third")).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(third.headers()["retry-after"], "1");

    drop(stream);
    assert_eq!(first.collect().await.unwrap().to_bytes(), "");
    let stream = within("the second stream", started.recv()).await.unwrap();
    stream.send(Ok(Bytes::from_static(b"data: 2\n\n"))).await.unwrap();
    drop(stream);
    assert_eq!(within("the second", second).await.unwrap(), "data: 2\n\n");
    let metrics = router.metrics().await;
    assert_eq!((metrics.queue_full, metrics.queue_waits, metrics.requests), (1, 1, 2));
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_with_503() {
    let (upstream, mut started) = streaming().await;
    let queue = json!({"maximum": 1, "timeoutMilliseconds": 20});
    let policy = json!({"mode": "LeastLoaded", "maxInFlightPerServer": 1, "queue": queue});
    let router = Router::with(policy, &[&upstream.url]).await;
    let mut first = Conversation::with(&router.data).await;
    let _first = first.post("/v1/completions", completion("first")).await;
    let _stream = within("the stream", started.recv()).await.unwrap();
    let (status, _) = router.request(Method::POST, "/v1/completions", completion("second")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(router.metrics().await.queue_timeouts, 1);
}

#[tokio::test]
async fn a_request_that_costs_nothing_needs_no_slot() {
    let streams = Arc::new(Mutex::new(Vec::new()));
    let open = streams.clone();
    let upstream = Upstream::start(move |head, _| {
        let open = open.clone();
        async move {
            if head.uri.path() == "/v1/models" {
                return whole("models");
            }
            let (response, sender) = event_stream();
            open.lock().unwrap().push(sender);
            response
        }
    })
    .await;
    let policy = json!({"mode": "LeastLoaded", "maxInFlightPerServer": 1, "queue": {"maximum": 0}});
    let router = Router::with(policy, &[&upstream.url]).await;
    let mut first = Conversation::with(&router.data).await;
    let _first = first.post("/v1/completions", completion("first")).await;
    let (status, body) = router.request(Method::GET, "/v1/models", "").await;
    assert_eq!((status, body.as_ref()), (StatusCode::OK, b"models".as_slice()));
    assert_eq!(router.metrics().await.requests, 1, "it is no work");
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

#[tokio::test]
async fn a_neutral_router_answers_503_until_its_first_epoch() {
    let upstream = Upstream::saying("begun").await;
    let router = Router::neutral();
    let (status, body) = router.request(Method::POST, "/v1/completions", completion("hello")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["type"], "ServiceUnavailableError");
    router.begin(&epoch(1, round_robin(), &[&upstream.url], &[])).await;
    assert_eq!(router.complete("hello").await, "begun");
}
