//! The statistics equal numpy's and scipy's to 1e-9; `tests/oracle/make_oracle.py` made the figures.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use teebench_analysis::{
    metrics::{Measure, measure_run},
    read::read_bench,
    stats::{self, Interval, percentile, student},
};

#[derive(Deserialize)]
struct Oracle {
    cases: Vec<Case>,
    students: Vec<Student>,
    holm: Holm,
    result_files: Vec<ResultFile>,
}

#[derive(Deserialize)]
struct Case {
    numerator: Vec<f64>,
    denominator: Vec<f64>,
    percentiles: BTreeMap<String, f64>,
    median_interval: Option<[f64; 3]>,
    paired: Paired,
    unpaired: Option<Unpaired>,
    cliffs_delta: f64,
    trend: Option<Line>,
}

#[derive(Deserialize)]
struct Paired {
    mean: f64,
    low: f64,
    high: f64,
    p: f64,
    equivalence_p: f64,
    sign_flip_p: f64,
}

#[derive(Deserialize)]
struct Unpaired {
    difference: f64,
    degrees: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Line {
    slope: f64,
    intercept: f64,
    standard_error: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Student {
    degrees: f64,
    probability: f64,
    quantile: f64,
    cumulative: f64,
}

#[derive(Deserialize)]
struct Holm {
    p_values: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct ResultFile {
    file: String,
    requests: usize,
    figures: BTreeMap<String, f64>,
}

fn oracle() -> Oracle {
    serde_json::from_str(include_str!("oracle/oracle.json")).unwrap()
}

#[track_caller]
fn same(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found} is not {expected}");
}

fn logarithms(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.ln()).collect()
}

#[test]
fn percentiles_and_the_medians_interval_equal_numpys() {
    for case in oracle().cases {
        let mut sorted = case.numerator.clone();
        sorted.sort_by(f64::total_cmp);
        for (percent, expected) in &case.percentiles {
            let found = percentile::percentile_of_sorted(&sorted, percent.parse().unwrap()).unwrap();
            same(&format!("p{percent}"), found, *expected);
        }
        let found = stats::median_interval(&case.numerator);
        assert_eq!(found.is_some(), case.median_interval.is_some());
        if let (Some(found), Some([low, high, coverage])) = (found, case.median_interval) {
            same("low", found.interval.low, low);
            same("high", found.interval.high, high);
            same("coverage", found.coverage, coverage);
        }
    }
}

#[test]
fn paired_ratios_equal_scipys() {
    let margin = Interval { low: 0.98_f64.ln(), high: 1.02_f64.ln() };
    for case in oracle().cases {
        let differences: Vec<f64> =
            logarithms(&case.numerator).iter().zip(logarithms(&case.denominator)).map(|(top, low)| top - low).collect();
        let found = stats::mean_interval(&differences).unwrap();
        same("mean", found.value, case.paired.mean);
        same("low", found.interval.low, case.paired.low);
        same("high", found.interval.high, case.paired.high);
        same("p", found.p, case.paired.p);
        same("equivalence", stats::two_one_sided(&found, margin), case.paired.equivalence_p);
        same("sign flip", stats::sign_flip(&differences, 0).unwrap(), case.paired.sign_flip_p);
        let delta = stats::cliffs_delta(&case.numerator, &case.denominator).unwrap();
        same("Cliff's delta", delta, case.cliffs_delta);
    }
}

#[test]
fn unpaired_ratios_equal_scipys() {
    for (case, expected) in oracle().cases.iter().filter_map(|case| Some((case, case.unpaired.as_ref()?))) {
        let (_, shorter) = case.denominator.split_last().unwrap();
        let found = stats::welch(&logarithms(&case.numerator), &logarithms(shorter)).unwrap();
        same("difference", found.value, expected.difference);
        same("degrees", found.degrees, expected.degrees);
        same("low", found.interval.low, expected.low);
        same("high", found.interval.high, expected.high);
        same("p", found.p, expected.p);
    }
}

#[test]
fn trends_equal_scipys() {
    for (case, expected) in oracle().cases.iter().filter_map(|case| Some((case, case.trend.as_ref()?))) {
        let points: Vec<(f64, f64)> = (0_u32..).map(f64::from).zip(case.numerator.iter().copied()).collect();
        let found = stats::linear_trend(&points).unwrap();
        same("slope", found.slope.value, expected.slope);
        same("intercept", found.intercept, expected.intercept);
        same("standard error", found.slope.standard_error, expected.standard_error);
        same("p", found.slope.p, expected.p);
    }
}

#[test]
fn students_t_equals_scipys() {
    for case in oracle().students {
        same("quantile", student::quantile(case.probability, case.degrees), case.quantile);
        same("cumulative", student::cumulative(1.7, case.degrees), case.cumulative);
    }
}

#[test]
fn holm_equals_the_definition() {
    let Holm { p_values, adjusted } = oracle().holm;
    for (found, expected) in stats::holm(&p_values).into_iter().zip(adjusted) {
        same("adjusted", found, expected);
    }
}

#[test]
fn metrics_of_vllms_own_files_equal_numpys() {
    let files = oracle().result_files;
    assert!(files.len() >= 4);
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(&file.file);
        let metrics = measure_run(&read_bench(&path).unwrap(), None, &[], None, None);
        assert_eq!(metrics.completed, file.requests as u64);
        for measure in [Measure::TTFT, Measure::ITL, Measure::TPOT, Measure::E2EL].concat().iter().map(|pair| pair.1) {
            match metrics.values.get(&measure) {
                Some(value) => same(measure.key(), *value, file.figures[measure.key()]),
                None => assert!(metrics.absent[&measure].contains("needs"), "{measure}"),
            }
        }
    }
}
