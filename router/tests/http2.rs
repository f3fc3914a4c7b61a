//! HTTP/2 on the client's side: the same promises as over HTTP/1.1, with many requests on one connection.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use support::{Router, Upstream, completion, eventually, streaming, within};

async fn connect<B>(router: &Router) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(&router.data).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async { drop(connection.await) });
    sender
}

fn post<B>(router: &Router, body: B) -> Request<B> {
    Request::post(format!("http://{}/v1/completions", router.data)).body(body).unwrap()
}

async fn complete(sender: &mut SendRequest<Full<Bytes>>, router: &Router, prompt: &str) -> Response<Incoming> {
    let request = post(router, Full::from(completion(prompt)));
    within("an answer", sender.send_request(request)).await.unwrap()
}

fn bounded() -> Value {
    json!({"mode": "LeastLoaded", "maxInFlightPerServer": 4})
}

#[tokio::test]
async fn events_pass_as_they_come_and_streams_do_not_wait_for_each_other() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(bounded(), &[&upstream.url]).await;
    let mut sender = connect(&router).await;
    let mut first = complete(&mut sender, &router, "first").await;
    let first_events = within("the first stream", started.recv()).await.unwrap();
    let mut second = complete(&mut sender, &router, "second").await;
    let second_events = within("the second stream", started.recv()).await.unwrap();
    for number in 0..20 {
        for (events, response) in [(&second_events, &mut second), (&first_events, &mut first)] {
            let event = Bytes::from(format!("data: {number}\n\n"));
            events.send(Ok(event.clone())).await.unwrap();
            // The next event is not sent before this one is here.
            let frame = within("an event", response.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event);
        }
    }
    drop(first_events);
    assert_eq!(within("the end", first.collect()).await.unwrap().to_bytes(), "");
    second_events.send(Err(io::Error::other("the engine died"))).await.unwrap();
    let rest = within("the error", second.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert!(rest.starts_with(b"\n\ndata: {\"error\""), "{rest:?}");
    assert!(within("the break", second.frame()).await.unwrap().is_err());
    assert_eq!(complete(&mut sender, &router, "third").await.status(), StatusCode::OK, "the connection lives");
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_cancelled_at_its_worker_at_once() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(bounded(), &[&upstream.url]).await;
    let mut sender = connect(&router).await;
    let response = complete(&mut sender, &router, "left").await;
    let left = within("the stream", started.recv()).await.unwrap();
    let mut stays = complete(&mut sender, &router, "stays").await;
    let events = within("the other stream", started.recv()).await.unwrap();
    drop(response);
    within("the worker to see it", left.closed()).await;
    eventually("the slot", async || router.worker(0).await.in_flight, |in_flight| *in_flight == 1).await;
    events.send(Ok(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
    assert!(within("an event", stays.frame()).await.unwrap().is_ok());
    let metrics = router.metrics().await;
    assert_eq!((metrics.cancelled, metrics.errors), (1, 0), "it was not the worker's fault");
}

#[tokio::test]
async fn a_router_that_ends_lets_streams_end_first() {
    let (upstream, mut started) = streaming().await;
    let router = Router::with(bounded(), &[&upstream.url]).await;
    let mut sender = connect(&router).await;
    let mut response = complete(&mut sender, &router, "hello").await;
    let events = within("the stream", started.recv()).await.unwrap();
    events.send(Ok(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
    within("an event", response.frame()).await.unwrap().unwrap();
    let data = router.data.clone();
    let stopping = tokio::task::spawn_blocking(move || router.stop(Duration::from_secs(60)));
    eventually("the closed port", async || TcpStream::connect(&data).await.is_err(), |is_closed| *is_closed).await;
    events.send(Ok(Bytes::from_static(b"data: 2\n\n"))).await.unwrap();
    drop(events);
    assert_eq!(within("the rest", response.collect()).await.unwrap().to_bytes(), "data: 2\n\n");
    within("the end", stopping).await.unwrap();
}

#[tokio::test]
async fn one_connection_carries_more_requests_than_it_may_at_once() {
    let upstream = Upstream::saying("served").await;
    let router = Router::with(bounded(), &[&upstream.url]).await;
    let sender = connect(&router).await;
    let mut requests = JoinSet::new();
    for number in 0..600 {
        let mut sender = sender.clone();
        let request = post(&router, Full::from(completion(&format!("prompt {number}"))));
        requests.spawn(async move { sender.send_request(request).await.unwrap().collect().await.unwrap().to_bytes() });
    }
    let answers = within("all answers", requests.join_all()).await;
    assert!(answers.len() == 600 && answers.iter().all(|answer| answer == "served"));
    assert_eq!(upstream.requests().len(), 600);
}

#[tokio::test]
async fn trailers_of_a_request_are_kept() {
    let upstream = Upstream::saying("served").await;
    let router = Router::with(bounded(), &[&upstream.url]).await;
    let mut sender = connect(&router).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = Full::new(Bytes::from_static(b"{}")).with_trailers(std::future::ready(Some(Ok(trailers))));
    let response = within("an answer", sender.send_request(post(&router, body))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = upstream.requests().remove(0);
    assert_eq!((seen.headers["trailer"].as_bytes(), seen.body), (b"x-sum".as_slice(), Bytes::from_static(b"{}")));
    assert_eq!(seen.trailers.unwrap()["x-sum"], "7");
}
