//! Result files that lie in one directory, in no tree: what they are is told by their own fields.

use std::{
    fs,
    path::{Path, PathBuf},
};

use teebench_api::campaign::Tee;

use super::{
    names::{Kind, Label, Order},
    run::Run,
    tree::{Condition, Experiment, Fault, Layout, Tree},
};
use crate::read::{ReadError, bench::BenchFile, read_benches};

/// Files directly in a directory, by name.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let at = |source| ReadError::Io { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Files of JSON directly in a directory.
pub(super) fn result_files(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let mut found = files(directory)?;
    found.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    Ok(found)
}

/// Result files as one experiment: a condition for each model and load, an arm by `--metadata tee_mode=tee_on`.
/// `None` when there is no file, or none of several is a result file.
pub(super) fn read(root: &Path, files: &[PathBuf]) -> Result<Option<Tree>, ReadError> {
    let mut conditions: Vec<Condition> = Vec::new();
    let mut bad = Vec::new();
    for path in files {
        match read_benches(path) {
            Ok(results) => {
                for bench in results {
                    bad.extend(add(&mut conditions, path, bench));
                }
            }
            Err(error) => bad.push(Fault::of(path, &error)),
        }
    }
    if conditions.is_empty() && (bad.is_empty() || files != [root.to_owned()]) {
        return Ok(None);
    }
    conditions.sort_by(|left, right| Order::Natural.compare(&left.name, &right.name));
    let name = fs::canonicalize(root)
        .ok()
        .and_then(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "results".to_owned());
    let experiments = vec![Experiment { name, kind: Kind::Other, conditions }];
    Ok(Some(Tree { root: root.to_owned(), layout: Layout::Plain, experiments, bad, notes: Vec::new() }))
}

/// Adds a result to its condition and gives what is wrong with its power files.
fn add(conditions: &mut Vec<Condition>, path: &Path, bench: BenchFile) -> Vec<Fault> {
    let name = condition_name(&bench);
    let tee = match bench.account.tee_mode.as_deref() {
        Some("tee_on") => Tee::Enabled,
        Some("tee_off") => Tee::Disabled,
        _ => Tee::Undeclared,
    };
    let index = conditions.iter().position(|known| known.name == name).unwrap_or_else(|| {
        conditions.push(Condition { label: Label::Model(name.clone()), name, runs: Vec::new() });
        conditions.len() - 1
    });
    let runs = &mut conditions[index].runs;
    let taken = |repetition: u32| runs.iter().any(|run: &Run| run.tee == tee && run.repetition == repetition);
    let repetition = bench.account.repetition.filter(|number| !taken(*number));
    let repetition = repetition.or_else(|| (1..).find(|number| !taken(*number))).unwrap_or(1);
    let (run, faults) = Run::new(tee, repetition, path, bench);
    runs.push(run);
    faults
}

fn condition_name(bench: &BenchFile) -> String {
    let model = bench.account.model_id.as_deref().unwrap_or("model");
    let mean = |tokens: u64| tokens.checked_div(bench.completed).unwrap_or(0);
    let mut name =
        format!("{model} input {} output {}", mean(bench.total_input_tokens), mean(bench.total_output_tokens));
    if let Some(rate) = bench.request_rate {
        name.push_str(&format!(" rate {rate}"));
    }
    if let Some(limit) = bench.max_concurrency {
        name.push_str(&format!(" concurrency {limit}"));
    }
    name
}
