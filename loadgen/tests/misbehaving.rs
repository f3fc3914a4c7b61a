//! Servers that break the rules: each breach is a failure of its request with a reason, and the run goes on.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;

use rstest::rstest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use common::raw::{Bytes, RawServer, response};
use common::server::{completion, event};
use teebench_loadgen::client::{EVENT_BYTES_MAX, LoadSpec, Progress, Target, measure};
use teebench_loadgen::dataset::{PlannedRequest, Prompt};
use teebench_loadgen::record::{Measured, RequestRecord};

/// Two requests, one after the other.
async fn two_requests(target: Target) -> Measured {
    let request = PlannedRequest {
        prompt: Prompt::Text("x".to_owned()),
        expected_prompt_tokens: 1,
        max_tokens: 4,
        temperature: None,
    };
    let mut spec = LoadSpec::new(Arc::new(vec![request; 2]), vec![target], "m");
    spec.max_concurrency = NonZeroU32::new(1);
    spec.keep_texts = true;
    measure(&spec, watch::Sender::new(Progress::default()), CancellationToken::new()).await.unwrap()
}

/// The first connection gets the bytes, the second a completion.
async fn bad_then_good(bad: Bytes) -> (Measured, RawServer) {
    let server = RawServer::start(move |connection| match connection {
        0 => bad.clone(),
        _ => Bytes::Once(response(&completion(2).concat())),
    })
    .await;
    (two_requests(server.target()).await, server)
}

fn event_of(text: &[u8]) -> Vec<u8> {
    [b"data: {\"choices\":[{\"text\":\"", text, b"\"}]}\n\n"].concat()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[rstest]
#[case::closes_at_once(Vec::new(), "no response")]
#[case::closes_inside_the_head(b"HTTP/1.1 200 OK\r\ncontent-".to_vec(), "no response")]
#[case::closes_inside_a_chunk(format!("{CHUNKED}40\r\ndata: {{").into_bytes(), "the response broke off")]
#[case::closes_between_chunks(format!("{CHUNKED}3\r\n:\n\n\r\n").into_bytes(), "the response broke off")]
#[case::no_http(b"\x16\x03\x01 garbage \xff\xfe\r\n\r\n".to_vec(), "no response")]
#[case::no_chunk_size(format!("{CHUNKED}zzz\r\n").into_bytes(), "the response broke off")]
#[case::no_events(response(b"<html>not a stream</html>\n\n"), "the stream ended without output")]
#[case::no_json(response(b"data: {oops}\n\n"), "is no JSON object of a completion")]
#[case::half_a_code_point(response(&event_of(b"\xe2\x82")), "is no JSON object of a completion")]
#[case::half_a_surrogate_pair(response(&event_of(b"\\ud83d")), "is no JSON object of a completion")]
#[case::only_a_usage(response(&common::server::usage(0)), "the stream ended without output")]
#[case::an_error_in_the_stream(
    response(&[event_of(b"a"), event(r#"{"error":{"message":"engine is dead"}}"#)].concat()),
    "the server reported an error in the stream: engine is dead"
)]
#[case::a_redirect(
    b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere/v1\r\ncontent-length: 0\r\n\r\n".to_vec(),
    "HTTP 307 Temporary Redirect to http://elsewhere/v1: redirects are not followed"
)]
#[case::too_many_requests(
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nslow".to_vec(),
    "HTTP 429 Too Many Requests: slow"
)]
#[case::unavailable(
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\n\r\nloading".to_vec(),
    "HTTP 503 Service Unavailable: loading"
)]
#[case::no_content(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), "HTTP 204 No Content")]
#[tokio::test]
async fn a_breach_fails_its_request_alone(#[case] bytes: Vec<u8>, #[case] reason: &str) {
    let (measured, _server) = bad_then_good(Bytes::Once(bytes)).await;
    let [bad, good] = &measured.records[..] else { panic!("{:?}", measured.records) };
    let error = bad.error.as_deref().unwrap();
    assert!(error.contains(reason), "{error}");
    assert_eq!((good.error.as_deref(), good.output_chunks()), (None, 2));
    assert!(!measured.partial);
}

#[rstest]
#[case::a_line(b"data: ".to_vec())]
#[case::an_event(b"data: x\n".to_vec())]
#[tokio::test]
async fn a_300_mb_line_does_not_fill_the_memory(#[case] opening: Vec<u8>) {
    let piece = opening.repeat((1 << 20) / opening.len());
    let (measured, server) = bad_then_good(Bytes::Repeat(response(b""), piece, 300)).await;
    let errors: Vec<Option<&str>> = measured.records.iter().map(|record| record.error.as_deref()).collect();
    assert_eq!(errors, [Some("an event of the stream is longer than 4194304 bytes"), None]);
    // What was taken and not kept lies in the sockets' buffers.
    assert!(server.written() < 16 * EVENT_BYTES_MAX, "{} bytes were taken", server.written());
}

#[tokio::test]
async fn a_300_mb_head_does_not_fill_the_memory() {
    let line = [b"x-filler: ".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    let (measured, server) = bad_then_good(Bytes::Repeat(b"HTTP/1.1 200 OK\r\n".to_vec(), line, 300)).await;
    assert!(!measured.records[0].succeeded() && measured.records[1].succeeded(), "{:?}", measured.records);
    assert!(server.written() < 16 * EVENT_BYTES_MAX, "{} bytes were taken", server.written());
}

#[tokio::test]
async fn a_code_point_may_come_in_two_halves() {
    let body = event_of("a\u{20ac}b".as_bytes());
    let half = body.iter().position(|byte| *byte == 0xe2).unwrap() + 1;
    let (first, second) = (body[..half].to_vec(), body[half..].to_vec());
    let server = RawServer::start(move |_| Bytes::Repeat(response(&first), second.clone(), 1)).await;
    let measured = two_requests(server.target()).await;
    assert!(measured.records.iter().all(RequestRecord::succeeded), "{:?}", measured.records);
    assert_eq!(measured.records[0].text, "a\u{20ac}b");
}
