//! Every row of the notebook, N1 to N13 and A0 to A15, has a test or a case that bears its name: one that goes missing is
//! missed here.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{fs, path::Path};

/// The text of all sources under a directory.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_row_of_the_notebook_has_a_test_of_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    ["src", "tests"].into_iter().for_each(|directory| sources(&root.join(directory), &mut text));
    let names: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("fn ").or_else(|| line.trim_start().strip_prefix("#[case::")))
        .map(|rest| rest.split('(').next().unwrap_or_default().split('_').collect())
        .collect();
    let rows = (1..=13).map(|row| format!("n{row}")).chain((0..=15).map(|row| format!("a{row}")));
    let missing: Vec<String> = rows.filter(|row| !names.iter().any(|words| words.contains(&row.as_str()))).collect();
    assert!(missing.is_empty(), "no test bears the name of {missing:?}");
}
