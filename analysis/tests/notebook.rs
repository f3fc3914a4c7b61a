//! The notebook's tree and analyses: one test for each row of either list. `notebook/make_oracle.py` writes the tree and
//! what numpy says of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rstest::rstest;
use serde::Deserialize;
use teebench_analysis::{
    notebook::{
        ArmChoice, Exported, Tree,
        analyses::{Figure, Row, analyse},
        campaigns as notebook_campaigns, export, import,
    },
    read::campaigns,
    summary::{NoteCode, Summary, summarise},
};
use teebench_api::campaign::Tee;

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

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notebook")
}

fn tree() -> Tree {
    Tree::read(&here().join("tree")).unwrap().unwrap()
}

/// A copy of the tree that a test may spoil.
fn copy() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy_into(&here().join("tree"), directory.path());
    directory
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy_into(&entry, &target);
        } else {
            fs::copy(&entry, &target).unwrap();
        }
    }
}

fn value(figure: Option<&Figure>) -> Option<f64> {
    match figure? {
        Figure::Number { value, .. } => Some(*value),
        Figure::Words(_) => None,
    }
}

fn find<'a>(rows: &'a [Row], analysis: &str, experiment: &str, tee: Option<Tee>, quantity: &str) -> &'a Row {
    rows.iter()
        .find(|row| {
            row.analysis == analysis && row.experiment == experiment && row.tee == tee && row.quantity == quantity
        })
        .unwrap_or_else(|| panic!("{analysis} of {experiment} has no {quantity:?} for {tee:?}"))
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
fn n1_and_n2_other_directories_and_files_are_passed_over() {
    let copy = copy();
    fs::create_dir_all(copy.path().join("energy/Gemma3 1B/plots")).unwrap();
    fs::create_dir_all(copy.path().join(".git/objects/ab")).unwrap();
    fs::write(copy.path().join("energy/Gemma3 1B/tee_on/notes.json"), "{}").unwrap();
    let found = Tree::read(copy.path()).unwrap().unwrap();
    assert_eq!((found.bad, found.notes), (Vec::new(), Vec::new()));
    assert_eq!(found.experiments.len(), 7);
}

#[test]
fn n3_and_n4_names_stay_whole_and_the_order_is_the_same_each_time() {
    let names = |tree: &Tree| -> Vec<String> {
        tree.experiments
            .iter()
            .flat_map(|experiment| {
                experiment.conditions.iter().map(|each| format!("{}/{}", experiment.name, each.name))
            })
            .collect()
    };
    let first = names(&tree());
    assert_eq!(first, names(&tree()));
    assert!(first.contains(&"my.own_question/Phi mini".to_owned()));
    let of_saturation: Vec<&str> =
        first.iter().filter_map(|name| name.strip_prefix("saturation_point/Llama3.1 8B_")).collect();
    assert_eq!(of_saturation, ["8", "16", "128"]);
}

#[test]
fn n5_a_name_of_another_form_is_an_error_that_names_the_directory() {
    let copy = copy();
    let sequence = copy.path().join("sequence_overhead");
    fs::rename(sequence.join("input_128_output_512"), sequence.join("input_128_out_512")).unwrap();
    let found = Tree::read(copy.path()).unwrap().unwrap();
    let fault = found.bad.first().unwrap().to_string();
    assert!(fault.contains("input_128_out_512: the name of a condition of sequence_overhead is input_"), "{fault}");
    assert_eq!(found.experiment_named("sequence_overhead").unwrap().conditions.len(), 2);
}

#[test]
fn n9_a_condition_without_one_mode_is_named_and_the_others_are_reported() {
    let copy = copy();
    fs::remove_dir_all(copy.path().join("energy/Gemma3 1B/tee_off")).unwrap();
    let found = Tree::read(copy.path()).unwrap().unwrap();
    let note = found.notes.first().unwrap().to_string();
    assert!(note.ends_with("energy/Gemma3 1B: has no run with the TEE off; nothing is compared"), "{note}");
    let condition = found.experiment_named("energy").unwrap().condition("Gemma3 1B").unwrap();
    assert_eq!((condition.of(Tee::Disabled).count(), condition.of(Tee::Enabled).count()), (0, 3));
    let change = find(&analyse(&found), "A14", "energy", None, "change of joules per output token").clone();
    assert_eq!((change.condition.as_str(), change.corrected), ("Gemma3 1B", None));
}

