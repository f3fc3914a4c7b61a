//! Result files equal those of vLLM's clients: every golden is read back into records and written again.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use rstest::rstest;
use serde_json::{Map, Value};

use common::{Golden, RecordParts, empty_measured, read, record, written};
use teebench_loadgen::record::RequestRecord;
use teebench_loadgen::result_file::{Metric, ResultOptions, Slo};

const TOLERANCE: f64 = 1e-9;

/// Same keys in the same order, same types, equal values; floats within a relative 1e-9.
fn assert_same(found: &Value, golden: &Value, path: &str) {
    match (found, golden) {
        (Value::Object(found), Value::Object(golden)) => {
            let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(found), keys(golden), "{path}: keys");
            for (key, value) in golden {
                assert_same(&found[key], value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(found), Value::Array(golden)) => {
            assert_eq!(found.len(), golden.len(), "{path}: length");
            for (index, value) in golden.iter().enumerate() {
                assert_same(&found[index], value, &format!("{path}[{index}]"));
            }
        }
        (Value::Number(found), Value::Number(golden)) if golden.is_f64() => {
            assert!(found.is_f64(), "{path}: {found} is no float");
            let (found, golden) = (found.as_f64().unwrap(), golden.as_f64().unwrap());
            assert!((found - golden).abs() <= TOLERANCE * golden.abs().max(1e-3), "{path}: {found} is not {golden}");
        }
        _ => assert_eq!(found, golden, "{path}"),
    }
}

/// Files of 0.32 hold every number that theirs were made from: rewritten, they are the same to the byte, numpy's
/// rounding, Python's floats and escapes included.
#[rstest]
#[case("v0.32.0_allfail")]
#[case("v0.32.0_openai-chat_conc4")]
#[case("v0.32.0_openai_200req_conc32")]
#[case("v0.32.0_openai_rampup")]
#[case("v0.32.0_skiptok_custom")]
fn a_detailed_file_is_rewritten_byte_for_byte(#[case] name: &'static str) {
    let golden = Golden::read(name);
    let found = written(&golden.measured(|_| unreachable!("the file has starts")), &golden.options());
    assert_same(&serde_json::from_str(&found).unwrap(), &Value::Object(golden.json.clone()), name);
    assert!(found == golden.text, "{name}: equal in value, not in bytes");
}

/// The latencies of the probe requests are not in the file; they are made to fit its figures, so to rounding alone.
#[test]
fn a_file_with_probe_requests_is_rewritten() {
    let golden = Golden::read("v0.32.0_openai_rate10_gamma_probe");
    let found = written(&golden.measured(|_| unreachable!("the file has starts")), &golden.options());
    assert_same(&serde_json::from_str(&found).unwrap(), &Value::Object(golden.json), golden.name);
}

/// What 0.11 made its latencies from, the time of the usage chunk, is in no array: TPOT and E2EL are left out.
fn assert_same_but_latencies(golden: Golden, start_s: impl Fn(usize) -> f64) {
    let name = golden.name;
    let mut found: Value = serde_json::from_str(&written(&golden.measured(start_s), &golden.options())).unwrap();
    for (key, value) in &golden.json {
        if key.ends_with("_tpot_ms") || key.ends_with("_e2el_ms") {
            assert!(found[key].is_f64(), "{name}: {key}");
            found[key] = value.clone();
        }
    }
    assert_same(&found, &Value::Object(golden.json), name);
}

#[test]
fn a_closed_loop_of_the_old_client_is_rewritten() {
    // All of it fits into a second, wherever its requests start.
    assert_same_but_latencies(Golden::read("v0.11.0_openai-chat_conc4"), |_| 100.0);
}

#[test]
fn an_open_loop_of_the_old_client_is_rewritten() {
    // 0.11 does not write when requests started, but the same seed gave 0.32 the same arrivals.
    let sibling = Golden::read("v0.32.0_openai_rate10_gamma_probe").measured(|_| unreachable!("the file has starts"));
    let arrival = |index: usize| sibling.records[index].start_s - sibling.records[index].queue_s;
    assert_same_but_latencies(Golden::read("v0.11.0_openai_rate10_gamma"), arrival);
}

/// The single gaps are not in the file; all that does not depend on them is compared.
#[test]
fn a_file_without_details_is_rewritten() {
    let golden = Golden::read("v0.32.0_custom_notdetailed");
    let mut found: Value =
        serde_json::from_str(&written(&golden.measured(|_| unreachable!()), &golden.options())).unwrap();
    for key in ["median_itl_ms", "std_itl_ms", "p99_itl_ms"] {
        assert!(found[key].is_f64(), "{key}");
        found[key] = golden.json[key].clone();
    }
    assert_same(&found, &Value::Object(golden.json), golden.name);
}

#[test]
fn metadata_never_overrides_a_result_but_keeps_its_place() {
    let golden = Golden::read("v0.32.0_skiptok_custom");
    let mut options = golden.options();
    let pair = |key: &str| (key.to_owned(), "mine".to_owned());
    options.metadata = vec![pair("completed"), pair("label"), pair("note")];
    let found: Map<String, Value> = serde_json::from_str(&written(&golden.measured(|_| 0.0), &options)).unwrap();
    let place = |key: &str| found.keys().position(|present| present == key).unwrap();
    assert_eq!((&found["completed"], &found["label"], &found["note"]), (&2.into(), &"mine".into(), &"mine".into()));
    assert_eq!(place("completed"), place("num_prompts") + 1);
    assert!(place("label") < place("model_id") && place("note") < place("request_rate"));
}

/// The figures by numpy (`oracle/oracle.py`), independent of how the goldens were summarised.
#[test]
fn figures_agree_with_numpy() {
    let oracle: Value = serde_json::from_str(&read("oracle/expected.json")).unwrap();
    let mut compared = 0;
    for (name, expected) in oracle["figures"].as_object().unwrap() {
        let (records, duration_s, slo, template) = run_named(name);
        let mut measured = empty_measured(duration_s);
        measured.records = records;
        let options = ResultOptions {
            metrics: Metric::ALL.to_vec(),
            percentiles: vec![25.0, 50.0, 75.0, 95.0, 99.0, 99.9],
            tokenizer_id: Some("t".to_owned()),
            slo,
            ..template
        };
        let found: Value = serde_json::from_str(&written(&measured, &options)).unwrap();
        for (key, value) in expected.as_object().unwrap() {
            // Files of 0.11 do not say how many failed.
            if key != "failed" || found.get("failed").is_some() {
                assert_same(&found[key], value, &format!("{name}.{key}"));
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "only {compared} figures compared");
}

fn run_named(name: &str) -> (Vec<RequestRecord>, f64, Slo, ResultOptions) {
    if name == "mixed_run.json" {
        let run: Value = serde_json::from_str(&read("oracle/mixed_run.json")).unwrap();
        let limit = |metric: &str| run["slo_ms"][metric].as_f64();
        let slo = Slo { ttft_ms: limit("ttft"), tpot_ms: limit("tpot"), e2el_ms: limit("e2el") };
        let template = Golden::read("v0.32.0_allfail").options();
        return (mixed_records(&run), run["duration"].as_f64().unwrap(), slo, template);
    }
    let stem: &'static str = name.strip_suffix(".json").unwrap().to_owned().leak();
    let golden = Golden::read(stem);
    let measured = golden.measured(|index| index as f64);
    let options = golden.options();
    (measured.records, measured.window.end_s, Slo::default(), options)
}

fn mixed_records(run: &Value) -> Vec<RequestRecord> {
    let number = |key: &str, index: usize| run[key][index].as_f64().unwrap();
    (0..run["errors"].as_array().unwrap().len())
        .map(|index| {
            record(RecordParts {
                index,
                input: number("input_lens", index) as u32,
                output: number("output_lens", index) as u32,
                ttft_s: number("ttfts", index),
                itls_s: run["itls"][index].as_array().unwrap().iter().map(|itl| itl.as_f64().unwrap()).collect(),
                latency_s: number("latencies", index),
                start_s: number("start_times", index),
                queue_s: 0.0,
                text: "",
                error: run["errors"][index].as_str().unwrap(),
            })
        })
        .collect()
}
