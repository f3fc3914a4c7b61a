//! Slow and broken clients, crashes and restarts.

use std::{convert::Infallible, fs, io, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    store::{service::Tls, sha256_hex},
    testing::https_client,
};

/// A body that gives these pieces and then never ends.
fn stalled(pieces: &'static [&'static str]) -> http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error> {
    let given = stream::iter(pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))));
    StreamBody::new(given.chain(stream::pending())).boxed_unsync()
}

#[tokio::test]
async fn a_body_that_stalls_is_refused_and_leaves_nothing() {
    let lab = Lab::start(Limits { pause_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let sum = sha256_hex(b"0123456789");
    let request = Request::put(format!("{}/v1/blobs/{sum}", lab.upload))
        .header(header::AUTHORIZATION, "Bearer token-1")
        .header(header::CONTENT_LENGTH, 10)
        .body(stalled(&["0123"]))
        .unwrap();

    let answer = lab.request(request).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::REQUEST_TIMEOUT, "TooSlow"), "{answer:?}");
    assert_eq!(staged(&lab, 1).await, 0);
    lab.put("token-1", b"0123456789").await;
}

#[tokio::test]
async fn a_body_that_trickles_is_refused_when_its_whole_time_is_up() {
    let limits = Limits { body_timeout: Duration::from_millis(100), ..Limits::default() };
    let lab = Lab::start(limits).await;
    let drops = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"."))), ()))
    });
    let request = Request::put(format!("{}/v1/blobs/{}", lab.upload, "0".repeat(64)))
        .header(header::AUTHORIZATION, "Bearer token-1")
        .header(header::CONTENT_LENGTH, 100_000)
        .body(StreamBody::new(drops).boxed_unsync())
        .unwrap();

    let answer = lab.request(request).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::REQUEST_TIMEOUT, "TooSlow"), "{answer:?}");
}

#[tokio::test]
async fn a_length_must_be_said() {
    let lab = Lab::start(Limits::default()).await;
    let chunked = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))) });
    let request = Request::put(format!("{}/v1/blobs/{}", lab.upload, sha256_hex(b"x")))
        .header(header::AUTHORIZATION, "Bearer token-1")
        .body(StreamBody::new(chunked).map_err(|never| match never {}).boxed_unsync())
        .unwrap();

    let answer = lab.request(request).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::LENGTH_REQUIRED, "LengthRequired"), "{answer:?}");
}

#[tokio::test]
async fn one_upload_too_many_is_asked_to_come_again() {
    let lab = Lab::start(Limits { uploads_at_once: 1, ..Limits::default() }).await;
    let (release, released) = tokio::sync::watch::channel(false);
    let request = || {
        let mut released = released.clone();
        let body = stream::once(async move {
            released.wait_for(|released| *released).await.unwrap();
            Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"x")))
        });
        Request::put(format!("{}/v1/blobs/{}", lab.upload, sha256_hex(b"x")))
            .header(header::AUTHORIZATION, "Bearer token-1")
            .header(header::CONTENT_LENGTH, 1)
            .body(StreamBody::new(body).boxed_unsync())
            .unwrap()
    };
    let first = async {
        loop {
            // One of the others may have the only place just now.
            let answer = lab.request(request()).await;
            if answer.status != StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
        }
    };
    let others = async {
        // The first holds the only place as soon as its token is reviewed.
        loop {
            let answer = lab.send(Method::PUT, &format!("/v1/blobs/{}", sha256_hex(b"y")), "token-2", "y").await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                release.send(true).unwrap();
                return answer;
            }
        }
    };

    let (first, other) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(first, others) }).await.unwrap();

    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert_eq!(code(&other), "Busy");
}

