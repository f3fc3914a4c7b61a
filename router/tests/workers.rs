//! Workers that break HTTP's rules: the client gets another worker's answer or a clear error, and never a wrong one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use rstest::rstest;
use serde_json::{Value, json};
use teebench_router::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{Conversation, Router, Upstream, completion, eventually, test_limits, within};

/// A worker that says these bytes to every request that comes in one piece; closes after the first if it `closes`.
async fn scripted(answer: impl Into<Vec<u8>>, closes: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(say(stream, answer.clone(), closes));
        }
    });
    url
}

async fn say(mut stream: TcpStream, answer: Vec<u8>, closes: bool) -> std::io::Result<()> {
    while stream.read(&mut [0; 4096]).await? > 0 {
        stream.write_all(&answer).await?;
        if closes {
            break;
        }
    }
    Ok(())
}

fn round_robin() -> Value {
    json!({"mode": "RoundRobin"})
}

#[rstest]
#[case::closes_in_its_head("HTTP/1.1 200 OK\r\ncontent-le".into())]
#[case::speaks_another_language("220 mail.example ready\r\n".into())]
#[case::a_huge_head(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)))]
#[case::very_many_headers(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000)))]
#[case::another_protocol("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".into())]
#[case::two_lengths("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!".into())]
#[case::a_length_that_is_none("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok".into())]
#[case::a_folded_header("HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok".into())]
#[case::a_zero_byte_in_a_header("HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 2\r\n\r\nok".into())]
#[case::a_carriage_return_in_a_header("HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\nok".into())]
#[case::only_informed("HTTP/1.1 103 Early Hints\r\n\r\n".into())]
#[tokio::test]
async fn one_that_begins_no_answer_is_replaced(#[case] answer: String) {
    let bad = scripted(answer, true).await;
    let good = Upstream::saying("well").await;
    let router = Router::with(round_robin(), &[&bad, &good.url]).await;
    for _ in 0..4 {
        assert_eq!(router.complete("hello").await, "well");
    }
    let bad = router.worker(0).await;
    assert_eq!((bad.requests, bad.in_flight), (0, 0));
    assert!(bad.errors > 0);
}

#[rstest]
#[case::informs_first(
    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    false
)]
#[case::http_1_0("HTTP/1.0 200 OK\r\n\r\nok", true)]
#[case::http_1_0_sized("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", true)]
#[case::no_length("HTTP/1.1 200 OK\r\n\r\nok", true)]
#[case::more_than_its_length("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more", false)]
#[case::two_answers(
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
    false
)]
#[case::length_and_chunks(
    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    false
)]
#[case::a_long_length_and_chunks(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    false
)]
#[case::a_length_twice("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", false)]
#[case::a_list_of_lengths("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", false)]
#[tokio::test]
async fn an_answer_has_one_end(#[case] answer: &str, #[case] closes: bool) {
    let url = scripted(answer, closes).await;
    let router = Router::with(round_robin(), &[&url]).await;
    let mut client = Conversation::with(&router.data).await;
    for _ in 0..10 {
        let response = client.post("/v1/completions", completion("hello")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("link"));
        assert_eq!(within("the body", response.collect()).await.unwrap().to_bytes(), "ok");
    }
    let worker = router.worker(0).await;
    assert_eq!((worker.errors, worker.in_flight), (0, 0));
}

#[rstest]
#[case::less_than_its_length("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")]
#[case::chunks_that_break_off("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")]
#[case::a_broken_chunk("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n")]
#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole(#[case] answer: &str) {
    let url = scripted(answer, true).await;
    let router = Router::with(round_robin(), &[&url]).await;
    let mut client = Conversation::with(&router.data).await;
    let response = client.post("/v1/completions", completion("hello")).await;
    assert!(within("the end", response.collect()).await.is_err());
    let worker = router.worker(0).await;
    assert_eq!((worker.errors, worker.in_flight), (1, 0));
}

#[rstest]
#[case::no_content("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n", StatusCode::NO_CONTENT)]
#[case::not_modified("HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n", StatusCode::NOT_MODIFIED)]
#[tokio::test]
async fn an_answer_that_has_no_body_has_none(#[case] answer: &str, #[case] expected: StatusCode) {
    let url = scripted(answer, false).await;
    let router = Router::with(round_robin(), &[&url]).await;
    let mut client = Conversation::with(&router.data).await;
    for _ in 0..3 {
        let response = client.post("/v1/completions", completion("hello")).await;
        assert_eq!(response.status(), expected);
        assert_eq!(within("the body", response.collect()).await.unwrap().to_bytes(), "");
    }
}

#[tokio::test]
async fn what_belongs_to_the_workers_connection_stays_there() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-mine\r\nkeep-alive: timeout=5\r\n\
        x-mine: 1\r\nproxy-authenticate: basic\r\nupgrade: h2c\r\nx-yours: 2\r\n\r\nok";
    let url = scripted(answer, false).await;
    let router = Router::with(round_robin(), &[&url]).await;
    let mut client = Conversation::with(&router.data).await;
    let response = client.post("/v1/completions", completion("hello")).await;
    let mut names: Vec<&str> = response.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "x-yours"]);
}

/// The worker reads a little, refuses the request, and reads no more.
#[rstest]
#[case::and_keeps_the_connection(false)]
#[case::and_closes(true)]
#[tokio::test]
async fn a_refusal_before_the_body_is_read_reaches_the_client(#[case] closes: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Less than the head of the request, and more than a probe of its health.
                stream.read_exact(&mut [0; 100]).await?;
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad").await?;
                if closes {
                    // What it closes with bytes unread is reset; a server that means well only says that it is done.
                    stream.shutdown().await?;
                }
                std::future::pending::<std::io::Result<()>>().await
            });
        }
    });
    let limits = Limits { body_bytes: 32 << 20, ..test_limits() };
    let router = Router::limited(limits, &url).await;
    // More than the system holds for a server that does not read.
    let body = Bytes::from(completion(&"x".repeat(24 << 20)));
    for _ in 0..3 {
        let (status, body) = router.request(Method::POST, "/v1/completions", body.clone()).await;
        assert_eq!((status, body.as_ref()), (StatusCode::BAD_REQUEST, b"bad".as_slice()));
    }
    let in_flight = async || router.worker(0).await.in_flight;
    eventually("the slots", in_flight, |in_flight| *in_flight == 0).await;
}