#[test]
fn n9_the_calibration_needs_no_run_with_the_tee_off() {
    assert_eq!(tree().notes, []);
}

#[test]
fn n10_repetition_10_comes_after_2_and_each_has_its_power_file() {
    let tree = tree();
    let runs: Vec<_> = tree.experiment_named("energy").unwrap().conditions[0].of(Tee::Enabled).collect();
    assert_eq!(runs.iter().map(|run| run.repetition).collect::<Vec<_>>(), [1, 2, 10]);
    for run in runs {
        let stem = run.path.file_stem().unwrap().to_str().unwrap();
        assert!(run.power_paths[0].ends_with(format!("{stem}_power_metrics.csv")));
    }
}

#[rstest]
#[case::of_the_gpu("_power_metrics_GPU.csv", true)]
#[case::of_the_cpu("_power_metrics_CPU.csv", false)]
fn n10_power_files_have_other_names_too(#[case] ending: &str, #[case] of_gpu: bool) {
    let copy = copy();
    let directory = copy.path().join("energy/Gemma3 1B/tee_on");
    let stem = "energy_repetition_1";
    fs::rename(directory.join(format!("{stem}_power_metrics.csv")), directory.join(format!("{stem}{ending}"))).unwrap();
    let tree = Tree::read(copy.path()).unwrap().unwrap();
    let run = tree.experiment_named("energy").unwrap().conditions[0].of(Tee::Enabled).next().unwrap();
    assert_eq!((run.power.is_some(), run.cpu_power.is_some()), (of_gpu, !of_gpu));
}

#[test]
fn n11_n12_and_n13_runs_and_experiments_are_described_in_a_line() {
    let tree = tree();
    let experiment = tree.experiment_named("saturation_point").unwrap();
    assert_eq!(experiment.to_string(), "saturation_point: 3 conditions, 18 runs (9 TEE off, 9 TEE on)");
    let run = experiment.condition("Llama3.1 8B_128").unwrap().of(Tee::Disabled).next().unwrap();
    let line = run.to_string();
    assert!(line.starts_with("[1] m, 9 prompts, input 1"), "{line}");
    assert!(line.ends_with(", output 5 (5-5), concurrency 9/128, rate inf, burstiness 1"), "{line}");
}

#[rstest]
#[case::truncated("{\"num_prompts\": 3,\n\"duration\":", "line 2 column")]
#[case::empty("", "is empty")]
#[case::foreign("{\"hello\": 1}", "missing field")]
#[case::not_a_number("{\"num_prompts\": 3, \"request_rate\": \"inf\", \"duration\": NaN}", "line 1 column")]
#[case::null("{\"num_prompts\": 3, \"request_rate\": \"inf\", \"duration\": null}", "invalid type: null")]
fn a_result_file_that_cannot_be_used_is_listed_and_the_others_are_read(#[case] text: &str, #[case] reason: &str) {
    let copy = copy();
    let path = copy.path().join("energy/Gemma3 1B/tee_on/energy_repetition_2.json");
    fs::write(&path, text).unwrap();
    let tree = Tree::read(copy.path()).unwrap().unwrap();
    assert_eq!((tree.bad.len(), &tree.bad[0].path), (1, &path));
    assert!(tree.bad[0].reason.contains(reason), "{}", tree.bad[0]);
    assert!(tree.notes.iter().any(|note| note.reason == "has 3 runs with the TEE off and 2 with it on"));
}

