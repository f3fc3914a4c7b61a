//! The notebook's tree and analyses: one test for each row of either list. `make_oracle.py` writes the tree and what numpy
//! says of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod analyses;
mod exchange;
mod reading;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use teebench_analysis::notebook::{
    Tree,
    analyses::{Figure, Row},
};
use teebench_api::campaign::Tee;

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
