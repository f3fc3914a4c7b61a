//! How the tree is read: rows N1 to N13, and what cannot be used.

use std::fs;

use rstest::rstest;
use teebench_analysis::notebook::{Tree, analyses::analyse};
use teebench_api::campaign::Tee;

use super::{copy, find, tree};

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
