//! Clients that take their time, and those that are too many: each has a deadline, and together they are bounded.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use serde_json::Value;
use teebench_router::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use support::{
    Conversation, FrameByFrame, Router, Upstream, completion, eventually, streaming, test_limits, whole, within,
};

/// Long enough for a request on a busy machine.
const SHORT: Duration = Duration::from_millis(500);

fn impatient() -> Limits {
    Limits { head_timeout: SHORT, body_timeout: SHORT, stall_timeout: SHORT, ..test_limits() }
}

/// Connects and sends `bytes`.
async fn opened(router: &Router, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Reads until the router closes; how it closes does not matter.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    drop(within("the router to close", stream.read_to_end(&mut read)).await);
    read
}

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[rstest]
#[case::nothing("")]
#[case::one_byte("P")]
#[case::half_a_head("POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-le")]
#[case::half_a_preface(&PREFACE[..9])]
#[case::a_preface_alone(PREFACE)]
#[case::settings_alone(&format!("{PREFACE}\0\0\0\x04\0\0\0\0\0"))]
#[case::half_a_frame(&format!("{PREFACE}\0\0\0\x04\0\0\0\0\0\0\0\x20\x01\x04\0\0\0\x01abc"))]
#[case::headers_that_never_end(&format!("{PREFACE}\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\u{4}"))]
#[tokio::test]
async fn a_request_that_does_not_come_is_not_waited_for(#[case] bytes: &str) {
    let upstream = Upstream::saying("served").await;
    let router = Router::limited(impatient(), &upstream.url).await;
    let mut stream = opened(&router, bytes.as_bytes()).await;
    closed(&mut stream).await;
    assert_eq!(router.complete("another").await, "served");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_idle_connection_of_http_2_is_closed() {
    let upstream = Upstream::saying("served").await;
    let router = Router::limited(impatient(), &upstream.url).await;
    let stream = TcpStream::connect(&router.data).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}/v1/completions", router.data);
    let request = Request::post(uri).body(Full::new(Bytes::from(completion("hello")))).unwrap();
    let response = within("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "served");
    within("its end", connection).await.unwrap().unwrap();
}

#[rstest]
#[case::http_1(false)]
#[case::http_2(true)]
#[tokio::test]
async fn a_stream_may_last_longer_than_a_head(#[case] is_http_2: bool) {
    let (upstream, mut started) = streaming().await;
    let router = Router::limited(impatient(), &upstream.url).await;
    let stream = TcpStream::connect(&router.data).await.unwrap();
    let uri = format!("http://{}/v1/completions", router.data);
    let request = Request::post(uri).header("host", "a").body(Full::new(Bytes::from(completion("hello")))).unwrap();
    let response = if is_http_2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        within("an answer", sender.send_request(request)).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        within("an answer", sender.send_request(request)).await
    };
    let events = within("the stream", started.recv()).await.unwrap();
    for _ in 0..4 {
        // Each of these is closed no sooner than after the time for a head.
        closed(&mut opened(&router, b"").await).await;
    }
    events.send(Ok(Bytes::from_static(b"data: late\n\n"))).await.unwrap();
    drop(events);
    assert_eq!(within("the stream", response.unwrap().collect()).await.unwrap().to_bytes(), "data: late\n\n");
}

