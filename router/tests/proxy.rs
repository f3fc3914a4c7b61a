//! The data port with real servers behind it: what passes, what is refused, what waits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::{Conversation, Router, Upstream, completion, epoch, event_stream, eventually, streaming, whole, within};

fn round_robin() -> Value {
    json!({"mode": "RoundRobin"})
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
async fn a_neutral_router_answers_503_until_its_first_epoch() {
    let upstream = Upstream::saying("begun").await;
    let router = Router::neutral();
    let (status, body) = router.request(Method::POST, "/v1/completions", completion("hello")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"]["type"], "ServiceUnavailableError");
    router.begin(&epoch(1, round_robin(), &[&upstream.url], &[])).await;
    assert_eq!(router.complete("hello").await, "begun");
}
