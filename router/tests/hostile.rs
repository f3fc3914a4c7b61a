//! What no client should send: a clear answer or a closed connection, and the next request is served.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{Router, Upstream, eventually, within};

const HEAD: &str = "POST /v1/completions HTTP/1.1\r\nhost: a\r\n";

#[rstest]
#[case::no_http("what is this\r\n\r\n".into(), "400")]
#[case::a_huge_header(format!("{HEAD}x: {}\r\n\r\n", "y".repeat(1 << 20)), "431")]
#[case::two_lengths(format!("{HEAD}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), "400")]
#[case::a_length_that_is_no_number(format!("{HEAD}content-length: many\r\n\r\n"), "400")]
#[case::a_length_beyond_the_limit(format!("{HEAD}content-length: 99999999999\r\n\r\n"), "413")]
#[case::a_broken_chunk(format!("{HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n"), "408")]
#[tokio::test]
async fn what_is_no_request_is_refused(#[case] request: String, #[case] status: &str) {
    let upstream = Upstream::saying("well").await;
    let router = Router::with(json!({"mode": "HashRadixTree", "hashRadixTree": {}}), &[&upstream.url]).await;
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    // The router may close before it has read all.
    drop(stream.write_all(request.as_bytes()).await);
    let mut head = [0; 12];
    let read = within("an answer", stream.read_exact(&mut head)).await;
    if read.is_ok() {
        assert_eq!(str::from_utf8(&head).unwrap(), format!("HTTP/1.1 {status}"));
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(router.complete("and now").await, "well");
}

#[rstest]
#[case::deep(format!("{}{}", "[".repeat(300_000), "]".repeat(300_000)))]
#[case::deep_messages(format!(r#"{{"messages":[{{"content":[{}"#, r#"{"text":["#.repeat(50_000)))]
#[case::a_prompt_given_twice(r#"{"prompt":"a","prompt":"b"}"#.into())]
#[case::many_messages(format!(r#"{{"messages":[{}{{}}]}}"#, r#"{"role":"user","content":"a"},"#.repeat(25_000)))]
#[case::a_number_of_many_digits(format!(r#"{{"max_tokens":{}}}"#, "9".repeat(100_000)))]
#[case::half_a_surrogate(r#"{"prompt":"\ud800 \udc00 \u12"}"#.into())]
#[tokio::test]
async fn what_is_no_sensible_prompt_is_the_servers_to_judge(#[case] body: String) {
    let upstream = Upstream::saying("judged").await;
    let router = Router::with(json!({"mode": "HashRadixTree", "hashRadixTree": {}}), &[&upstream.url]).await;
    let (_, answer) = router.request(http::Method::POST, "/v1/chat/completions", body.clone()).await;
    assert_eq!(answer, "judged");
    assert_eq!(upstream.requests()[0].body, body);
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_untouched() {
    let upstream = Upstream::saying("judged").await;
    let router = Router::with(json!({"mode": "HashRadixTree", "hashRadixTree": {}}), &[&upstream.url]).await;
    let body = b"{\"prompt\":\"\xff\xfe\xc3\x28\"}".to_vec();
    let (_, answer) = router.request(http::Method::POST, "/v1/completions", body.clone()).await;
    assert_eq!(answer, "judged");
    assert_eq!(upstream.requests()[0].body, body);
}

#[tokio::test]
async fn trace_context_reaches_the_server_and_expect_does_not() {
    let upstream = Upstream::saying("traced").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    let request = format!("{HEAD}traceparent: {trace}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    within("the word to go on", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 100");
    stream.write_all(b"{}").await.unwrap();
    eventually("the request", async || upstream.requests().len(), |requests| *requests == 1).await;
    let seen = upstream.requests().remove(0);
    assert_eq!(seen.headers["traceparent"], trace);
    assert!(!seen.headers.contains_key("expect"));
}

#[tokio::test]
async fn trailers_of_an_answer_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let answer =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.read(&mut [0; 1]).await
    });
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&url]).await;
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    let request = format!("{HEAD}te: trailers\r\nconnection: te, close\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{answer}");
}
