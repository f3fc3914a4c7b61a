//! `teebench report` of results that something is wrong with, as its user meets them: each fault has its message, and what
//! is sound is reported.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rstest::rstest;
use serde_json::{Value, json};

fn teebench(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teebench"));
    command.arg(subcommand).stdin(Stdio::null());
    command
}

/// What a finished process wrote.
fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A copy of the tree that the analyses are tested with: seven experiments, both modes, three repetitions.
fn tree() -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap().path();
            let target = to.join(entry.file_name().unwrap());
            if entry.is_dir() {
                copy(&entry, &target);
            } else {
                fs::copy(&entry, &target).unwrap();
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("analysis/tests/notebook/tree"), directory.path());
    directory
}

/// Files of the condition that is spoiled.
struct Spoiled(PathBuf);

impl Spoiled {
    fn mode(&self, mode: &str) -> PathBuf {
        self.0.join("energy/Gemma3 1B").join(mode)
    }

    fn result(&self) -> PathBuf {
        self.mode("tee_on").join("energy_repetition_2.json")
    }

    fn power(&self) -> PathBuf {
        self.mode("tee_on").join("energy_repetition_2_power_metrics.csv")
    }

    /// Sets fields of the result file.
    fn set(&self, fields: &Value) {
        let mut file: Value = serde_json::from_slice(&fs::read(self.result()).unwrap()).unwrap();
        file.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        fs::write(self.result(), file.to_string()).unwrap();
    }

    /// Puts a text in place of the result's duration.
    fn duration(&self, text: &str) {
        self.set(&json!({"duration": "HERE"}));
        let file = fs::read_to_string(self.result()).unwrap().replace("\"HERE\"", text);
        fs::write(self.result(), file).unwrap();
    }

    /// Changes the power file's text.
    fn rewrite_power(&self, change: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.power()).unwrap();
        fs::write(self.power(), change(&text)).unwrap();
    }

    fn remove_repetitions_but_one(&self) {
        for mode in ["tee_off", "tee_on"] {
            for file in fs::read_dir(self.mode(mode)).unwrap() {
                let file = file.unwrap().path();
                if !file.to_string_lossy().contains("repetition_1.")
                    && !file.to_string_lossy().contains("repetition_1_")
                {
                    fs::remove_file(file).unwrap();
                }
            }
        }
    }

    fn no_request(&self) {
        let none = json!([]);
        self.set(&json!({"num_prompts": 0, "completed": 0, "total_input_tokens": 0, "total_output_tokens": 0,
            "request_throughput": 0.0, "output_throughput": 0.0, "total_token_throughput": 0.0, "input_lens": none,
            "output_lens": none, "ttfts": none, "itls": none, "start_times": none, "errors": none,
            "generated_texts": none}));
    }
}

fn report(tree: &Path, more: &[&str]) -> Output {
    teebench("report").arg(tree).args(more).output().unwrap()
}

/// What is sound is in the report.
fn assert_sound(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    let text = String::from_utf8_lossy(&output.stdout);
    for condition in ["energy · Llama3.1 8B", "energy · Gemma3 1B", "throughput-latency · Gemma3 1B"] {
        assert!(text.contains(condition), "{condition} is not in {text}");
    }
}

#[rstest]
#[case::missing_mode(|it: &Spoiled| fs::remove_dir_all(it.mode("tee_on")).unwrap(),
    &["energy/Gemma3 1B: has no run with the TEE on; nothing is compared"])]
#[case::missing_power_file(|it: &Spoiled| fs::remove_file(it.power()).unwrap(),
    &["energy_repetition_2.json: no energy: no power file beside the result file"])]
#[case::unequal_counts(|it: &Spoiled| fs::remove_file(it.result()).unwrap(),
    &["energy_repetition_2_power_metrics.csv: a power file that belongs to no result file",
      "energy/Gemma3 1B: has 3 runs with the TEE off and 2 with it on"])]