#[test]
fn a_missing_and_a_short_power_file_leave_energy_absent_with_the_reason() {
    let copy = copy();
    let directory = copy.path().join("energy/Gemma3 1B/tee_on");
    fs::remove_file(directory.join("energy_repetition_1_power_metrics.csv")).unwrap();
    let short = directory.join("energy_repetition_2_power_metrics.csv");
    let text: Vec<String> = fs::read_to_string(&short).unwrap().lines().take(3).map(str::to_owned).collect();
    fs::write(&short, text.join("\n")).unwrap();
    fs::write(directory.join("energy_repetition_7_power_metrics.csv"), "").unwrap();
    let tree = Tree::read(copy.path()).unwrap().unwrap();
    let notes: Vec<&str> = tree.notes.iter().map(|note| note.reason.as_str()).collect();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes.contains(&"no energy: no power file beside the result file"));
    assert!(notes.iter().any(|note| note.starts_with("no energy: the power file covers 1.0 s of a run of")));
    assert!(notes.contains(&"a power file that belongs to no result file"));
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

/// All files below a directory by their relative paths.
fn files(root: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_tree_that_is_imported_and_exported_has_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let (results, again) = (directory.path().join("results"), directory.path().join("tree"));
    assert_eq!(import(&tree(), &results).unwrap(), 78);
    let campaigns = campaigns(&[results]).unwrap();
    let exported = export(&campaigns, &ArmChoice::default(), &again).unwrap();
    assert_eq!(exported, Exported { runs: 78, left_out: Vec::new() });
    assert!(files(&here().join("tree")) == files(&again));
}

#[test]
fn a_report_of_a_tree_says_what_one_of_its_import_says() {
    let directory = tempfile::tempdir().unwrap();
    import(&tree(), directory.path()).unwrap();
    let imported = summarise(&campaigns(&[directory.path().to_owned()]).unwrap());
    let direct = summarise(&notebook_campaigns(&tree()));
    let of = |summary: &Summary| summary.campaigns[0].experiments.clone();
    assert!(of(&imported) == of(&direct));
    let campaign = &direct.campaigns[0];
    assert_eq!((campaign.validity.valid, campaign.runs.len()), (78, 78));
    assert!(campaign.notes.iter().any(|note| note.code == NoteCode::NotInterleaved));
    let condition = &campaign.experiments.iter().find(|each| each.name == "throughput-latency").unwrap().conditions[0];
    let contrast = &condition.contrasts[0];
    assert_eq!((contrast.numerator.arm.as_str(), contrast.paired), ("tee-on", false));
}

#[test]
fn an_import_never_mixes_with_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine"), "").unwrap();
    let error = import(&tree(), directory.path()).unwrap_err().to_string();
    assert!(error.contains("is there already; give a directory that is new or empty"), "{error}");
}

#[test]
fn a_simulated_run_stays_simulated_on_its_way_through_a_tree() {
    let directory = tempfile::tempdir().unwrap();
    let (own, out) = (directory.path().join("own"), directory.path().join("tree"));
    let plan =
        support::Tree { repetitions: 1, requests: 3, routers: vec!["direct", "hr-tree"], ..support::Tree::default() }
            .write(&own);
    let power = "timestamp, power.draw [W], utilization.gpu [%], utilization.memory [%], clocks.current.graphics \
        [MHz], clocks.current.memory [MHz], temperature.gpu\n2026/11/22 13:50:30.000, 10.00 W, 1 %, 1 %, 1 MHz, 1 MHz, 1\n";
    for (block, run) in plan.blocks.iter().flat_map(|block| block.runs.iter().map(move |run| (block, run))) {
        let server = support::run_directory(&own, &plan, block, run, 1).join("servers/0");
        fs::create_dir_all(&server).unwrap();
        fs::write(server.join("power-GPU-0.csv"), power).unwrap();
    }
    let exported = export(&campaigns(&[own]).unwrap(), &ArmChoice::default(), &out).unwrap();
    assert_eq!((exported.runs, exported.left_out.len()), (4, 0));
    let tree = Tree::read(&out).unwrap().unwrap();
    let names: Vec<&str> = tree.experiments[0].conditions.iter().map(|condition| condition.name.as_str()).collect();
    assert_eq!(names, ["Llama3.1 8B", "Llama3.1 8B@hr-tree"]);
    assert!(summarise(&notebook_campaigns(&tree)).simulated);
}
