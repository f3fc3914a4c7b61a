//! What no client should send: a clear answer or a closed connection, and the next request is served.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{Router, Upstream, eventually, within};

const HEAD: &str = "POST /v1/completions HTTP/1.1\r\nhost: a\r\n";
const CHUNKED: &str = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

#[rstest]
#[case::no_http("what is this\r\n\r\n".into(), "400")]
#[case::another_version("POST /v1/completions HTTP/3.0\r\nhost: a\r\n\r\n".into(), "400")]
#[case::a_method_that_is_none("PO ST /v1/completions HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400")]
#[case::a_space_in_the_target("POST /v1/com pletions HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400")]
#[case::an_unknown_path("POST /v1/nothing HTTP/1.1\r\nhost: a\r\n\r\n".into(), "404")]
#[case::a_tunnel("CONNECT worker:8000 HTTP/1.1\r\nhost: a\r\n\r\n".into(), "404")]
#[case::another_method("GET /v1/completions HTTP/1.1\r\nhost: a\r\n\r\n".into(), "405")]
#[case::no_host("POST /v1/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}".into(), "400")]
#[case::two_hosts(format!("{HEAD}host: b\r\ncontent-length: 2\r\n\r\n{{}}"), "400")]
#[case::a_huge_header(format!("{HEAD}x: {}\r\n\r\n", "y".repeat(1 << 20)), "431")]
#[case::very_many_headers(format!("{HEAD}{}\r\n", "x: y\r\n".repeat(1000)), "431")]
#[case::a_huge_target(format!("POST /v1/completions?{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(1 << 17)), "414")]
#[case::a_folded_header(format!("{HEAD}x: one\r\n two\r\ncontent-length: 2\r\n\r\n{{}}"), "400")]
#[case::a_space_before_the_colon(format!("{HEAD}content-length : 2\r\n\r\n{{}}"), "400")]
#[case::a_header_without_a_colon(format!("{HEAD}x\r\n\r\n"), "400")]
#[case::a_zero_byte_in_a_header(format!("{HEAD}x: \0\r\n\r\n"), "400")]
#[case::a_carriage_return_in_a_header(format!("{HEAD}x: a\rtransfer-encoding: chunked\r\n\r\n"), "400")]
#[case::two_lengths(format!("{HEAD}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), "400")]
#[case::a_list_of_lengths(format!("{HEAD}content-length: 2, 2\r\n\r\n{{}}"), "400")]
#[case::a_length_that_is_no_number(format!("{HEAD}content-length: many\r\n\r\n"), "400")]
#[case::a_negative_length(format!("{HEAD}content-length: -1\r\n\r\n"), "400")]
#[case::a_length_with_a_sign(format!("{HEAD}content-length: +2\r\n\r\n{{}}"), "400")]
#[case::a_length_beyond_numbers(format!("{HEAD}content-length: 99999999999999999999\r\n\r\n"), "400")]
#[case::a_length_beyond_the_limit(format!("{HEAD}content-length: 99999999999\r\n\r\n"), "413")]
#[case::another_coding(format!("{HEAD}transfer-encoding: gzip\r\n\r\n"), "400")]
#[case::chunks_in_another_coding(format!("{HEAD}transfer-encoding: chunked, gzip\r\n\r\n"), "400")]
#[case::chunks_in_http_1_0("POST /v1/completions HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), "400")]
#[case::a_broken_chunk(format!("{CHUNKED}zz\r\n"), "400")]
#[case::a_chunk_beyond_numbers(format!("{CHUNKED}fffffffffffffffff\r\n"), "400")]
#[case::a_chunk_without_its_end(format!("{CHUNKED}2\r\n{{}}2\r\n"), "400")]
#[case::a_chunk_ended_by_a_bare_line_feed(format!("{CHUNKED}2\n{{}}\r\n0\r\n\r\n"), "400")]
#[case::a_chunk_with_a_huge_extension(format!("{CHUNKED}2;{}", "x".repeat(1 << 17)), "400")]
#[case::huge_trailers(format!("{CHUNKED}0\r\nx: {}", "x".repeat(1 << 17)), "400")]
#[tokio::test]
async fn what_is_no_request_is_refused(#[case] request: String, #[case] status: &str) {
    let upstream = Upstream::saying("well").await;
    let router = Router::with(json!({"mode": "HashRadixTree", "hashRadixTree": {}}), &[&upstream.url]).await;
    assert_eq!(status_of(&router, request.as_bytes()).await, status);
    assert!(upstream.requests().is_empty());
    assert_eq!(router.complete("and now").await, "well");
}

/// The status that a client gets which sends these bytes.
async fn status_of(router: &Router, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    // The router may answer and close before it has read all.
    drop(stream.write_all(request).await);
    status(&mut stream).await
}