#[rstest]
#[case::no_handshake(false)]
#[case::half_a_head(true)]
#[tokio::test]
async fn a_connection_that_says_nothing_is_closed(#[case] handshake: bool) {
    let lab = Lab::start(Limits { head_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let address = lab.upload.trim_start_matches("https://").to_owned();
    let mut plain = TcpStream::connect(address.replace("localhost", "127.0.0.1")).await.unwrap();

    let mut rest = Vec::new();
    let closed = async {
        if handshake {
            let ca = fs::read_to_string(&lab.ca_file).unwrap();
            let mut tls = crate::testing::handshake(plain, &ca).await;
            tls.write_all(b"GET /v1/bl").await.unwrap();
            let _ = tls.read_to_end(&mut rest).await;
        } else {
            let _ = plain.read_to_end(&mut rest).await;
        }
    };

    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("the connection stays open");
}

#[tokio::test]
async fn a_client_that_reads_nothing_gives_its_place_up() {
    let limits = Limits { pause_timeout: Duration::from_secs(1), reads_at_once: 1, ..Limits::default() };
    let lab = Lab::start(limits).await;
    let mut files = uploaded(&lab, 1).await;
    // More than the buffers of both sockets take.
    files.push(("loadgen.log", lab.put("token-1", &vec![b'.'; 24 << 20]).await));
    let attempt = commit(&lab, "token-1", &files).await.body["attempt"].as_str().unwrap().to_owned();
    let address = lab.read.trim_start_matches("https://").replace("localhost", "127.0.0.1");
    let ca = fs::read_to_string(&lab.ca_file).unwrap();
    let mut tls = crate::testing::handshake(TcpStream::connect(address).await.unwrap(), &ca).await;
    let path = format!("/v1/campaigns/{}/runs/{attempt}/loadgen.log", crate::testing::key().directory());
    tls.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut first = [0; 1];
    tls.read_exact(&mut first).await.unwrap();
    assert_eq!(lab.get("/v1/campaigns").await.status, StatusCode::TOO_MANY_REQUESTS);

    let freed = async { while lab.get("/v1/campaigns").await.status != StatusCode::OK {} };

    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("its place is held for ever");
    drop(tls);
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_off_goes_on_where_it_was() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    let dir = lab.stop().await;

    let lab = Lab::start_in(dir, Limits::default()).await;
    let answer = commit(&lab, "token-1", &files).await;

    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(lab.campaign().committed().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_old_uploads_left_is_swept_at_the_start() {
    let lab = Lab::start(Limits::default()).await;
    let files = uploaded(&lab, 1).await;
    let others = uploaded(&lab, 2).await;
    commit(&lab, "token-2", &others).await;
    let dir = lab.stop().await;
    let staging = dir.path().join("store/.operator/staging");
    assert!(staging.exists());
    fs::write(first_directory_of_files(&staging).join("0000#1"), "half").unwrap();

    let lab = Lab::start_in(dir, Limits { staging_age: Duration::ZERO, ..Limits::default() }).await;
    // The service answers once it has swept.
    let answer = commit(&lab, "token-1", &files).await;

    assert_eq!((answer.status, code(&answer)), (StatusCode::PRECONDITION_FAILED, "Missing"), "{answer:?}");
    assert!(!lab.dir.path().join("store/.operator/staging").exists(), "directories of old uploads are left");
}

#[tokio::test]
async fn the_authority_outlives_a_restart_and_is_nobody_elses_to_read() {
    let lab = Lab::start(Limits::default()).await;
    let ca = fs::read_to_string(&lab.ca_file).unwrap();
    let dir = lab.stop().await;

    let lab = Lab::start_in(dir, Limits::default()).await;

    assert_eq!(fs::read_to_string(&lab.ca_file).unwrap(), ca);
    let client = https_client(&ca);
    let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    client.request(Request::get(format!("{}/v1/campaigns", lab.read)).body(empty).unwrap()).await.unwrap();
    let key = fs::metadata(lab.dir.path().join("store/.operator/tls/ca.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

#[test]
fn a_directory_without_a_certificate_is_told_with_what_it_should_have() {
    let dir = tempfile::tempdir().unwrap();

    let error = Tls::from_directory(dir.path()).err().unwrap();

    assert!(error.to_string().contains("tls.crt, tls.key and ca.crt"), "{error}");
}

fn first_directory_of_files(dir: &std::path::Path) -> std::path::PathBuf {
    let entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    match entries.iter().find(|entry| entry.is_dir()) {
        Some(below) => first_directory_of_files(below),
        None => dir.to_owned(),
    }
}
