//! The corpus of files: every bad one is refused with the words, at the line, that its own head expects, and with
//! nothing else; every good one and every sample is taken.

use std::{
    fs,
    path::{Path, PathBuf},
};

use teebench_api::{
    plan,
    validate::{Diagnostics, load, load_path},
};

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory of the checkout can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

/// The `# expect: LINE: WORDS` lines at the head of a bad file.
fn expectations(text: &str) -> Vec<(usize, &str)> {
    text.lines()
        .map_while(|line| line.strip_prefix("# expect: "))
        .map(|line| line.split_once(": ").expect("an expectation reads LINE: WORDS"))
        .map(|(line, words)| (line.parse().expect("an expectation begins with a line's number"), words))
        .collect()
}

/// What differs between the diagnostics and the expectations.
fn difference(diagnostics: &Diagnostics, expected: &[(usize, &str)]) -> Option<String> {
    let found = diagnostics.list();
    let agree = found.len() == expected.len()
        && found.iter().zip(expected).all(|(diagnostic, (line, words))| {
            let text = format!("{}: {}", diagnostic.path, diagnostic.message);
            diagnostic.position.is_some_and(|position| position.line == *line) && text.contains(words)
        });
    (!agree).then(|| format!("expected {expected:?}, found\n{diagnostics}"))
}

#[test]
fn every_bad_file_is_refused_with_its_line_field_and_mend() {
    let files = files("tests/corpus/bad");
    assert!(files.len() >= 60, "only {} bad files", files.len());
    let mut faults = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy();
        let text = fs::read_to_string(&path).unwrap();
        let expected = expectations(&text);
        assert!(!expected.is_empty(), "{name} expects nothing");
        match load(text.as_bytes(), &name) {
            Ok(_) => faults.push(format!("{name}: was taken")),
            Err(diagnostics) => faults.extend(difference(&diagnostics, &expected)),
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}

#[test]
fn every_good_file_and_every_sample_is_taken_and_can_be_planned() {
    let mut faults = Vec::new();
    for path in files("tests/corpus/good").iter().chain(&files("../manifests/samples")) {
        match load_path(path) {
            Err(diagnostics) => faults.push(diagnostics.to_string()),
            Ok(file) => {
                let plan = plan::build("corpus", &file.campaign.spec, &file.policies);
                faults.extend(plan.err().map(|error| format!("{}: {error}", path.display())));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
