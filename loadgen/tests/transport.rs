//! HTTP/2 and TLS against real servers: the same records as over plain HTTP/1.1.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Version;
use rstest::rstest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use common::server::{Reply, Server, completion};
use common::tls::TlsListener;
use teebench_loadgen::client::{HttpOptions, HttpVersion, LoadSpec, Progress, Target, Trust, measure, served_models};
use teebench_loadgen::dataset::{PlannedRequest, Prompt};
use teebench_loadgen::record::{Measured, RequestRecord};

async fn measured(base_url: &str, http: HttpOptions) -> Measured {
    let request = PlannedRequest {
        prompt: Prompt::Text("x ".repeat(40_000)),
        expected_prompt_tokens: 40_000,
        max_tokens: 5,
        temperature: None,
    };
    let target = Target { base_url: base_url.to_owned(), max_in_flight: None };
    let mut spec = LoadSpec::new(Arc::new(vec![request; 12]), vec![target], "m");
    spec.http = http;
    spec.max_concurrency = NonZeroU32::new(4);
    spec.request_timeout = Duration::from_secs(60);
    measure(&spec, watch::Sender::new(Progress::default()), CancellationToken::new()).await.unwrap()
}

fn assert_all_succeeded(measured: &Measured) {
    let errors: Vec<&str> = measured.records.iter().filter_map(|record| record.error.as_deref()).collect();
    assert_eq!(errors, Vec::<&str>::new());
    assert!(measured.records.iter().all(|record| record.output_chunks() == 5 && record.output_tokens() == 5));
}

#[tokio::test]
async fn http2_is_spoken_from_the_first_byte() {
    let server = Server::start(|_, _| Reply::Stream(completion(5))).await;
    let http = HttpOptions { version: HttpVersion::Http2, ..HttpOptions::default() };
    let measured = measured(&server.base_url, http).await;
    assert_all_succeeded(&measured);
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.version == Version::HTTP_2 && seen.path == "/v1/completions"), "{seen:?}");
    // Kept alive: far fewer connections than requests.
    assert!(server.connections() <= 8, "{} connections", server.connections());
}

#[rstest]
#[case::http1(HttpVersion::Http1, Version::HTTP_11)]
#[case::http2(HttpVersion::Http2, Version::HTTP_2)]
#[tokio::test]
async fn a_trusted_server_is_measured_over_tls(#[case] version: HttpVersion, #[case] spoken: Version) {
    let listener = TlsListener::bind(&["h2", "http/1.1"]).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &listener.certificate_pem).unwrap();
    let server = Server::start_on(listener.base_url(), listener, |_, _| Reply::Stream(completion(5)));
    let http = HttpOptions { version, trust: Trust::Authorities(ca_file), ..HttpOptions::default() };
    assert_all_succeeded(&measured(&server.base_url, http).await);
    assert!(server.seen().iter().all(|seen| seen.version == spoken));
}

#[tokio::test]
async fn a_stranger_is_measured_only_when_anyone_is_trusted() {
    let listener = TlsListener::bind(&["http/1.1"]).await;
    let server = Server::start_on(listener.base_url(), listener, |_, _| Reply::Stream(completion(5)));
    let other = TlsListener::bind(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &other.certificate_pem).unwrap();
    let trust = |trust| HttpOptions { trust, ..HttpOptions::default() };
    let refused = measured(&server.base_url, trust(Trust::Authorities(ca_file))).await;
    for record in &refused.records {
        let error = record.error.as_deref().unwrap();
        assert!(error.contains("certificate"), "{error}");
    }
    assert_all_succeeded(&measured(&server.base_url, trust(Trust::Anyone)).await);
}

#[tokio::test]
async fn models_are_asked_for_over_tls_with_the_runs_headers() {
    let listener = TlsListener::bind(&["h2"]).await;
    let server = Server::start_on(listener.base_url(), listener, |_, _| {
        Reply::Stream(vec![br#"{"data":[{"id":"m1"}]}"#.to_vec()])
    });
    let mut http = HttpOptions { version: HttpVersion::Http2, trust: Trust::Anyone, ..HttpOptions::default() };
    http.headers.insert("authorization", "Bearer key".parse().unwrap());
    let models = served_models(&server.base_url, &http, Duration::from_secs(60)).await.unwrap();
    assert_eq!(models, ["m1"]);
    assert_eq!(server.seen()[0].headers["authorization"], "Bearer key");
}

#[tokio::test]
async fn a_server_of_http1_alone_fails_requests_of_http2() {
    let listener = TlsListener::bind(&["http/1.1"]).await;
    let server = Server::start_on(listener.base_url(), listener, |_, _| Reply::Stream(completion(5)));
    let http = HttpOptions { version: HttpVersion::Http2, trust: Trust::Anyone, ..HttpOptions::default() };
    let measured = measured(&server.base_url, http).await;
    assert!(measured.records.iter().all(|record: &RequestRecord| !record.succeeded()));
}
