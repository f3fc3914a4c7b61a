//! When requests are sent: at their times, within their limits, until the run is ended.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use rstest::rstest;

use common::load::{Running, limit, load, measured};
use common::server::{Reply, Server, completion};
use teebench_loadgen::arrivals::{Arrivals, Burstiness, RampStrategy};
use teebench_loadgen::client::{LoadSpec, Target};
use teebench_loadgen::client_file::client_file;
use teebench_loadgen::record::RequestRecord;

#[tokio::test]
async fn a_closed_loop_keeps_to_its_limit_and_to_its_connections() {
    let server = Server::start(|_, _| Reply::Stream(completion(5))).await;
    let mut spec = load(40, vec![server.target()]);
    spec.max_concurrency = limit(3);
    // Each worker keeps connections of its own.
    spec.workers = limit(1);
    let measured = measured(&spec).await;
    let file = client_file(&measured);
    assert_eq!(measured.records.iter().filter(|record| record.succeeded()).count(), 40);
    assert!(server.peak_in_flight() <= 3 && file.peak_concurrency <= 3, "{file:?}");
    assert!(server.connections() <= 3, "{} connections", server.connections());
    assert_eq!(file.sockets_opened, server.connections() as u64);
    assert!(measured.records.is_sorted_by_key(|record| record.index));
}

#[rstest]
#[case::closed_loop(Arrivals::AllAtOnce { burstiness: Burstiness::POISSON })]
#[case::open_loop(Arrivals::Rate { requests_per_s: 1e4, burstiness: Burstiness::POISSON })]
#[tokio::test]
async fn workers_share_the_limit_and_each_keeps_its_order(#[case] arrivals: Arrivals) {
    let server = Server::start(|_, _| Reply::Stream(completion(3))).await;
    let spec = LoadSpec { arrivals, workers: limit(3), max_concurrency: limit(4), ..load(60, vec![server.target()]) };
    let measured = measured(&spec).await;
    assert!(measured.records.iter().all(RequestRecord::succeeded));
    assert!(measured.records.iter().map(|record| record.index).eq(0..60));
    assert!(server.peak_in_flight() <= 4, "{} in flight", server.peak_in_flight());
    for worker in 0..3 {
        let own: Vec<f64> = measured.records.iter().skip(worker).step_by(3).map(|record| record.start_s).collect();
        assert!(own.is_sorted(), "worker {worker} began its requests at {own:?}");
    }
}

#[tokio::test]
async fn a_cap_holds_for_each_target() {
    let server = Server::start(|_, _| Reply::Stream(completion(5))).await;
    let measured = measured(&LoadSpec { workers: limit(3), ..load(20, vec![capped(&server)]) }).await;
    assert!(measured.records.iter().all(RequestRecord::succeeded));
    assert_eq!(server.peak_in_flight(), 1);
    assert!(server.connections() <= 3, "{} connections", server.connections());
}

#[tokio::test]
async fn waiting_for_a_cap_is_latency_not_queueing() {
    let server = Server::start(|_, _| Reply::Hang(completion(1))).await;
    let spec = load(20, vec![capped(&server)]);
    let running = Running::start(spec);
    // All are begun though the server is given no more than one.
    running.reaches(|progress| progress.in_flight == 20 && progress.output_tokens == 1).await;
    assert_eq!(server.seen().len(), 1);
    assert_eq!(running.cancel().await.records.len(), 20);
}

fn capped(server: &Server) -> Target {
    Target { base_url: server.base_url.clone(), max_in_flight: limit(1) }
}

#[tokio::test]
async fn a_rate_with_a_limit_records_the_wait_for_the_limit() {
    let server = Server::start(|_, _| Reply::Stream(completion(3))).await;
    let mut spec = load(10, vec![server.target()]);
    spec.arrivals = Arrivals::Rate { requests_per_s: 1e5, burstiness: Burstiness::POISSON };
    spec.max_concurrency = limit(1);
    let measured = measured(&spec).await;
    assert_eq!(client_file(&measured).intended_start_s.len(), 10);
    for pair in measured.records.windows(2) {
        assert!(pair[0].end_s <= pair[1].start_s, "two at once: {pair:?}");
        let wait_s = pair[1].start_s - pair[1].intended_s;
        assert!(pair[1].queue_s <= wait_s + 1e-9 && pair[1].lateness_s <= wait_s + 1e-9, "{pair:?}");
    }
}

#[tokio::test]
async fn no_request_is_sent_before_its_time() {
    let server = Server::start(|_, _| Reply::Stream(completion(1))).await;
    let mut spec = load(30, vec![server.target()]);
    spec.arrivals = Arrivals::Rate { requests_per_s: 2000.0, burstiness: Burstiness::new(0.5).unwrap() };
    let measured = measured(&spec).await;
    let planned = spec.arrivals.schedule(30, spec.seed).unwrap().offsets_s;
    for (record, offset_s) in measured.records.iter().zip(&planned) {
        assert!(record.start_s >= record.intended_s - 1e-9);
        let since_first_s = record.intended_s - measured.records[0].intended_s;
        assert!((since_first_s - (offset_s - planned[0])).abs() < 1e-6);
    }
}

#[tokio::test]
async fn a_ramp_notes_each_whole_rate() {
    let server = Server::start(|_, _| Reply::Stream(completion(1))).await;
    let mut spec = load(12, vec![server.target()]);
    let burstiness = Burstiness::POISSON;
    spec.arrivals = Arrivals::Ramp { strategy: RampStrategy::Exponential, start_rps: 500, end_rps: 505, burstiness };
    let rates: Vec<u32> = measured(&spec).await.rate_changes.iter().map(|change| change.rps).collect();
    assert_eq!(rates, [500, 501, 502, 503, 504, 505]);
}

#[tokio::test]
async fn cancelling_ends_with_what_was_measured() {
    // The first two are answered, the others hang.
    let server = Server::start(|_, seen| match seen.body["prompt"].as_str() {
        Some("prompt 0" | "prompt 1") => Reply::Stream(completion(2)),
        _ => Reply::Hang(vec![completion(1)[0].clone()]),
    })
    .await;
    let mut spec = load(50, vec![server.target()]);
    spec.max_concurrency = limit(2);
    // With two, one could have begun a third request when the other has not begun its first.
    spec.workers = limit(1);
    let running = Running::start(spec);
    let seen = running.seen.clone();
    running.reaches(|progress| progress.done == 2 && progress.in_flight == 2 && progress.output_tokens == 6).await;
    let measured = running.cancel().await;
    assert!(measured.partial);
    let errors: Vec<Option<&str>> = measured.records.iter().map(|record| record.error.as_deref()).collect();
    let interrupted = Some("interrupted before its end");
    assert_eq!(errors, [None, None, interrupted, interrupted]);
    assert_eq!(measured.offered.planned_requests, 50);
    let last = *seen.borrow();
    assert_eq!((last.done, last.failed, last.in_flight, last.total), (2, 2, 0, 50));
}