#[case::one_repetition(Spoiled::remove_repetitions_but_one, &["n = 1: no interval"])]
#[case::no_request(Spoiled::no_request,
    &["energy_repetition_2.json: no request completed: rates are zero, and there are no latencies"])]
#[case::another_clock(|it: &Spoiled| it.rewrite_power(|text| text.replace("\n2026/", "\n2025/")),
    &["energy_repetition_2.json: the power file lies", "another clock or time zone, or another run's file"])]
#[case::power_that_does_not_cover_the_run(
    |it: &Spoiled| it.rewrite_power(|text| text.lines().take(3).collect::<Vec<_>>().join("\n")),
    &["energy_repetition_2.json: no energy: the power file covers 1.0 s of a run of"])]
fn what_is_missing_is_told_and_the_rest_is_reported(#[case] spoil: impl Fn(&Spoiled), #[case] told: &[&str]) {
    let tree = tree();
    spoil(&Spoiled(tree.path().to_owned()));
    let output = report(tree.path(), &[]);
    assert_sound(&output);
    for words in told {
        assert!(said(&output).contains(words), "{words:?} is not in {}", said(&output));
    }
}

#[rstest]
#[case::not_a_number(|it: &Spoiled| it.duration("NaN"), "energy_repetition_2.json", "line 1 column")]
#[case::infinite(|it: &Spoiled| it.duration("1e999"), "energy_repetition_2.json", "line 1 column")]
#[case::negative(|it: &Spoiled| it.duration("-1.5"), "energy_repetition_2.json", "duration is -1.5, which cannot be negative")]
#[case::null(|it: &Spoiled| it.duration("null"), "energy_repetition_2.json", "invalid type: null")]
#[case::missing_value(|it: &Spoiled| {
    let text = fs::read_to_string(it.result()).unwrap();
    fs::write(it.result(), text.replace("\"duration\"", "\"length\"")).unwrap();
}, "energy_repetition_2.json", "missing field `duration` at line 1 column")]
#[case::truncated(|it: &Spoiled| {
    let text = fs::read_to_string(it.result()).unwrap();
    fs::write(it.result(), &text[..text.len() / 2]).unwrap();
}, "energy_repetition_2.json", "EOF while parsing")]
#[case::decimal_commas(|it: &Spoiled| it.rewrite_power(|text| text.replace(" W,", ",5 W,")),
    "energy_repetition_2_power_metrics.csv", "line 2: has 8 cells where the header has 7; is the decimal mark a comma?")]
#[case::negative_power(|it: &Spoiled| it.rewrite_power(|text| text.replacen(".000, ", ".000, -", 1)),
    "energy_repetition_2_power_metrics.csv", "line 2: power.draw is \"-")]
fn a_bad_file_is_listed_with_its_place_and_left_out_on_request(
    #[case] spoil: impl Fn(&Spoiled),
    #[case] file: &str,
    #[case] reason: &str,
) {
    let tree = tree();
    spoil(&Spoiled(tree.path().to_owned()));
    let refused = report(tree.path(), &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("--skip-bad"), "{}", said(&refused));
    let skipped = report(tree.path(), &["--skip-bad"]);
    assert_sound(&skipped);
    for output in [refused, skipped] {
        let said = said(&output);
        let line = said.lines().find(|line| line.contains(&format!("tee_on/{file}: ")) && line.contains(reason));
        assert!(line.is_some(), "{file} with {reason:?} is not in {said}");
    }
}

#[test]
fn campaigns_of_different_plans_are_compared_in_what_both_measured() {
    let (tree, other) = (tree(), tree());
    fs::remove_dir_all(other.path().join("energy/Gemma3 1B")).unwrap();
    let results = tempfile::tempdir().unwrap();
    let [before, after] = [(&tree, "before"), (&other, "after")].map(|(tree, name)| {
        let out = results.path().join(name);
        let imported = teebench("import").arg(tree.path()).arg("--out").arg(&out).output().unwrap();
        assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
        out
    });
    let output = teebench("report").args([before, after]).output().unwrap();
    assert_sound(&output);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("energy, Gemma3 1B: only the earlier campaign has it"), "{text}");
}