async fn status(stream: &mut TcpStream) -> String {
    let mut line = [0; 12];
    within("an answer", stream.read_exact(&mut line)).await.unwrap();
    str::from_utf8(&line).unwrap().strip_prefix("HTTP/1.1 ").unwrap().to_owned()
}

#[tokio::test]
async fn frames_of_http_2_that_are_none_end_the_connection() {
    let upstream = Upstream::saying("well").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    stream.write_all(format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", "x".repeat(100)).as_bytes()).await.unwrap();
    let mut read = Vec::new();
    drop(within("the end", stream.read_to_end(&mut read)).await);
    assert_eq!(router.complete("and now").await, "well");
}

#[rstest]
#[case::of_known_length(format!("{HEAD}content-length: 9\r\n\r\n{{}}"))]
#[case::in_chunks(format!("{CHUNKED}2\r\n{{}}\r\n"))]
#[case::in_a_chunk(format!("{CHUNKED}9\r\n{{}}"))]
#[tokio::test]
async fn a_body_that_breaks_off_is_no_request(#[case] request: String) {
    let upstream = Upstream::saying("well").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(status(&mut stream).await, "400");
    assert!(upstream.requests().is_empty());
}

/// Ends of messages that two readers could see in two places: the router and the server must agree.
#[rstest]
#[case::length_before_chunks("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")]
#[case::chunks_before_length("transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n2\r\n{}\r\n0\r\n\r\n")]
#[case::a_length_twice("content-length: 2\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")]
#[case::bare_line_feeds("x: y\ncontent-length: 2\nconnection: close\n\n{}")]
#[tokio::test]
async fn a_request_has_one_end(#[case] rest: &str) {
    let upstream = Upstream::saying("well").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    let smuggled = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    stream.write_all(format!("{HEAD}{rest}{smuggled}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(within("the end", stream.read_to_end(&mut answer)).await);
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1, "what follows is read by nobody");
    assert_eq!(seen[0].body, "{}");
    assert_eq!(seen[0].headers["content-length"], "2");
    assert!(!seen[0].headers.contains_key("transfer-encoding"));
}

#[rstest]
#[case::deep(format!("{}{}", "[".repeat(300_000), "]".repeat(300_000)))]
#[case::deep_messages(format!(r#"{{"messages":[{{"content":[{}"#, r#"{"text":["#.repeat(50_000)))]
#[case::a_prompt_given_twice(r#"{"prompt":"a","prompt":"b"}"#.into())]
#[case::many_messages(format!(r#"{{"messages":[{}{{}}]}}"#, r#"{"role":"user","content":"a"},"#.repeat(25_000)))]
#[case::a_number_of_many_digits(format!(r#"{{"max_tokens":{}}}"#, "9".repeat(100_000)))]
#[case::an_unknown_model(r#"{"model":"none","prompt":"a"}"#.into())]
#[case::no_json("a=b&c=d".into())]
#[case::nothing(String::new())]
#[case::a_key_given_many_times(format!(r#"{{{}"prompt":"a"}}"#, r#""messages":[{"content":"x"}],"#.repeat(20_000)))]
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
async fn who_expects_to_go_on_with_too_large_a_body_is_refused_at_once() {
    let router = Router::with(json!({"mode": "RoundRobin"}), &["http://127.0.0.1:1"]).await;
    let request = format!("{HEAD}expect: 100-continue\r\ncontent-length: 2000000\r\n\r\n");
    assert_eq!(status_of(&router, request.as_bytes()).await, "413");
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

#[tokio::test]
async fn trailers_of_a_request_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"x-sum: 7\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        sender.send(String::from_utf8(request).unwrap()).unwrap();
    });
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&url]).await;
    let chunks = "2\r\n{}\r\n0\r\nx-sum: 7\r\nconnection: close\r\n\r\n";
    assert_eq!(status_of(&router, format!("{CHUNKED}{chunks}").as_bytes()).await, "200");
    let request = received.await.unwrap();
    assert!(request.contains("\r\ntrailer: x-sum\r\n"), "{request}");
    assert!(!request.contains("content-length"), "{request}");
    assert!(request.ends_with("\r\n\r\n2\r\n{}\r\n0\r\nx-sum: 7\r\n\r\n"), "{request}");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let upstream = Upstream::saying("well").await;
    let router = Router::with(json!({"mode": "RoundRobin"}), &[&upstream.url]).await;
    let mut stream = TcpStream::connect(&router.data).await.unwrap();
    stream.write_all(b"POST /v1/completions HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nwell"), "{answer}");
    let host = upstream.requests()[0].headers["host"].clone();
    assert_eq!(upstream.url, format!("http://{}", host.to_str().unwrap()), "it named none");
}
