//! Parts of a run, however it was shared, merge into the run: the same files to the byte.

use jiff::civil::date;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::arrivals::{Arrivals, Burstiness};
use crate::client::{Backend, Share};
use crate::client_file::client_file;
use crate::record::Usage;
use crate::result_file::{Format, Metric, ResultOptions, Slo, write_bench_json_to};
use crate::testing::success;

/// A run of `requests` on the monotonic clock; every fifth failed.
fn run(requests: usize, seed: u64) -> Measured {
    let mut state = seed | 1;
    let mut draw = || {
        // xorshift64: any irregular numbers do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut start_s = 1_000.0 + draw();
    let records: Vec<RequestRecord> = (0..requests)
        .map(|index| {
            start_s += draw() / 50.0;
            let itls_s: Vec<f64> = (0..index % 7).map(|_| draw() / 100.0).collect();
            let ttft_s = 0.01 + draw();
            let latency_s = itls_s.iter().fold(ttft_s, |at_s, itl_s| at_s + itl_s);
            let mut record = success(start_s, ttft_s, &itls_s, latency_s);
            record.index = index;
            record.intended_s -= draw() / 1_000.0;
            record.lateness_s = record.start_s - record.intended_s;
            record.usage = Some(Usage { prompt_tokens: index as u32 + 5, completion_tokens: itls_s.len() as u32 + 1 });
            if index % 5 == 4 {
                record.error = Some("refused".to_owned());
                record.latency_s = 0.0;
            }
            record
        })
        .collect();
    let probe = ProbeLatencies { latencies_s: vec![draw(), draw()], failed: 1 };
    with_records(records, requests, Some(64), Some(probe))
}

/// A measurement of these records by one generator of `limit`, in nanoseconds as its clock would have them.
fn with_records(
    records: Vec<RequestRecord>,
    planned_requests: usize,
    limit: Option<u32>,
    probe: Option<ProbeLatencies>,
) -> Measured {
    let start_s = records.iter().map(|record| record.start_s).fold(f64::INFINITY, f64::min);
    let end_s = records.iter().map(|record| record.end_s).fold(0.0, f64::max);
    let unix_ns = |instant_s: f64| 1_700_000_000_000_000_000 + (instant_s * 1e9).round() as u64;
    Measured {
        window: Window { start_s, end_s, start_unix_ns: unix_ns(start_s), end_unix_ns: unix_ns(end_s) },
        records,
        ended_at: date(2026, 1, 1).at(0, 0, 0, 0),
        offered: Offered { planned_requests, timed: true, max_concurrency: limit },
        rate_changes: vec![RateChange { rps: 3, at: date(2026, 1, 1).at(0, 0, 0, 0) }],
        probe,
        client: ClientUsage { cpu_share: 0.25, sockets_opened: 0 },
        partial: false,
    }
}

/// What `of` generators would have measured of the run, each on a clock `apart_s` from the one before.
fn shared(whole: &Measured, of: u32, apart_s: f64) -> Vec<Measured> {
    (0..of)
        .map(|number| {
            let share = Share::new(number, of).unwrap();
            let records: Vec<_> =
                share.indices(whole.records.len()).map(|index| whole.records[index].clone()).collect();
            let probe = whole.probe.clone().filter(|_| number == 0);
            let limit = whole.offered.max_concurrency.map(|limit| share.of_limit(limit));
            let mut part = with_records(records.clone(), records.len(), limit, probe);
            let shift_s = f64::from(number) * apart_s;
            part.records = part.records.into_iter().map(|record| shifted(record, shift_s)).collect();
            part.window.start_s += shift_s;
            part.window.end_s += shift_s;
            part
        })
        .collect()
}

/// Both files of a measurement.
fn files(measured: &Measured) -> (String, String) {
    let options = ResultOptions {
        format: Format::Vllm032,
        detailed: true,
        backend: Backend::Openai,
        label: None,
        model_id: "m".to_owned(),
        tokenizer_id: Some("m".to_owned()),
        num_prompts: measured.offered.planned_requests as u64,
        metadata: vec![],
        arrivals: Arrivals::Rate { requests_per_s: 50.0, burstiness: Burstiness::POISSON },
        max_concurrency: measured.offered.max_concurrency,
        metrics: Metric::ALL.to_vec(),
        percentiles: ResultOptions::CAMPAIGN_PERCENTILES.to_vec(),
        slo: Slo { ttft_ms: Some(500.0), tpot_ms: None, e2el_ms: None },
    };
    let mut bench = Vec::new();
    write_bench_json_to(measured, &options, &mut bench).unwrap();
    (String::from_utf8(bench).unwrap(), serde_json::to_string(&client_file(measured)).unwrap())
}

/// As it travels from a generator to whoever merges.
fn sent(part: &Measured) -> Measured {
    serde_json::from_str(&serde_json::to_string(part).unwrap()).unwrap()
}

proptest! {
    // A case writes and reads eight runs; unoptimised, 256 of them would take half a minute.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parts_of_one_clock_merge_to_the_byte(requests in 8..80_usize, of in 1..8_u32, seed: u64, reversed: bool) {
        let whole = run(requests, seed);
        let mut parts: Vec<Measured> = shared(&whole, of, 0.0).iter().map(sent).collect();
        if reversed {
            parts.reverse();
        }
        let merged = merge(parts).unwrap();
        prop_assert_eq!(files(&merged), files(&whole));
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn parts_of_other_machines_are_aligned_by_their_unix_clocks(of in 2..6_u32, apart_s in -5e3..5e3f64, seed: u64) {
        let whole = run(40, seed);
        let merged = merge(shared(&whole, of, apart_s)).unwrap();
        prop_assert!((merged.window.duration_s() - whole.window.duration_s()).abs() < 1e-5);
        for (found, expected) in merged.records.iter().zip(&whole.records) {
            prop_assert!((found.start_s - expected.start_s).abs() < 1e-5);
            prop_assert_eq!((found.ttft_s, found.latency_s), (expected.ttft_s, expected.latency_s));
        }
    }
}

#[rstest]
#[case::none(vec![], "no part")]
#[case::one_twice(vec![run(8, 1), run(8, 1)], "request 0 is in two parts")]
#[case::one_missing(shared(&run(8, 1), 2, 0.0).split_off(1), "request 0 is in no part")]
#[case::an_open_and_a_closed_loop(
    {
        let mut parts = shared(&run(8, 1), 2, 0.0);
        parts[1].offered.timed = false;
        parts
    },
    "offered in different ways"
)]
#[case::a_limit_and_none(
    {
        let mut parts = shared(&run(8, 1), 2, 0.0);
        parts[1].offered.max_concurrency = None;
        parts
    },
    "offered in different ways"
)]
fn what_is_not_one_run_is_refused(#[case] parts: Vec<Measured>, #[case] words: &str) {
    let error = merge(parts).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_part_that_was_cut_short_leaves_gaps_and_a_mark() {
    let whole = run(8, 3);
    let mut parts = shared(&whole, 2, 0.0);
    parts[1].records.truncate(2);
    parts[1].partial = true;
    let merged = merge(parts).unwrap();
    let indices: Vec<usize> = merged.records.iter().map(|record| record.index).collect();
    assert_eq!((indices, merged.partial), (vec![0, 1, 2, 3, 4, 6], true));
}