#[rstest]
#[case::sized("content-length: 100\r\n\r\n{\"prompt\":")]
#[case::in_chunks("transfer-encoding: chunked\r\n\r\n5\r\n{\"pro\r\n")]
#[case::in_half_a_chunk("transfer-encoding: chunked\r\n\r\n500\r\n{\"pro")]
#[tokio::test]
async fn a_body_that_does_not_come_gets_408(#[case] rest: &str) {
    let upstream = Upstream::saying("served").await;
    let router = Router::limited(Limits { head_timeout: Duration::from_secs(75), ..impatient() }, &upstream.url).await;
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: a\r\n{rest}");
    let answer = closed(&mut opened(&router, head.as_bytes()).await).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the body did not come within 500ms"), "{answer}");
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_body_that_does_not_come_over_http_2_gets_408() {
    let upstream = Upstream::saying("served").await;
    let router = Router::limited(impatient(), &upstream.url).await;
    let stream = TcpStream::connect(&router.data).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (pieces, body) = mpsc::channel(1);
    pieces.send(Ok(Bytes::from_static(b"{"))).await.unwrap();
    let request = Request::post(format!("http://{}/v1/completions", router.data)).body(FrameByFrame(body)).unwrap();
    let response = within("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    drop(pieces);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_left() {
    let (upstream, mut started) = streaming().await;
    let router = Router::limited(impatient(), &upstream.url).await;
    let body = completion("hello");
    let length = body.len();
    let request = format!("POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}");
    let _deaf = opened(&router, request.as_bytes()).await;
    let events = within("the stream", started.recv()).await.unwrap();
    let piece = Bytes::from(vec![b'x'; 1 << 16]);
    within("the server to learn of it", async { while events.send(io::Result::Ok(piece.clone())).await.is_ok() {} })
        .await;
    let in_flight = async || router.worker(0).await.in_flight;
    eventually("the slot", in_flight, |in_flight| *in_flight == 0).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_that_leaves() {
    let upstream = Upstream::saying("served").await;
    let limits = Limits { connections: 2, ..test_limits() };
    let router = Router::limited(limits, &upstream.url).await;
    let mut first = Conversation::with(&router.data).await;
    let mut second = Conversation::with(&router.data).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.post("/v1/completions", completion("inside")).await.status(), StatusCode::OK);
    }
    let mut third = Conversation::with(&router.data).await;
    let third = tokio::spawn(async move { third.post("/v1/completions", completion("outside")).await.status() });
    for _ in 0..20 {
        let response = first.post("/v1/completions", completion("inside")).await;
        assert_eq!(response.collect().await.unwrap().to_bytes(), "served");
    }
    assert_eq!(upstream.requests().len(), 22, "none of one outside");
    second.hang_up().await;
    assert_eq!(within("the third", third).await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn bodies_beyond_the_limit_of_all_are_refused_until_others_are_done() {
    let (held, release) =
        (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
    let (enters, leaves) = (held.clone(), release.clone());
    let upstream = Upstream::start(move |_, _| {
        let (enters, leaves) = (enters.clone(), leaves.clone());
        async move {
            enters.notify_one();
            leaves.notified().await;
            whole("done")
        }
    })
    .await;
    let router = Router::limited(Limits { bodies_bytes: 100_000, ..test_limits() }, &upstream.url).await;
    let large = completion(&"x".repeat(80_000));
    let mut first = Conversation::with(&router.data).await;
    let body = large.clone();
    let first = tokio::spawn(async move { first.post("/v1/completions", body).await.status() });
    within("the first at the server", held.notified()).await;

    let mut second = Conversation::with(&router.data).await;
    let refused = second.post("/v1/completions", large.clone()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    let error: Value = serde_json::from_slice(&refused.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(error["error"]["type"], "ServiceUnavailableError");
    let mut small = Conversation::with(&router.data).await;
    let small = tokio::spawn(async move { small.post("/v1/completions", completion("small")).await.status() });
    within("the small one at the server", held.notified()).await;

    release.notify_waiters();
    assert_eq!(within("the first", first).await.unwrap(), StatusCode::OK);
    assert_eq!(within("the small one", small).await.unwrap(), StatusCode::OK);
    release.notify_one();
    let again = router.request(Method::POST, "/v1/completions", large).await;
    assert_eq!(again.0, StatusCode::OK, "what was held is free again");
}

#[tokio::test]
async fn a_body_in_a_thousand_pieces_passes_byte_for_byte() {
    let upstream = Upstream::saying("read").await;
    let router = Router::limited(Limits { bodies_bytes: 1 << 20, ..test_limits() }, &upstream.url).await;
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut stream =
        opened(&router, b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in body.chunks(1000) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        stream.write_all(piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    within("an answer", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let seen = upstream.requests().remove(0);
    assert!(seen.body == body, "{} bytes came", seen.body.len());
    assert_eq!(seen.headers["content-length"], "1000000");
    assert!(!seen.headers.contains_key("transfer-encoding"));
}
