//! Several load generators against a server that answers as vLLM does.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::IntoResponse, routing::post};
use futures::stream;
use teebench_loadgen::{
    arrivals::{Arrivals, Burstiness},
    client::{LoadSpec, Progress, Target, measure},
    dataset::{PlannedRequest, Prompt},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{follow::FollowError, *};

const REQUESTS: usize = 40;

/// A server that gives two chunks of output to every request.
async fn engine() -> String {
    let answer = || async {
        let events = ["a", "b"].map(|text| format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\"}}]}}\n\n"));
        let events = events.into_iter().chain(["data: [DONE]\n\n".to_owned()]).map(Ok::<_, Infallible>);
        ([("content-type", "text/event-stream")], Body::from_stream(stream::iter(events))).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/completions", post(answer))).await });
    url
}

fn load(engine: &str) -> LoadSpec {
    let request = |index| PlannedRequest {
        prompt: Prompt::Text(format!("prompt {index}")),
        expected_prompt_tokens: 4,
        max_tokens: 2,
        temperature: None,
    };
    let requests: Vec<PlannedRequest> = (0..REQUESTS).map(request).collect();
    let target = Target { base_url: engine.to_owned(), max_in_flight: None };
    LoadSpec {
        arrivals: Arrivals::Rate { requests_per_s: 400.0, burstiness: Burstiness::POISSON },
        seed: 7,
        ..LoadSpec::new(Arc::new(requests), vec![target], "tiny")
    }
}

fn crew(number: u32, of: u32, meet: &str) -> Crew {
    Crew { number, of, meet: meet.to_owned() }
}

async fn lead(of: u32) -> (Lead, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let meet = listener.local_addr().unwrap().to_string();
    (Lead::on(listener, &crew(0, of, &meet), "salt"), meet)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_of_one_load_are_measured_as_the_whole() {
    let load = load(&engine().await);
    let (lead, meet) = lead(3).await;
    let shown = |_: Progress, _: Duration| {};
    let others = (1..3)
        .map(|number| (crew(number, 3, &meet), load.clone()))
        .map(|(crew, load)| async move { follow(&crew, "salt", &load, shown, CancellationToken::new()).await });
    let first = async {
        lead.gather().await.unwrap();
        let own = lead.share(&load).unwrap();
        let (progress, _) = watch::channel(Progress::default());
        let own = measure(&own, progress, CancellationToken::new()).await.unwrap();
        assert!(own.records.len() < REQUESTS);
        lead.merged(own).await.unwrap()
    };

    let (whole, others) = tokio::join!(first, futures::future::join_all(others));

    assert!(others.iter().all(Result::is_ok), "{others:?}");
    let indices: Vec<usize> = whole.records.iter().map(|record| record.index).collect();
    assert_eq!(indices, (0..REQUESTS).collect::<Vec<_>>());
    assert!(whole.records.iter().all(teebench_loadgen::record::RequestRecord::succeeded), "{:?}", whole.records[0]);
    let planned = load.schedule().unwrap().offsets_s;
    for (record, offset_s) in whole.records.iter().zip(&planned) {
        // Times are told from the first request on; all shares begin at the same moment.
        let found = record.intended_s - whole.records[0].intended_s;
        assert!((found - (offset_s - planned[0])).abs() < 0.05, "request {}: {found} s, not {offset_s}", record.index);
    }
}

#[tokio::test]
async fn a_stranger_is_refused_and_its_part_is_not_taken() {
    let (lead, meet) = lead(2).await;
    let (stranger, load) = (crew(1, 2, &meet), load("http://127.0.0.1:9"));

    let refused = follow(&stranger, "other", &load, |_, _| {}, CancellationToken::new()).await;

    let error = refused.unwrap_err();
    assert!(matches!(error, FollowError::Refused { status, .. } if status == 401), "{error}");
    let waited = tokio::time::timeout(BEAT * 3, lead.gather()).await;
    assert!(waited.is_err(), "a stranger was counted");
}

#[tokio::test]
async fn one_that_is_not_heard_of_fails_the_run_by_its_number() {
    let (lead, _) = lead(2).await;

    assert!(matches!(lead.silent().await, CrewError::Silent { number: 1 }));
}

#[test]
fn a_number_beyond_their_count_is_refused() {
    assert!(matches!(crew(2, 2, "first:8070").share(), Err(CrewError::Number { number: 2, of: 2 })));
}
