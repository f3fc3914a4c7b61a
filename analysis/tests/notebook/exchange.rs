//! Export and import: trees that become results, and results that become trees.

use std::{
    fs,
    path::{Path, PathBuf},
};

use teebench_analysis::{
    notebook::{ArmChoice, Exported, Tree, campaigns as notebook_campaigns, export, import},
    read::campaigns,
    summary::{NoteCode, Summary, summarise},
};

use super::{here, support, tree};

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
