//! What the client's account promises: verdicts, true concurrency and rates, latencies from the intended arrival.

use jiff::civil::date;
use rstest::rstest;

use super::*;
use crate::record::{Usage, Window};
use crate::testing::success;

fn measured(records: Vec<RequestRecord>, timed: bool, max_concurrency: Option<u32>, cpu_share: f64) -> Measured {
    let end_s = records.iter().map(|record| record.end_s).fold(100.0, f64::max);
    Measured {
        window: Window { start_s: 100.0, end_s, start_unix_ns: 7, end_unix_ns: 9 },
        ended_at: date(2026, 1, 1).at(0, 0, 0, 0),
        offered: Offered { planned_requests: records.len(), timed, max_concurrency },
        records,
        rate_changes: vec![],
        probe: None,
        client: ClientUsage { cpu_share, sockets_opened: 3 },
        partial: false,
    }
}

fn late(lateness_s: f64) -> RequestRecord {
    let mut record = success(100.0, 0.1, &[], 0.2);
    record.intended_s -= lateness_s;
    record.lateness_s = lateness_s;
    record
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-9
}

#[rstest]
#[case::on_time(0.004, true, 0.5, ClientVerdict::Ok, 0)]
#[case::late(0.006, true, 0.5, ClientVerdict::ClientBottleneck, 1)]
#[case::busy(0.004, true, 0.81, ClientVerdict::ClientBottleneck, 1)]
#[case::late_and_busy(0.006, true, 0.81, ClientVerdict::ClientBottleneck, 2)]
#[case::a_closed_loop_is_never_late(0.006, false, 0.5, ClientVerdict::Ok, 0)]
fn the_verdict_follows_lateness_and_cpu(
    #[case] lateness_s: f64,
    #[case] timed: bool,
    #[case] cpu_share: f64,
    #[case] verdict: ClientVerdict,
    #[case] reasons: usize,
) {
    let file = client_file(&measured(vec![late(lateness_s); 10], timed, None, cpu_share));
    assert_eq!((file.verdict, file.reasons.len()), (verdict, reasons), "{:?}", file.reasons);
    assert_eq!(file.send_lateness_ms.is_some(), timed);
}

#[test]
fn latencies_from_the_intended_arrival_hold_the_wait() {
    let file = client_file(&measured(vec![late(0.5)], true, None, 0.0));
    assert!(near(file.ttft_from_intended_ms.unwrap().max, 600.0));
    assert!(near(file.e2el_from_intended_ms.unwrap().max, 700.0));
    assert!(near(file.ttft_first_output_ms.unwrap().max, 100.0));
}

#[test]
fn requests_one_after_the_other_are_never_together() {
    let one_by_one: Vec<_> = (0..5).map(|index| success(100.0 + f64::from(index) * 0.25, 0.1, &[], 0.25)).collect();
    let file = client_file(&measured(one_by_one, false, Some(1), 0.0));
    assert_eq!(file.peak_concurrency, 1);
    assert!(near(file.mean_concurrency, 1.0), "{}", file.mean_concurrency);
}

#[test]
fn the_output_rate_counts_tokens_not_chunks() {
    let mut record = success(100.0, 0.9, &[0.2, 0.2, 2.0], 3.3);
    record.usage = Some(Usage { prompt_tokens: 1, completion_tokens: 40 });
    // Chunks of ten tokens at 0.9, 1.1, 1.3 and 3.3 s: three within a second, though not within a clock's second.
    let file = client_file(&measured(vec![record], false, None, 0.0));
    assert!(near(file.peak_output_tokens_per_s, 30.0), "{}", file.peak_output_tokens_per_s);
}

#[test]
fn steady_state_lasts_from_the_target_concurrency_to_the_last_start() {
    // Two at a time: the second starts at 1 s, the last at 3 s.
    let starts = [(0.0, 2.0), (1.0, 2.0), (2.0, 2.0), (3.0, 2.0)];
    let records: Vec<_> =
        starts.iter().map(|&(start, length)| success(100.0 + start, 0.5, &[length - 0.5], length)).collect();
    let steady = client_file(&measured(records, false, Some(2), 0.0)).steady_state.unwrap();
    assert!(near(steady.start_s, 1.0) && near(steady.end_s, 3.0), "{steady:?}");
    assert!(near(steady.request_throughput, 0.5), "{steady:?}");
    // Chunks at 1.5, 2.0 and 2.5 s.
    assert!(near(steady.output_throughput, 1.5), "{steady:?}");
}

#[test]
fn an_open_loop_has_no_steady_state_and_a_closed_one_no_intentions() {
    let open = client_file(&measured(vec![late(0.0), late(0.0)], true, None, 0.0));
    assert_eq!((open.steady_state, open.intended_start_s.len()), (None, 2));
    let closed = client_file(&measured(vec![late(0.0)], false, Some(1), 0.0));
    assert_eq!((closed.intended_start_s, closed.e2el_from_intended_ms), (vec![], None));
}

#[test]
fn a_run_cut_before_its_first_request_has_an_account() {
    let file = client_file(&measured(vec![], true, Some(4), 0.0));
    assert_eq!((file.peak_concurrency, file.peak_output_tokens_per_s), (0, 0.0));
    assert_eq!(file.mean_concurrency, 0.0);
}
