//! What the analyses say: rows A0 to A15, compatible and corrected.

use std::fs;

use rstest::rstest;
use serde::Deserialize;
use teebench_analysis::notebook::{
    Tree,
    analyses::{Figure, analyse},
};
use teebench_api::campaign::Tee;

use super::{copy, find, here, tree, value};

#[derive(Deserialize)]
struct Oracle {
    rows: Vec<OracleRow>,
}

#[derive(Deserialize)]
struct OracleRow {
    analysis: String,
    experiment: String,
    condition: String,
    tee: Option<Tee>,
    quantity: String,
    value: f64,
}

#[rstest]
fn the_compatible_figures_are_the_notebooks_to_the_last_digit(
    #[values("A0", "A1", "A3", "A4", "A5", "A6", "A7", "A10", "A11", "A12", "A13", "A14")] analysis: &str,
) {
    let oracle: Oracle = serde_json::from_slice(&fs::read(here().join("oracle.json")).unwrap()).unwrap();
    let rows = analyse(&tree());
    let expected: Vec<&OracleRow> = oracle.rows.iter().filter(|row| row.analysis == analysis).collect();
    assert!(!expected.is_empty());
    for want in expected {
        let found = rows.iter().find(|row| {
            row.analysis == want.analysis
                && row.experiment == want.experiment
                && row.condition == want.condition
                && row.tee == want.tee
                && row.quantity == want.quantity
        });
        let found = found.and_then(|row| value(row.compatible.as_ref()));
        assert_eq!(found, Some(want.value), "{} {} {} {:?}", analysis, want.condition, want.quantity, want.tee);
    }
}

#[test]
fn a0_totals_of_directories_that_the_notebook_forgets_are_counted() {
    let rows = analyse(&tree());
    let row = find(&rows, "A0", "my.own_question", None, "runs");
    assert_eq!((value(row.compatible.as_ref()), value(row.corrected.as_ref())), (None, Some(6.0)));
    assert!(!row.reason.is_empty());
}

#[test]
fn a1_failed_requests_are_counted_and_do_not_abort() {
    let copy = copy();
    let path = copy.path().join("throughput_latency/Gemma3 1B/tee_on/throughput_latency_repetition_1.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["errors"][0] = "refused".into();
    file["completed"] = 8.into();
    fs::write(&path, file.to_string()).unwrap();
    let rows = analyse(&Tree::read(copy.path()).unwrap().unwrap());
    let row = find(&rows, "A1", "throughput_latency", Some(Tee::Enabled), "repetition 1: requests");
    assert_eq!(row.corrected, Some(Figure::Words("8 completed, 1 failed".to_owned())));
    assert!(matches!(&row.compatible, Some(Figure::Words(words)) if words.contains("assertion fails")));
}

#[rstest]
#[case::a4_the_rule_chooses("A4", "throughput_latency_mns-calibration", Some(Tee::Enabled), "max-num-seqs")]
#[case::a5_loss_with_interval("A5", "throughput_latency", None, "loss of output throughput")]
#[case::a8_is_finished("A8", "throughput_latency", Some(Tee::Enabled), "median time to first token")]
#[case::a9_is_finished("A9", "throughput_latency", Some(Tee::Enabled), "median inter-token latency")]
#[case::a10_has_both_modes("A10", "saturation_point", Some(Tee::Disabled), "median output throughput")]
#[case::a13_loss_is_of_off("A13", "sequence_overhead", None, "loss of total token throughput")]
#[case::a14_per_request("A14", "energy", Some(Tee::Enabled), "joules per request")]
fn what_the_notebook_lacks_is_there_with_the_reason(
    #[case] analysis: &str,
    #[case] experiment: &str,
    #[case] tee: Option<Tee>,
    #[case] quantity: &str,
) {
    let rows = analyse(&tree());
    let row = find(&rows, analysis, experiment, tee, quantity);
    assert_eq!(value(row.compatible.as_ref()), None);
    assert!(value(row.corrected.as_ref()).is_some_and(f64::is_finite));
    assert!(!row.reason.is_empty());
}

#[test]
fn a6_milliseconds_are_a_thousand_of_the_notebooks_seconds() {
    let rows = analyse(&tree());
    let row = find(&rows, "A6", "throughput_latency", Some(Tee::Enabled), "median time to first token");
    let (seconds, milliseconds) = (value(row.compatible.as_ref()).unwrap(), value(row.corrected.as_ref()).unwrap());
    assert!((1e3 * seconds - milliseconds).abs() < 1e-9);
}

#[test]
fn a7_the_product_counts_one_gap_too_many() {
    let rows = analyse(&tree());
    let row = find(&rows, "A7", "throughput_latency", Some(Tee::Enabled), "median decode latency");
    let (product, summed) = (value(row.compatible.as_ref()).unwrap(), value(row.corrected.as_ref()).unwrap());
    // Five tokens have four gaps.
    assert!((product / summed - 1.25).abs() < 0.05, "{product} {summed}");
}

#[test]
fn a8_and_a9_agree_with_the_files_own_medians() {
    let rows = analyse(&tree());
    for (analysis, name) in [("A8", "time to first token"), ("A9", "inter-token latency")] {
        let quantity = format!("largest difference from the file's own median {name}");
        let row = find(&rows, analysis, "throughput_latency", Some(Tee::Enabled), &quantity);
        assert!(value(row.corrected.as_ref()).unwrap() < 1e-9);
    }
}

#[test]
fn a10_the_knee_has_an_interval() {
    let rows = analyse(&tree());
    let quantity = "knee: least concurrency within 5 % of the best output throughput";
    let row = find(&rows, "A10", "saturation_point", Some(Tee::Enabled), quantity);
    let Some(Figure::Number { value, low: Some(low), high: Some(high), .. }) = row.corrected else {
        panic!("{row:?}");
    };
    assert_eq!(value, 16.0);
    assert!(low <= value && value <= high && high <= 128.0, "{row:?}");
}

#[test]
fn a2_and_a3_power_is_in_watts_where_the_notebook_has_percent_of_700() {
    let rows = analyse(&tree());
    let power: Vec<_> =
        rows.iter().filter(|row| row.analysis == "A3" && row.quantity.ends_with("mean power")).collect();
    assert!(!power.is_empty());
    for row in power {
        let (percent, watts) = (value(row.compatible.as_ref()).unwrap(), value(row.corrected.as_ref()).unwrap());
        assert!((watts - 7.0 * percent).abs() < 1e-9, "{percent} % and {watts} W");
    }
}

#[test]
fn a11_totals_of_a_sweep_add_its_runs_up() {
    let (tree, rows) = (tree(), analyse(&tree()));
    let sweep = tree.experiment_named("saturation_point").unwrap();
    let tokens: u64 = sweep.runs().map(|run| run.bench.total_output_tokens).sum();
    let row = find(&rows, "A11", "saturation_point", None, "output tokens");
    assert_eq!(value(row.corrected.as_ref()), Some(tokens as f64));
}

#[test]
fn a15_the_notebooks_price_is_not_taken_over() {
    let rows = analyse(&tree());
    let row = find(&rows, "A15", "energy", None, "price of a machine and hour");
    assert_eq!((value(row.compatible.as_ref()), row.corrected.clone()), (Some(7.0), None));
}
